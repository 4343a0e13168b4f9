#include "app/import/draft.h"

#include <algorithm>
#include <cstdio>

#include "base/ascii.h"
#include "config/values.h"
#include "net/address.h"

namespace trellis::app {

namespace {

bool is_plain(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.' || c == '/';
}

// Words that YAML would read as something else than text, or that look like a number.
bool needs_quotes(std::string_view text) {
  if (text.empty() || !std::ranges::all_of(text, is_plain)) return true;
  const char first = text.front();
  if (first == '-' || first == '.' || (first >= '0' && first <= '9')) return true;
  static constexpr std::string_view kWords[] = {"true", "false", "yes", "no",  "on", "off",
                                                "null", "y",     "n",   "nan", "inf"};
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), &ascii_lower);
  return std::ranges::find(kWords, lower) != std::end(kWords);
}

std::string comment_lines(std::string_view text, std::string_view indent) {
  std::string out;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string line(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    for (char& c : line) {
      if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) c = ' ';
    }
    while (line.ends_with(' ')) line.pop_back();
    out += std::string(indent) + (line.empty() ? "#" : "# " + line) + "\n";
  }
  return out;
}

using Parts = std::vector<std::string>;
void add(Parts& parts, std::string_view key, std::string value) {
  if (!value.empty()) parts.push_back(std::string(key) + ": " + std::move(value));
}
std::string braces(const Parts& parts) {
  if (parts.empty()) return {};
  std::string out = "{ ";
  for (const std::string& part : parts) out += (&part == parts.data() ? "" : ", ") + part;
  return out + " }";
}

void write_listener(std::string& out, const ListenerDraft& listener) {
  out += comment_lines(listener.comment, "  ");
  Parts parts;
  add(parts, "bind", yaml_text(listener.bind));
  add(parts, "tcp", listener.tcp);
  add(parts, "udp", listener.udp);
  for (const auto& [key, value] : listener.options) add(parts, key, value);
  out += "  " + yaml_text(listener.name) + ": " + braces(parts) + "\n";
}

void write_upstream(std::string& out, const UpstreamDraft& upstream) {
  out += "  " + yaml_text(upstream.name) + ":\n";
  if (!upstream.balance.empty()) out += "    balance: " + upstream.balance + "\n";
  if (!upstream.hash_on.empty()) out += "    hash_on: " + yaml_text(upstream.hash_on) + "\n";
  out += "    hosts:\n";
  for (const HostDraft& host : upstream.hosts) {
    static constexpr std::string_view kKeys[] = {"address", "dns", "srv"};
    Parts parts;
    add(parts, kKeys[static_cast<size_t>(host.from)], yaml_text(host.address));
    if (host.refresh_ms > 0) add(parts, "refresh", yaml_seconds(host.refresh_ms));
    if (host.weight != 1) add(parts, "weight", std::to_string(host.weight));
    if (host.backup) add(parts, "backup", "true");
    const bool alone = parts.size() == 1 && host.from == HostDraft::From::address;
    out += host.down ? "      # down: " : "      - ";
    out += (alone ? yaml_text(host.address) : braces(parts)) + "\n";
  }
  for (const auto& [key, value] : upstream.options) out += "    " + key + ": " + value + "\n";
}

std::string edits(const FieldLines& set, const FieldLines& add_lines, const std::vector<std::string>& remove) {
  Parts parts;
  if (!set.empty()) add(parts, "set", yaml_map(set));
  if (!add_lines.empty()) add(parts, "add", yaml_map(add_lines));
  if (!remove.empty()) add(parts, "remove", yaml_list(remove));
  return braces(parts);
}

std::string match_of(const MatchDraft& match) {
  Parts parts;
  if (!match.listeners.empty()) add(parts, "listeners", yaml_list(match.listeners));
  if (!match.host.empty()) add(parts, "host", yaml_text(match.host));
  add(parts, "path", yaml_text(match.path.empty() ? "/**" : match.path));
  if (!match.methods.empty()) add(parts, "methods", yaml_list(match.methods));
  if (!match.headers.empty()) add(parts, "headers", yaml_map(match.headers));
  if (!match.query.empty()) add(parts, "query", yaml_map(match.query));
  return braces(parts);
}

std::string percent(uint32_t share) { return config::format_percent(share / double{kWholeShare}); }

std::string split_of(const RouteDraft& route) {
  std::string ways;
  for (const WayDraft& way : route.ways) {
    Parts parts;
    add(parts, "name", yaml_text(way.name));
    if (way.share > 0) add(parts, "share", percent(way.share));
    add(parts, "to", way.to);
    if (!way.when.empty()) add(parts, "when", yaml_map(way.when));
    ways += (ways.empty() ? "" : ", ") + braces(parts);
  }
  Parts parts;
  if (!route.split_key.empty()) add(parts, "key", yaml_text(route.split_key));
  add(parts, "ways", "[" + ways + "]");
  return braces(parts);
}

void write_route(std::string& out, const RouteDraft& route) {
  out += comment_lines(route.at.to_string() + ": " + route.directive, "  ");
  out += "  - match: " + match_of(route.match) + "\n";

  Parts filters;
  if (!route.deny.empty()) filters.push_back("deny: " + yaml_list(route.deny));
  if (!route.allow.empty()) filters.push_back("allow: " + yaml_list(route.allow));
  if (route.body_limit) filters.push_back("body_limit: { max: " + yaml_size(*route.body_limit) + " }");
  Parts headers;
  add(headers, "request", edits(route.request_set, route.request_add, route.request_remove));
  add(headers, "response", edits(route.response_set, route.response_add, route.response_remove));
  if (!headers.empty()) filters.push_back("headers: " + braces(headers));
  Parts rewrite;
  if (!route.strip_prefix.empty()) add(rewrite, "strip_prefix", yaml_text(route.strip_prefix));
  if (!route.add_prefix.empty()) add(rewrite, "add_prefix", yaml_text(route.add_prefix));
  if (!rewrite.empty()) filters.push_back("rewrite: " + braces(rewrite));
  Parts buffer;
  if (route.buffer_request > 0) add(buffer, "request", yaml_size(route.buffer_request));
  if (route.buffer_response > 0) add(buffer, "response", yaml_size(route.buffer_response));
  if (!buffer.empty()) filters.push_back("buffer: " + braces(buffer));
  if (!route.compress.empty()) filters.push_back("compress: " + route.compress);
  if (!route.ways.empty()) filters.push_back("split: " + split_of(route));
  if (!filters.empty()) {
    out += "    filters:\n";
    for (const std::string& filter : filters) out += "      - " + filter + "\n";
  }
  out += "    to: " + route.to + "\n";
}

}  // namespace

std::string yaml_text(std::string_view text) {
  if (!needs_quotes(text)) return std::string(text);
  std::string out = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '$' && i + 1 < text.size() && text[i + 1] == '{') {
      out += "$$";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string yaml_list(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts) out += (&text == texts.data() ? "" : ", ") + yaml_text(text);
  return out + "]";
}

std::string yaml_map(const FieldLines& lines) {
  Parts parts;
  for (const auto& [key, value] : lines) parts.push_back(yaml_text(key) + ": " + yaml_text(value));
  return parts.empty() ? "{}" : braces(parts);
}

std::string yaml_size(uint64_t bytes) { return config::format_size(bytes); }

std::string yaml_seconds(uint64_t milliseconds) {
  return config::format_duration(std::chrono::milliseconds(milliseconds));
}

std::string refused_target(std::string_view what) {
  return "{ fixed: { status: 501, body: " + yaml_text("not imported: " + std::string(what) + "\n") + " } }";
}

RouteDraft refused_route(const RouteDraft& route, std::string_view what) {
  RouteDraft out;
  out.at = route.at;
  out.directive = route.directive;
  out.refused = true;
  out.match = route.match;
  out.to = refused_target(what);
  return out;
}

bool good_bind(std::string_view text) {
  const auto bind = config::HostPort::from_text(text);
  return bind && bind->port != 0 && net::parse_address(bind->to_text()).has_value();
}

std::string plain_name(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 64)) {
    const bool keeps = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    out += keeps ? c : '_';
  }
  return out.empty() ? "unnamed" : out;
}

std::string draft_yaml(const ConfigDraft& draft, const std::string& header) {
  std::string out = comment_lines(header, "");
  if (!draft.listeners.empty()) {
    out += "listeners:\n";
    for (const ListenerDraft& listener : draft.listeners) write_listener(out, listener);
  }
  if (!draft.dns_servers.empty()) out += "dns: { servers: " + yaml_list(draft.dns_servers) + " }\n";
  if (!draft.upstreams.empty()) {
    out += "upstreams:\n";
    for (const UpstreamDraft& upstream : draft.upstreams) write_upstream(out, upstream);
  }
  if (!draft.routes.empty()) {
    out += "routes:\n";
    for (const RouteDraft& route : draft.routes) write_route(out, route);
  }
  Parts observe;
  if (!draft.access_log.empty()) {
    Parts log;
    add(log, "path", yaml_text(draft.access_log));
    add(log, "format", draft.access_log_format);
    add(observe, "access_log", braces(log));
  }
  add(observe, "log_level", draft.log_level);
  if (!observe.empty()) {
    out += "observe:\n";
    for (const std::string& part : observe) out += "  " + part + "\n";
  }
  if (draft.cores != 0) out += "runtime:\n  cores: " + std::to_string(draft.cores) + "\n";
  return out;
}

}  // namespace trellis::app
