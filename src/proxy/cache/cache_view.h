// What a cache has for a request, looked at without using it: for `trellis ctl cache why`.
#pragma once

#include <string>

#include "cache/edge/edge_cache.h"
#include "cache/rules/directives.h"
#include "cache/rules/reuse.h"
#include "http/fields.h"
#include "http/message.h"

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

// A representation in slices, as far as it is there.
struct SlicesView {
  uint64_t number = 0;  // the first slice that the request needs, or, where that is not there, the first of all
  CacheView first;      // of that
  uint64_t of = 0;      // slices of the whole; 0: the size is not known
  uint64_t needed = 0;  // of those, by the request's Range, or all
  uint64_t looked = 0;  // at the first of those: kMostSlicesViewed at most, and as far as the deadline goes
  uint64_t memory = 0;  // have an answer in memory, purged or not
  uint64_t disk = 0;    // likewise on disk
  uint64_t usable = 0;  // without asking the origin
};
inline constexpr uint64_t kMostSlicesViewed = 4096;

// Reads what view_cache() reads, for each slice. `request` outlives the wait.
Task<SlicesView> view_slices(std::shared_ptr<cache::EdgeCache> cache, std::string uri_key, uint64_t slice,
                             const http::Request& request, cache::RequestDirectives wanted, Deadline deadline);

}  // namespace trellis::proxy
