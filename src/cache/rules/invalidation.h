// Which stored answers an unsafe request makes invalid (RFC 9111 §4.4): those of its own URI, and of what Location and
// Content-Location name on the same origin. Other origins are left alone: one site must not empty another's cache.
// Pure; any core.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "http/message.h"

namespace trellis::cache {

// A URI of the request's own origin; views into the request, the response or the arena.
struct StoredUri {
  std::string_view scheme;
  std::string_view authority;
  std::string_view path;
  std::string_view query;
};

struct Invalidated {
  std::array<StoredUri, 3> uris;
  size_t count = 0;
  const StoredUri* begin() const noexcept { return uris.data(); }
  const StoredUri* end() const noexcept { return uris.data() + count; }
};

// None for a safe method, and for an answer that is an error: only 2xx and 3xx count. A method nobody knows is unsafe.
Invalidated invalidated_by(const http::Request& request, const http::Response& response, Arena& arena);

// `reference` resolved against the request's URI (RFC 3986 §5.2), normalised like a request's target. False: another
// origin, another scheme, or no URI.
bool resolve_same_origin(const http::Request& request, std::string_view reference, Arena& arena, StoredUri& out);

}  // namespace trellis::cache
