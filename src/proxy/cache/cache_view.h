// What a cache has for a request, looked at without using it: for `trellis ctl cache why`.
#pragma once

#include <string>

#include "cache/edge/edge_cache.h"
#include "cache/rules/directives.h"
#include "cache/rules/reuse.h"
#include "http/fields.h"

namespace trellis::proxy {

struct CacheView {
  std::string key;          // the request's: goes on with the variant where there are some
  cache::ObjectRef marker;  // by which fields answers differ; null: they do not
  cache::ObjectRef memory;  // an answer, purged or not, or a mark that the answers are not stored; null: nothing
  cache::ObjectRef disk;    // an answer without its body; null: nothing
  bool filling = false;     // it is being fetched
};

// `key`: of the URI, or of one of its slices. Reads the disk's index, and the head of what is there.
Task<CacheView> view_cache(std::shared_ptr<cache::EdgeCache> cache, std::string key, const http::Fields& request,
                           Deadline deadline);

}  // namespace trellis::proxy
