// An answer made from a stored object, for one request: the whole of it, 304 for who has it already, a range or several
// of what is there. The body is sent from the cache's own memory, while it grows if it does. Pure but for that; the
// answer's fields are copies in the request's arena.
#pragma once

#include <cstdint>
#include <memory>

#include "cache/edge/edge_cache.h"
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

// Its status and fields alone, for who has a body of his own.
http::Response stored_head(const cache::ObjectRef& object, http::RequestContext& context,
                           const StoredAnswerOptions& options);

// Its body in other codings; null where it is not of a kind that is kept so.
std::unique_ptr<http::StoredForms> stored_forms(const cache::ObjectRef& object,
                                                const std::shared_ptr<cache::EdgeCache>& cache);

}  // namespace trellis::proxy
