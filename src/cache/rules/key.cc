#include "cache/rules/key.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/ascii.h"
#include "http/field_text.h"
#include "http/target.h"

namespace trellis::cache {

namespace {

using http::FieldId;
using http::QueryParameter;

// nullopt where the origin might read the query in another way than this does: split at ';', or a key with an escape
// that is none. Then no parameter is picked out of it.
std::optional<std::vector<QueryParameter>> parameters_of(std::string_view query, Arena& arena) {
  if (query.find(';') != std::string_view::npos) return std::nullopt;
  std::vector<QueryParameter> out;
  while (const auto parameter = http::next_parameter(query)) {
    if (!http::decode_component(parameter->key, arena, true)) return std::nullopt;
    out.push_back(*parameter);
  }
  return out;
}

// As written: the key with its value, which lie side by side in the query.
std::string_view whole_text(const QueryParameter& parameter) noexcept {
  const char* const begin = parameter.key.data();
  // An empty value may be "a" or "a=": the view of the value begins behind the '=' where there is one.
  const char* const end = parameter.value.data() == nullptr ? begin + parameter.key.size()
                                                            : parameter.value.data() + parameter.value.size();
  return {begin, static_cast<size_t>(end - begin)};
}

bool fits(std::string_view pattern, std::string_view name) noexcept {
  return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern;
}

// Each value is a line of its own: two lines of a field are not one line that looks like both.
void append_header(std::string& out, std::string_view name, const http::Fields& request) {
  const FieldId id = http::field_id(name);
  for (const http::Field& field : request) {
    if (id != FieldId::unknown ? field.id == id : field.id == FieldId::unknown && http::iequal(field.name, name))
      out.append("\n=").append(field.value);
  }
}

// All of one name, in order: origins differ in which of several they take. They differ in what is one, too: "a =1" and
// "a" without a value stand there as written, for to some they are no cookies, nor to `when` of a split.
void append_cookie(std::string& out, std::string_view name, const http::Fields& request) {
  for (const http::Field& field : request) {
    if (field.id != FieldId::cookie) continue;
    std::string_view rest = field.value;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(';'), rest.size());
      const std::string_view pair = http::trimmed(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      const size_t equals = std::min(pair.find('='), pair.size());
      if (equals < pair.size() && pair.substr(0, equals) == name) {
        out.append("\n=").append(pair.substr(equals + 1));
      } else if (http::trimmed(pair.substr(0, equals)) == name) {
        out.append("\n:").append(pair);
      }
    }
  }
}

}  // namespace

config::Fields<KeyConfig> KeyConfig::fields() {
  return {
      {"host", "whether hosts have their own answers; false shares them between all hosts of the route",
       &KeyConfig::host},
      {"query", "all: as received; sorted: parameters by name; none: the query does not count, nor reaches the origin",
       &KeyConfig::query,
       config::one_of<KeyQuery>({{"all", KeyQuery::all}, {"sorted", KeyQuery::sorted}, {"none", KeyQuery::none}})},
      {"only", "parameters that count; all others are left out and do not reach the origin", &KeyConfig::only},
      {"without", "parameters that do not count and do not reach the origin; 'utm_*' means all that begin so",
       &KeyConfig::without},
      {"headers", "fields of the request that are part of the key", &KeyConfig::headers},
      {"cookies", "cookies that are part of the key", &KeyConfig::cookies}};
}

void KeyConfig::check(config::Checker& at) const {
  at.at_most_one({"only", "without"});
  if (query == KeyQuery::none && !only.empty()) at.problem("only", "picks from a query that does not count");
  if (query == KeyQuery::none && !without.empty()) at.problem("without", "picks from a query that does not count");
  const auto each = [&at](const char* option, const std::vector<std::string>& names, const auto& problem_of) {
    for (size_t i = 0; i < names.size(); ++i) {
      if (const std::string_view problem = problem_of(names[i]); !problem.empty())
        at.problem(option + ("[" + std::to_string(i) + "]"), std::string(problem));
    }
  };
  const auto of_parameter = [](std::string_view name) -> std::string_view {
    if (name.empty()) return "is empty";
    return name.find('*') < name.size() - 1 ? "has a `*` that is not its end, and only there it stands for what follows"
                                            : "";
  };
  const auto of_name = [](std::string_view name) -> std::string_view {
    if (!http::is_token(name)) return "is no name";
    return name.find('*') != std::string_view::npos ? "has a `*`, which stands for nothing here: write each name" : "";
  };
  each("only", only, of_parameter);
  each("without", without, of_parameter);
  each("headers", headers, of_name);
  each("cookies", cookies, of_name);
}

bool names_another_target(const http::Fields& request) noexcept {
  constexpr std::array<std::string_view, 12> kNames = {
      "X-Original-URL",       "X-Rewrite-URL",          "X-Override-URL",
      "X-Proxy-URL",          "X-Original-Host",        "X-Host",
      "X-URL-Scheme",         "X-Script-Name",          "X-HTTP-Method",
      "X-HTTP-Host-Override", "X-HTTP-Method-Override", "X-Method-Override"};
  return std::any_of(request.begin(), request.end(), [&](const http::Field& field) {
    return field.id == FieldId::unknown && field.name.size() >= 6 && (field.name[0] | 0x20) == 'x' &&
           std::any_of(kNames.begin(), kNames.end(),
                       [&field](std::string_view name) { return http::iequal(name, field.name); });
  });
}

std::string_view without_default_port(std::string_view authority, std::string_view scheme) noexcept {
  const std::string_view port = scheme == "https" ? ":443" : ":80";
  return authority.ends_with(port) ? authority.substr(0, authority.size() - port.size()) : authority;
}

KeyTemplate::KeyTemplate(const KeyConfig& config, std::string apart, std::string hosts)
    : config_(config), hosts_(std::move(hosts)) {
  if (!apart.empty()) apart_ = "\n?" + apart;  // no header begins so
  for (std::string& name : config_.headers) std::transform(name.begin(), name.end(), name.begin(), ascii_lower);
  std::sort(config_.headers.begin(), config_.headers.end());
  std::sort(config_.cookies.begin(), config_.cookies.end());
}

bool KeyTemplate::takes_all_of_query() const noexcept {
  return config_.query == KeyQuery::all && config_.only.empty() && config_.without.empty();
}

bool KeyTemplate::keeps(std::string_view parameter) const noexcept {
  const auto named = [parameter](const std::vector<std::string>& names) {
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return fits(name, parameter); });
  };
  return config_.only.empty() ? !named(config_.without) : named(config_.only);
}

std::string_view KeyTemplate::keyed_query(std::string_view query, Arena& arena) const {
  if (query.empty() || takes_all_of_query()) return query;
  if (config_.query == KeyQuery::none) return {};
  auto parameters = parameters_of(query, arena);
  if (!parameters) return query;
  std::erase_if(*parameters,
                [&](const QueryParameter& each) { return !keeps(*http::decode_component(each.key, arena, true)); });
  if (config_.query == KeyQuery::sorted) {
    std::stable_sort(parameters->begin(), parameters->end(),
                     [](const QueryParameter& a, const QueryParameter& b) { return a.key < b.key; });
  }
  char* const to = arena.alloc(query.size() + 1);
  char* at = to;
  for (const QueryParameter& each : *parameters) {
    if (at != to) *at++ = '&';
    const std::string_view text = whole_text(each);
    at = std::copy(text.begin(), text.end(), at);
  }
  return {to, static_cast<size_t>(at - to)};
}

void KeyTemplate::append_uri(std::string& out, std::string_view scheme, std::string_view authority,
                             std::string_view path, std::string_view query) const {
  out.append(scheme).append("://");
  out.append(config_.host ? without_default_port(authority, scheme) : std::string_view(hosts_));
  out.append(path);
  if (takes_all_of_query()) {
    if (!query.empty()) out.append("?").append(query);
    return;
  }
  Arena arena;
  if (const std::string_view kept = keyed_query(query, arena); !kept.empty()) out.append("?").append(kept);
}

void KeyTemplate::append(std::string& out, std::string_view scheme, std::string_view authority, std::string_view path,
                         std::string_view query) const {
  append_uri(out, scheme, authority, path, query);
  out.append(apart_);
  for (const std::string& name : config_.headers) out.append("\n").append(name);
  for (const std::string& name : config_.cookies) out.append("\n;").append(name);
}

void KeyTemplate::append(std::string& out, const http::Request& request) const {
  append_uri(out, request.scheme, request.authority, request.path, request.query);
  out.append(apart_);
  for (const std::string& name : config_.headers) append_header(out.append("\n").append(name), name, request.fields);
  for (const std::string& name : config_.cookies) append_cookie(out.append("\n;").append(name), name, request.fields);
}

}  // namespace trellis::cache
