#include "app/import/nginx/fields.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "http/fields.h"
#include "proxy/field_rules.h"

namespace trellis::app {

namespace {

bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

std::optional<std::string> variable(std::string_view name, const NginxServer& server, const NginxSettings& settings) {
  static constexpr std::pair<std::string_view, std::string_view> kVariables[] = {
      {"host", "${host}"},
      {"http_host", "${host}"},
      {"request_uri", "${uri}"},
      {"uri", "${path}"},
      {"document_uri", "${path}"},
      {"args", "${query}"},
      {"query_string", "${query}"},
      {"is_args", "?"},
      {"remote_addr", "${client.address}"},
      {"remote_port", "${client.port}"},
      {"proxy_add_x_forwarded_for", "${client.address}"},
      {"request_method", "${method}"},
      {"request_id", "${request_id}"},
  };
  for (const auto& [nginx, ours] : kVariables) {
    if (name == nginx) return std::string(ours);
  }
  if (name == "scheme") return server.tls ? "https" : "${scheme}";
  if (name == "server_name" && !server.name.empty()) return server.name;
  const auto constant = settings.variables.find(name);
  if (constant != settings.variables.end()) return constant->second;
  for (const auto& [begin, ours] :
       {std::pair<std::string_view, std::string_view>{"http_", "${header."}, {"cookie_", "${cookie."}}) {
    if (!name.starts_with(begin) || name.size() == begin.size()) continue;
    std::string own(name.substr(begin.size()));
    if (begin == "http_") std::ranges::replace(own, '_', '-');
    return std::string(ours) + own + "}";
  }
  return std::nullopt;
}

// What hosts hear without being told.
bool heard_anyway(const NginxSettings::Line& line) {
  const auto is = [&](std::string_view name) { return http::iequal(line.name, name); };
  if (is("Upgrade") || is("Connection")) return true;
  if (is("Forwarded")) return !line.value.empty();
  if (is("X-Forwarded-Host")) return line.value.starts_with("$host") || line.value.starts_with("$http_host");
  if (is("X-Forwarded-For")) return line.value == "$proxy_add_x_forwarded_for" || line.value == "$remote_addr";
  if (is("X-Forwarded-Proto")) return line.value == "$scheme";
  return is("X-Request-Id") && line.value == "$request_id";
}

// Fields that the node itself writes: what a client says in them is thrown away, and they cannot be left out.
bool told_by_node(std::string_view name) {
  static constexpr std::string_view kFields[] = {"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
                                                 "Forwarded", "Via"};
  return std::ranges::any_of(kFields, [&](std::string_view field) { return http::iequal(field, name); });
}

void add_compress(const NginxSettings& settings, RouteDraft& route) {
  if (!settings.gzip && !settings.brotli) return;
  std::vector<std::string> types{"text/html"};
  for (const std::string& type : settings.types) {
    if (std::ranges::find(types, type) == types.end()) types.push_back(type);
  }
  std::string text = "{ encodings: " + encodings_of(settings.gzip, settings.brotli) + ", types: " + yaml_list(types);
  if (settings.min_length) text += ", min_size: " + yaml_size(*settings.min_length);
  if (settings.gzip && settings.level) text += ", levels: { gzip: " + std::to_string(*settings.level) + " }";
  route.compress = text + " }";
}

}  // namespace

std::optional<std::string> template_of(std::string_view text, const NginxServer& server, const NginxSettings& settings,
                                       std::string& unknown) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '$') {
      out += text[i++];
      continue;
    }
    const bool braced = i + 1 < text.size() && text[i + 1] == '{';
    size_t end = i + (braced ? 2 : 1);
    const size_t begin = end;
    while (end < text.size() && is_name(text[end])) ++end;
    const std::string_view name = text.substr(begin, end - begin);
    if (braced && end < text.size()) ++end;  // '}'
    i = end;
    const std::optional<std::string> value = variable(name, server, settings);
    if (!value) {
      unknown = "$" + std::string(name);
      return std::nullopt;
    }
    out += *value;
  }
  return out;
}

std::string encodings_of(bool gzip, bool brotli) {
  std::vector<std::string> out;
  if (brotli) out.emplace_back("br");
  if (gzip) out.emplace_back("gzip");
  return yaml_list(out);
}

bool add_request_fields(const NginxServer& server, const NginxSettings& settings, RouteDraft& route, Remarks& remarks) {
  bool host_told = false;
  for (const NginxSettings::Line& line : settings.set_header) {
    const auto told = [&](std::string why, std::string instead = {}) {
      remarks.left_out(line.at, "proxy_set_header " + line.name, std::move(why), std::move(instead));
    };
    if (http::iequal(line.name, "Host")) {
      host_told = true;
      if (!line.value.starts_with("$host") && !line.value.starts_with("$http_host"))
        told("hosts hear the client's own Host", "make them answer to it");
      continue;
    }
    if (heard_anyway(line)) continue;
    if (line.value.empty() && told_by_node(line.name)) {
      told("hosts hear it from the node, of every request");
      continue;
    }
    if (line.value.empty()) {
      if (!proxy::field_refusal(line.name)) route.request_remove.push_back(line.name);
      continue;
    }
    std::string unknown;
    const std::optional<std::string> value = template_of(line.value, server, settings, unknown);
    if (!value) {
      told("there is no variable " + unknown);
    } else if (const char* why = proxy::field_refusal(line.name)) {
      told(why);
    } else {
      std::erase_if(route.request_set, [&](const auto& other) { return http::iequal(other.first, line.name); });
      route.request_set.emplace_back(line.name, *value);
    }
  }
  if (server.tls) {
    const auto proto = [](const auto& line) { return http::iequal(line.first, "X-Forwarded-Proto"); };
    if (std::ranges::none_of(route.request_set, proto)) route.request_set.emplace_back("X-Forwarded-Proto", "https");
  }
  return host_told;
}

void add_answer_fields(AnswerOf what, const NginxServer& server, const NginxSettings& settings, RouteDraft& route,
                       Remarks& remarks) {
  const bool of_files = what == AnswerOf::files;
  for (const NginxSettings::Line& line : settings.add_header) {
    const bool type = http::iequal(line.name, "Content-Type");
    if ((type && what == AnswerOf::fixed) || (of_files && http::iequal(line.name, "Cache-Control"))) continue;
    const auto told = [&](std::string why) { remarks.left_out(line.at, "add_header " + line.name, std::move(why)); };
    if (type) {
      told("an answer has one type");
      continue;
    }
    std::string unknown;
    const std::optional<std::string> value = template_of(line.value, server, settings, unknown);
    if (!value) {
      told("there is no variable " + unknown);
      continue;
    }
    if (const char* why = proxy::field_refusal(line.name)) {
      told(why);
      continue;
    }
    if (value->empty()) continue;
    const auto before = std::ranges::find_if(route.response_add,
                                             [&](const auto& other) { return http::iequal(other.first, line.name); });
    if (before == route.response_add.end()) {
      route.response_add.emplace_back(line.name, *value);
    } else if (http::iequal(line.name, "Set-Cookie")) {
      told("one of a name can be added");
    } else {
      before->second += ", " + *value;
    }
  }
  if (!of_files && !settings.cache_control.empty()) route.response_set = {{"Cache-Control", settings.cache_control}};
  add_compress(settings, route);
}

}  // namespace trellis::app
