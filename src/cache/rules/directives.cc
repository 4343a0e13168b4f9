#include "cache/rules/directives.h"

#include <algorithm>

#include "http/field_text.h"
#include "http/structured.h"

namespace trellis::cache {

namespace {

using http::FieldId;
using http::iequal;
using http::trimmed;

constexpr std::string_view kCdnCacheControl = "CDN-Cache-Control";
constexpr std::string_view kSurrogateControl = "Surrogate-Control";

// name[=argument]; the argument as a token or quoted (§5.2).
struct Directive {
  std::string_view text;  // all of it
  std::string_view name;
  std::string_view argument;  // without quotes
  bool has_argument = false;
  bool quoted = false;
  bool broken = false;  // white space around '=', an open quote, something behind the closing one, an escape

  bool is(std::string_view wanted) const noexcept { return iequal(name, wanted); }
  std::optional<int64_t> seconds() const noexcept {
    return has_argument && !broken ? parse_seconds(argument) : std::nullopt;
  }
};

Directive directive_of(std::string_view element) noexcept {
  Directive out;
  out.text = element;
  const size_t equals = element.find('=');
  out.name = trimmed(element.substr(0, equals));
  if (equals == std::string_view::npos) return out;
  out.has_argument = true;
  const std::string_view raw = element.substr(equals + 1);
  out.argument = trimmed(raw);
  out.broken = out.name.size() != equals || out.argument.size() != raw.size();
  if (!out.argument.starts_with('"')) return out;
  out.quoted = true;
  out.argument.remove_prefix(1);
  const size_t end = out.argument.find_first_of("\"\\");
  out.broken =
      out.broken || end == std::string_view::npos || out.argument[end] != '"' || end + 1 != out.argument.size();
  out.argument = out.argument.substr(0, end);
  return out;
}

template <class Take>
void for_each_directive(const http::Fields& fields, FieldId id, Take take) {
  for (const http::Field& field : fields) {
    if (field.id != id) continue;
    std::string_view list = field.value;
    while (const auto element = http::next_element(list)) take(directive_of(*element));
  }
}

// The first of several counts.
void set_first(std::optional<int64_t>& to, std::optional<int64_t> value) noexcept {
  if (!to) to = value;
}
// The same for a lifetime; what cannot be read is no lifetime.
void set_lifetime(std::optional<int64_t>& to, std::optional<int64_t> value) noexcept {
  if (!to) to = value.value_or(0);
}

// The field names of no-cache="a, b". False: there is none, or something that is no name, or too many; then the
// directive is meant without names, which forbids more.
bool add_names(std::string_view list, std::vector<std::string_view>& names) {
  const size_t before = names.size();
  while (const auto name = http::next_element(list)) {
    if (!http::is_token(*name) || names.size() == kMaxNamedFields) {
      names.resize(before);
      return false;
    }
    names.push_back(*name);
  }
  return names.size() > before;
}

void take_qualified(const Directive& directive, bool& whole, std::vector<std::string_view>& names) {
  if (!directive.has_argument || directive.broken || !add_names(directive.argument, names)) whole = true;
}

// Behind the opening quote: does it end where the text ends?
bool ends_quote(std::string_view text) noexcept {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') return i + 1 == text.size();
    if (text[i] == '\\') ++i;
  }
  return false;
}

// No directive by the grammar: "private; max-age=60", "no-store no-cache", and what begins a quote that does not end.
bool is_malformed(const Directive& directive) noexcept {
  if (!http::is_token(directive.name)) return true;
  if (directive.quoted) return !ends_quote(directive.text.substr(directive.text.find('"') + 1));
  return directive.has_argument && !http::is_token(directive.argument);
}

// Of what is malformed the words that forbid are heeded: whoever wrote it meant them.
void take_forbidding_words(std::string_view text, ResponseDirectives& out) noexcept {
  constexpr std::string_view kBetween = " \t;,\"'=";
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(kBetween), text.size());
    const std::string_view word = text.substr(0, end);
    out.no_store = out.no_store || iequal(word, "no-store");
    out.no_cache = out.no_cache || iequal(word, "no-cache");
    out.is_private = out.is_private || iequal(word, "private");
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void take_response_directive(const Directive& directive, ResponseDirectives& out) {
  if (directive.is("max-age")) {
    set_lifetime(out.max_age, directive.seconds());
  } else if (directive.is("s-maxage")) {
    set_lifetime(out.s_maxage, directive.seconds());
  } else if (directive.is("no-store")) {
    out.no_store = true;
  } else if (directive.is("no-cache")) {
    take_qualified(directive, out.no_cache, out.no_cache_fields);
  } else if (directive.is("private")) {
    take_qualified(directive, out.is_private, out.private_fields);
  } else if (directive.is("public")) {
    out.is_public = true;
  } else if (directive.is("must-revalidate")) {
    out.must_revalidate = true;
  } else if (directive.is("proxy-revalidate")) {
    out.proxy_revalidate = true;
  } else if (directive.is("must-understand")) {
    out.must_understand = true;
  } else if (directive.is("no-transform")) {
    out.no_transform = true;
  } else if (directive.is("immutable")) {
    out.immutable = true;
  } else if (directive.is("stale-while-revalidate")) {
    set_first(out.stale_while_revalidate, directive.seconds());
  } else if (directive.is("stale-if-error")) {
    set_first(out.stale_if_error, directive.seconds());
  }
}

// A member of a structured dictionary as the directive it stands for. nullopt: a value of a type the directive does not
// have, or `?0`: as if it were not there.
std::optional<Directive> directive_of(const http::DictionaryMember& member) noexcept {
  using Kind = http::DictionaryMember::Kind;
  Directive out;
  out.name = member.key;
  switch (member.kind) {
    case Kind::boolean: return member.integer == 1 ? std::optional(out) : std::nullopt;
    case Kind::integer:
    case Kind::string:
      out.argument = member.text;
      out.has_argument = true;
      out.quoted = member.kind == Kind::string;
      return out;
    default: return std::nullopt;
  }
}

bool takes_number(std::string_view name) noexcept {
  return name == "max-age" || name == "s-maxage" || name == "stale-while-revalidate" || name == "stale-if-error";
}

bool read_cdn_cache_control(const http::Fields& response, ResponseDirectives& out) {
  std::optional<std::string_view> text;
  for (const http::Field& field : response) {
    if (field.id != FieldId::unknown || !iequal(field.name, kCdnCacheControl)) continue;
    text = text ? response.arena().concat({*text, ", ", field.value}) : field.value;
  }
  if (!text) return false;
  const auto members = http::parse_dictionary(*text);
  if (!members || members->empty()) return false;
  // A span of another type is a fault like any other in the field. Were only the span left out, what Cache-Control
  // forbids would still be overruled, by nothing.
  for (const http::DictionaryMember& member : *members) {
    if (takes_number(member.key) && member.kind != http::DictionaryMember::Kind::integer) return false;
  }
  for (const http::DictionaryMember& member : *members) {
    if (const auto directive = directive_of(member)) take_response_directive(*directive, out);
  }
  return true;
}

// "max-age=60+30;device": 60 s fresh, 30 s stale allowed, for that device only (W3C note "Edge Architecture").
bool take_surrogate_directive(Directive directive, bool for_us, ResponseDirectives& out) {
  std::string_view device;
  std::string_view& last = directive.has_argument ? directive.argument : directive.name;
  if (const size_t semicolon = last.find(';'); semicolon != std::string_view::npos) {
    device = trimmed(last.substr(semicolon + 1));
    last = trimmed(last.substr(0, semicolon));
  }
  if (device.empty() == for_us || (for_us && !iequal(device, kSurrogateDevice))) return false;
  if (directive.is("no-store")) {
    out.no_store = true;
    return true;
  }
  if (!directive.is("max-age") || out.max_age) return false;
  if (const size_t plus = directive.argument.find('+'); plus != std::string_view::npos && !directive.broken) {
    out.stale_while_revalidate = parse_seconds(directive.argument.substr(plus + 1));
    directive.argument = directive.argument.substr(0, plus);
  }
  set_lifetime(out.max_age, directive.seconds());
  return true;
}

void read_cache_control(const http::Fields& response, ResponseDirectives& out) {
  for_each_directive(response, FieldId::cache_control, [&out](const Directive& directive) {
    out.any = true;
    take_response_directive(directive, out);
    if (is_malformed(directive)) take_forbidding_words(directive.text, out);
  });
}

// False: it says nothing about storing, or nothing to this cache.
bool read_surrogate_control(const http::Fields& response, ResponseDirectives& out) {
  bool said = false;
  // What names this cache counts before what is for all.
  for (const bool for_us : {true, false}) {
    for (const http::Field& field : response) {
      if (field.id != FieldId::unknown || !iequal(field.name, kSurrogateControl)) continue;
      std::string_view list = field.value;
      while (const auto element = http::next_element(list))
        said = take_surrogate_directive(directive_of(*element), for_us, out) || said;
    }
    if (said) return true;
  }
  return false;
}

}  // namespace

std::optional<int64_t> parse_seconds(std::string_view text) noexcept {
  if (text.empty()) return std::nullopt;
  int64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = std::min(value * 10 + (c - '0'), kMaxSeconds);
  }
  return value;
}

RequestDirectives request_directives(const http::Fields& request) {
  RequestDirectives out;
  for_each_directive(request, FieldId::cache_control, [&out](const Directive& directive) {
    if (directive.is("no-store")) {
      out.no_store = true;
    } else if (directive.is("no-cache")) {
      out.no_cache = true;
    } else if (directive.is("only-if-cached")) {
      out.only_if_cached = true;
    } else if (directive.is("no-transform")) {
      out.no_transform = true;
    } else if (directive.is("max-age")) {
      set_first(out.max_age, directive.seconds());
    } else if (directive.is("min-fresh")) {
      set_first(out.min_fresh, directive.seconds());
    } else if (directive.is("max-stale")) {
      set_first(out.max_stale, directive.has_argument ? directive.seconds() : kAnySeconds);
    } else if (directive.is("stale-if-error")) {
      set_first(out.stale_if_error, directive.seconds());
    }
  });
  if (!request.has(FieldId::cache_control)) {
    for_each_directive(request, FieldId::pragma,
                       [&out](const Directive& directive) { out.no_cache = out.no_cache || directive.is("no-cache"); });
  }
  return out;
}

ResponseDirectives response_directives(const http::Fields& response) {
  ResponseDirectives out;
  if (read_cdn_cache_control(response, out) || read_surrogate_control(response, out)) {
    out.any = true;
    out.targeted = true;
    return out;
  }
  read_cache_control(response, out);
  return out;
}

bool is_kept_from_caches(const http::Fields& response) {
  ResponseDirectives behind;
  read_cache_control(response, behind);
  const ResponseDirectives here = response_directives(response);
  return behind.no_store || behind.is_private || here.no_store || here.is_private;
}

void set_cache_control(http::Fields& response, std::string_view text) {
  response.set(FieldId::cache_control, text);
  response.remove(FieldId::expires);
  for (const std::string_view before_it : {kCdnCacheControl, kSurrogateControl}) response.remove(before_it);
}

}  // namespace trellis::cache
