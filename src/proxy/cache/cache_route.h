// What one route does with its cache, on one core: the cache itself, the rules its configuration adds, what it counts.
// Shared by the filter and the fetches it began.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cache/edge/edge_cache.h"
#include "cache/rules/key.h"
#include "cache/rules/reuse.h"
#include "cache/rules/status_field.h"
#include "cache/rules/storing.h"
#include "http/handler.h"
#include "proxy/path_pattern.h"

namespace trellis {
inline namespace base {
class Counter;
class Metrics;
}  // namespace base
inline namespace runtime {
class TaskGroup;
}
}  // namespace trellis

namespace trellis::proxy {

class Members;

// What became of a request at the cache.
enum class Cached : uint8_t {
  hit,
  stale,        // what had expired was given
  revalidated,  // what had expired was given after the origin had confirmed it
  coalesced,    // from an answer that another request had asked for
  miss,
  bypass,
  refused,  // only-if-cached, and there was nothing
};
std::string_view to_string(Cached what) noexcept;
// Of X-Cache-Status: HIT, MISS, BYPASS, STALE, REVALIDATED.
std::string_view status_word(Cached what) noexcept;

struct CacheRoute {
  CacheRoute(std::shared_ptr<cache::EdgeCache> its_cache, Metrics& metrics, const std::string& space,
             TaskGroup& its_background);

  std::shared_ptr<cache::EdgeCache> cache;
  cache::StorePolicy policy;
  cache::KeyTemplate key;
  std::string node;  // in Cache-Status
  double early_refresh = 1;
  uint64_t slice = 0;               // bytes; 0: answers are stored whole
  std::vector<int> error_statuses;  // of an origin that has failed, so that what is stale may do (RFC 5861 §4)
  double jitter = 0;                // the share of lifetimes that chance may take off
  bool hide_cache_fields = true;
  bool encoded = false;                 // a filter before this one encodes answers
  std::vector<PathPattern> immutable;   // what lies there never changes
  bool hashed_names_immutable = false;  // nor what has a content hash in its name
  // The other edges of its cluster; null: there are none, or this is what they ask.
  std::shared_ptr<Members> members;
  std::string purge_key;  // of signed PURGE requests; "": none are taken
  TaskGroup& background;  // of the core, outlives everything

  // Of what lies at a path, with these fields of its answer.
  bool never_changes(std::string_view path, const http::Fields& answer) const;
  bool is_failure(int status) const noexcept;
  // Will the object of this key be asked of another node?
  bool asks_member(std::string_view uri_key) const;

  void count(Cached what, std::optional<uint64_t> bytes) noexcept;
  // Cache-Status, X-Cache-Status and the word for the access log.
  void tell(http::Response& response, http::RequestContext& context, Cached what,
            const cache::CacheStatus& status) const;

 private:
  static constexpr size_t kOutcomes = 7;
  std::array<Counter*, kOutcomes> requests_{};
  std::array<Counter*, kOutcomes> bytes_{};
};

// Why a GET or HEAD has nothing to do with the cache: a token; "": it has.
std::string_view reason_to_bypass(const http::Request& request);

// Goes on from the key of a URI to that of one variant, by the fields the marker names.
void append_variant_of(std::string& key, const cache::Object& marker, const http::Fields& request);

// What memory has for a request.
struct Found {
  cache::ObjectRef object;  // an answer or a mark that nothing is shared; null: nothing
  bool varied = false;      // the key goes on with a variant
  size_t uri_key = 0;       // bytes of the key before that
};
// `key`: of the URI; goes on with the variant where there are some.
Found find_stored(cache::EdgeCache& cache, std::string& key, const http::Fields& request, Time now);

// May the object be used, a soft purge included: as if its lifetime had ended.
cache::Reuse reuse_now(const cache::Object& object, const cache::RequestDirectives& wanted, Time now);

// What the answer is that another request's fetch brought: what was stale before comes from it if the origin failed.
struct Shared {
  Cached what = Cached::coalesced;
  std::string_view detail;  // of Cache-Status
};
Shared shared_as(const cache::Object& object, const cache::ObjectRef& stored) noexcept;

// May what another request's fetch brought be given to a request that came at `came` and had found `stored` (or null)?
bool may_share(const cache::Object& object, const cache::ObjectRef& stored, const cache::RequestDirectives& wanted,
               Time came, Time now);

}  // namespace trellis::proxy
