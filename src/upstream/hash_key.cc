#include "upstream/hash_key.h"

#include "base/hash.h"

namespace trellis::upstream {

namespace {

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The value of `name` among pairs such as "a=1&b=2".
std::optional<std::string_view> value_among(std::string_view pairs, char between, std::string_view name) noexcept {
  while (!pairs.empty()) {
    const size_t end = pairs.find(between);
    const std::string_view pair = trimmed(pairs.substr(0, end));
    pairs.remove_prefix(end == std::string_view::npos ? pairs.size() : end + 1);
    const size_t equals = pair.find('=');
    if (equals != std::string_view::npos && pair.substr(0, equals) == name) return pair.substr(equals + 1);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string_view> cookie_of(const http::Request& request, std::string_view name) noexcept {
  for (const http::Field& field : request.fields) {
    if (field.id != http::FieldId::cookie) continue;
    if (const auto value = value_among(field.value, ';', name)) return value;
  }
  return std::nullopt;
}

HashKey::HashKey(std::string_view hash_on) {
  const size_t dot = hash_on.find('.');
  const std::string_view kind = hash_on.substr(0, dot);
  if (dot != std::string_view::npos) name_ = hash_on.substr(dot + 1);
  if (kind == "path") kind_ = Kind::path;
  if (kind == "header") kind_ = Kind::header;
  if (kind == "cookie") kind_ = Kind::cookie;
  if (kind == "query") kind_ = Kind::query;
}

std::optional<uint64_t> HashKey::of(const http::Request& request, const http::RequestContext& context) const noexcept {
  std::optional<std::string_view> text;
  switch (kind_) {
    case Kind::client_address: text = context.client_address; break;
    case Kind::path: text = request.path; break;
    case Kind::header: text = request.fields.find(name_); break;
    case Kind::cookie: text = cookie_of(request, name_); break;
    case Kind::query: text = value_among(request.query, '&', name_); break;
  }
  if (!text) return std::nullopt;
  return hash64(*text);
}

}  // namespace trellis::upstream
