// An answer made from a stored object, for one request: the whole of it, 304 for who has it already, a range or several
// of what is there. The body is sent from the cache's own memory, while it grows if it does. Pure but for that; the
// answer's fields are copies in the request's arena.
#pragma once

#include <cstdint>

#include "cache/edge/object.h"
#include "http/handler.h"

namespace trellis::proxy {

// Can the object answer this request, as far as its bytes go? Precondition: it is an answer.
bool has_bytes_for(const cache::Object& object, const http::Request& request, int64_t now);

struct StoredAnswerOptions {
  int64_t age = 0;                // for the Age field
  bool tell_age = true;           // also when it is 0
  bool hide_cache_fields = true;  // Surrogate-Key and its kin are not for clients
};
// Precondition: has_bytes_for().
http::Response stored_answer(const cache::ObjectRef& object, const http::Request& request,
                             http::RequestContext& context, const StoredAnswerOptions& options);

}  // namespace trellis::proxy
