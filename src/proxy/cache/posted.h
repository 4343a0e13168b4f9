// The answer to a POST that says what it is (RFC 9110 §9.3.3): a lifetime, and a Content-Location that is the request's
// own URI. It is kept for later GETs. Only short ones of known length: they are read before the client gets its answer,
// so that they are stored whole or not at all. One core.
#pragma once

#include <cstdint>

#include "http/handler.h"
#include "proxy/cache/cache_route.h"

namespace trellis::proxy {

inline constexpr uint64_t kMostPosted = uint64_t{256} << 10;  // bytes of a body

// When the POST was sent, and PurgeBook::newest() before that.
struct PostSent {
  Time at{};
  WallTime wall{};
  uint64_t filled = 0;
};

// Stores the answer where that may be; `response` has its body again then. Precondition: what the POST changed has been
// invalidated. An error: the body broke off.
Task<Result<void>> keep_posted(CacheRoute& route, const http::Request& request, http::Response& response,
                               http::RequestContext& context, const PostSent& sent);

}  // namespace trellis::proxy
