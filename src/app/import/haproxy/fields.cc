#include "app/import/haproxy/fields.h"

#include <algorithm>
#include <utility>

#include "app/import/nginx/path.h"
#include "base/ascii.h"
#include "http/fields.h"
#include "proxy/field_rules.h"

namespace trellis::app {

namespace {

// `%[src]` and its like, without the brackets, as a variable of Trellis; nothing when there is none.
std::optional<std::string> variable_of(std::string_view fetch) {
  static constexpr std::pair<std::string_view, std::string_view> kVariables[] = {{"src", "${client.address}"},
                                                                                 {"src_port", "${client.port}"},
                                                                                 {"path", "${path}"},
                                                                                 {"query", "${query}"},
                                                                                 {"method", "${method}"},
                                                                                 {"req.hdr(host)", "${host}"},
                                                                                 {"hdr(host)", "${host}"},
                                                                                 {"req.fhdr(host)", "${host}"},
                                                                                 {"pathq", "${uri}"},
                                                                                 {"capture.req.uri", "${uri}"},
                                                                                 {"capture.req.method", "${method}"}};
  std::string lower(fetch);
  std::ranges::transform(lower, lower.begin(), &ascii_lower);
  for (const auto& [known, variable] : kVariables) {
    if (lower == known) return std::string(variable);
  }
  for (const auto& [begin, variable] : {std::pair<std::string_view, std::string_view>{"req.fhdr(", "${header."},
                                        {"req.cook(", "${cookie."},
                                        {"cook(", "${cookie."}}) {
    if (!fetch.starts_with(begin) || !fetch.ends_with(')')) continue;
    const std::string name(fetch.substr(begin.size(), fetch.size() - begin.size() - 1));
    if (name.empty() || name.find_first_of("(), {}$") != std::string::npos) return std::nullopt;
    return std::string(variable) + name + "}";
  }
  return std::nullopt;
}

// "/v2%[path]", "%[path,regsub(^/api/,/)]", "%[path,regsub(^/api/?,/)]"
std::optional<PrefixChange> path_change(std::string_view to) {
  if (to.starts_with('/') && to.ends_with("%[path]")) {
    const std::string_view add = to.substr(0, to.size() - 7);
    if (add.find('%') != std::string_view::npos || add.ends_with('/')) return std::nullopt;
    return PrefixChange{.strip = "", .add = std::string(add)};
  }
  constexpr std::string_view kBegin = "%[path,regsub(^";
  if (!to.starts_with(kBegin) || !to.ends_with(")]")) return std::nullopt;
  const std::string_view inside = to.substr(kBegin.size(), to.size() - kBegin.size() - 2);
  const size_t comma = inside.find(',');
  if (comma == std::string_view::npos) return std::nullopt;
  std::string_view from = inside.substr(0, comma);
  std::string_view by = inside.substr(comma + 1);
  by = by.substr(0, by.find(','));  // flags
  const bool slash = from.ends_with('/') || from.ends_with("/?");
  if (slash != by.ends_with('/')) return std::nullopt;
  from = from.substr(0, from.ends_with("/?") ? from.size() - 2 : from.size() - (slash ? 1 : 0));
  if (slash) by.remove_suffix(1);
  return prefix_change("^" + std::string(from) + "/(.*)", std::string(by) + "/$1");
}

void erase(FieldLines& lines, const std::string& name) {
  std::erase_if(lines, [&](const auto& other) { return http::iequal(other.first, name); });
}

bool read_compression(const HaproxyLine& line, HaproxyEdits& edits) {
  if (line.word(1) == "algo") {
    edits.compresses |= std::ranges::find(line.words, "gzip") != line.words.end();
    return edits.compresses;
  }
  if (line.word(1) != "type") return false;
  for (size_t i = 2; i < line.words.size(); ++i) {
    if (std::ranges::find(edits.types, line.words[i]) == edits.types.end()) edits.types.push_back(line.words[i]);
  }
  return true;
}

}  // namespace

void HaproxyFields::remove(const std::string& name) {
  erase(set, name);
  erase(added, name);
  const auto same = [&](const std::string& other) { return http::iequal(other, name); };
  if (std::ranges::none_of(removed, same)) removed.push_back(name);
}

void HaproxyFields::change(const std::string& name, const std::string& value) {
  erase(set, name);
  erase(added, name);
  set.emplace_back(name, value);
}

void HaproxyFields::add(const HaproxyFields& later) {
  for (const std::string& name : later.removed) remove(name);
  for (const auto& [name, value] : later.set) change(name, value);
  for (const auto& [name, value] : later.added) {
    const auto same = std::ranges::find_if(added, [&](const auto& other) { return http::iequal(other.first, name); });
    if (same == added.end()) {
      added.emplace_back(name, value);
    } else {
      same->second += ", " + value;
    }
  }
}

std::optional<std::string> haproxy_template(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t percent = std::min(text.find('%'), text.size());
    out += text.substr(0, percent);
    text.remove_prefix(percent);
    if (text.empty()) break;
    if (text.starts_with("%%")) {
      out += '%';
      text.remove_prefix(2);
    } else if (text.starts_with("%ci") || text.starts_with("%cp")) {
      out += text[2] == 'i' ? "${client.address}" : "${client.port}";
      text.remove_prefix(3);
    } else {
      const size_t end = text.find(']');
      if (!text.starts_with("%[") || end == std::string_view::npos) return std::nullopt;
      const auto variable = variable_of(text.substr(2, end - 2));
      if (!variable) return std::nullopt;
      out += *variable;
      text.remove_prefix(end + 1);
    }
  }
  return out;
}

bool read_haproxy_edit(const HaproxyLine& line, HaproxyEdits& edits) {
  if (line.word(0) == "compression") return read_compression(line, edits);
  const bool request = line.word(0) == "http-request";
  if (!request && line.word(0) != "http-response") return false;
  HaproxyFields& fields = request ? edits.request : edits.answer;
  const std::string name(line.word(2));
  if (name.empty() || proxy::field_refusal(name)) return false;
  if (line.word(1) == "del-header" && line.words.size() == 3) {
    fields.remove(name);
    return true;
  }
  const bool adds = line.word(1) == "add-header";
  if (line.word(1) != "set-header" && !adds) return false;
  if (line.words.size() != 4) return false;
  const auto value = haproxy_template(line.word(3));
  if (!value) return false;
  const auto same = [&](const auto& other) { return http::iequal(other.first, name); };
  if (adds && std::ranges::any_of(fields.added, same)) return false;  // one line of a name can be added
  if (adds) {
    fields.added.emplace_back(name, *value);
  } else {
    fields.change(name, *value);
  }
  return true;
}

bool read_haproxy_path(const HaproxyLine& line, HaproxyEdits& edits) {
  if (line.word(0) != "http-request" || !edits.strip_prefix.empty() || !edits.add_prefix.empty()) return false;
  std::optional<PrefixChange> change;
  if (line.word(1) == "replace-path" && line.words.size() == 4) {
    std::string to(line.word(3));
    if (const size_t group = to.find("\\1"); group != std::string::npos) to[group] = '$';
    const std::string regex((line.word(2).starts_with("(.*)") ? "^" : "") + std::string(line.word(2)));
    change = prefix_change(regex, to);
  } else if (line.word(1) == "set-path" && line.words.size() == 3) {
    change = path_change(line.word(2));
  }
  if (!change) return false;
  edits.strip_prefix = pattern_literal(change->strip);
  edits.add_prefix = pattern_literal(change->add);
  return true;
}

void add_haproxy_edits(const HaproxyEdits& front, const HaproxyEdits& back, RouteDraft& route) {
  HaproxyFields request = front.request;
  request.add(back.request);
  HaproxyFields answer = back.answer;
  answer.add(front.answer);
  route.request_remove = std::move(request.removed);
  route.request_set = std::move(request.set);
  route.request_add = std::move(request.added);
  route.response_remove = std::move(answer.removed);
  route.response_set = std::move(answer.set);
  route.response_add = std::move(answer.added);
  route.strip_prefix = back.strip_prefix;
  route.add_prefix = back.add_prefix;
  if (!front.compresses && !back.compresses) return;
  std::vector<std::string> types = front.types;
  for (const std::string& type : back.types) {
    if (std::ranges::find(types, type) == types.end()) types.push_back(type);
  }
  route.compress = "{ encodings: [gzip]" + (types.empty() ? "" : ", types: " + yaml_list(types)) + " }";
}

}  // namespace trellis::app
