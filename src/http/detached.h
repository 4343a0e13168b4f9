// A request that goes on by itself, beside the one that it was made from: a mirror's copy, the fetch of a cache. It has
// an arena of its own, so it may outlive the exchange; its body, deadline and what explains it are the maker's to set.
// One core.
#pragma once

#include "base/arena.h"
#include "http/handler.h"
#include "http/message.h"

namespace trellis::http {

struct Detached {
  Detached(const Request& from, const RequestContext& its);
  Detached(const Detached&) = delete;
  Detached& operator=(const Detached&) = delete;

  Arena arena;
  Request request{arena};
  RequestContext context;
};

}  // namespace trellis::http
