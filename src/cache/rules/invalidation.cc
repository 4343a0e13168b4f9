#include "cache/rules/invalidation.h"

#include <algorithm>

#include "base/ascii.h"
#include "cache/rules/key.h"
#include "http/h1_parser.h"
#include "http/target.h"

namespace trellis::cache {

namespace {

using http::FieldId;

// "HTTP" of "HTTP://a/"; "" where the text has no scheme.
std::string_view scheme_of(std::string_view uri) noexcept {
  const size_t colon = uri.find_first_of(":/?#");
  if (colon == std::string_view::npos || uri[colon] != ':' || colon == 0) return {};
  const auto fits = [](char c) {
    const char l = ascii_lower(c);
    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
  };
  const std::string_view scheme = uri.substr(0, colon);
  const char first = ascii_lower(scheme[0]);
  return first >= 'a' && first <= 'z' && std::all_of(scheme.begin(), scheme.end(), fits) ? scheme : std::string_view{};
}

}  // namespace

bool resolve_same_origin(const http::Request& request, std::string_view reference, Arena& arena, StoredUri& out) {
  reference = reference.substr(0, reference.find('#'));
  bool network_path = reference.starts_with("//");
  if (const std::string_view scheme = scheme_of(reference); !scheme.empty()) {
    reference.remove_prefix(scheme.size() + 1);
    if (!http::iequal(scheme, request.scheme) || !reference.starts_with("//")) return false;
    network_path = true;
  }
  if (network_path) {
    reference.remove_prefix(2);
    const size_t end = std::min(reference.find_first_of("/?"), reference.size());
    const std::string_view authority = reference.substr(0, end);
    if (!http::iequal(without_default_port(authority, request.scheme),
                      without_default_port(request.authority, request.scheme)))
      return false;
    reference.remove_prefix(end);
    if (!reference.starts_with('/')) reference = arena.concat({"/", reference});
  } else if (reference.empty() || reference.starts_with('?')) {
    reference = reference.empty()
                    ? request.query.empty() ? request.path : arena.concat({request.path, "?", request.query})
                    : arena.concat({request.path, reference});
  } else if (!reference.starts_with('/')) {
    reference = arena.concat({request.path.substr(0, request.path.rfind('/') + 1), reference});
    if (!reference.starts_with('/')) return false;  // the request was for "*"
  }
  out.scheme = request.scheme;
  out.authority = request.authority;
  return http::normalise_target(reference, arena, out.path, out.query) == http::H1Error::none;
}

Invalidated invalidated_by(const http::Request& request, const http::Response& response, Arena& arena) {
  Invalidated out;
  if (http::is_safe(request.method) || response.status < 200 || response.status >= 400) return out;
  out.uris[out.count++] = {request.scheme, request.authority, request.path, request.query};
  for (const FieldId id : {FieldId::location, FieldId::content_location}) {
    const auto reference = response.fields.find(id);
    StoredUri uri;
    if (!reference || !resolve_same_origin(request, *reference, arena, uri)) continue;
    const bool known = std::any_of(out.begin(), out.end(), [&uri](const StoredUri& each) {
      return each.path == uri.path && each.query == uri.query;
    });
    if (!known) out.uris[out.count++] = uri;
  }
  return out;
}

}  // namespace trellis::cache
