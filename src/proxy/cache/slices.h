// One large representation, stored in slices of equal size: a range of a film fetches the slices it touches and not
// the film, and each slice is an object like any other, with its own fill, its own place in memory and on disk. The
// slices of one answer must be of one representation: the same strong ETag, or the same Last-Modified; where the origin
// changes it in the middle, the answer breaks off, for its length and its first half are out already, and the next
// request begins anew.
//
// An origin that does not answer a Range with 206 is stored whole, once for each slice that was asked for: the option
// is for origins that do. One core.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cache/edge/edge_cache.h"
#include "cache/rules/directives.h"
#include "http/detached.h"
#include "proxy/cache/cache_route.h"
#include "proxy/cache/fetch.h"
#include "proxy/filter.h"

namespace trellis::proxy {

// The slices of one URI for one request. The body of its answer keeps it.
class Slices : public std::enable_shared_from_this<Slices> {
 public:
  Slices(CacheRoute& route, const http::Request& from, const http::RequestContext& its, Next next, std::string uri_key,
         const cache::RequestDirectives& wanted);

  struct Slice {
    cache::ObjectRef object;       // null: `fetch` has an answer that is not stored
    std::shared_ptr<Fetch> fetch;  // that this request made for it; null where none was
    Cached what = Cached::hit;
    cache::Forwarded forwarded = cache::Forwarded::no;
    bool collapsed = false;             // waited for another request's fetch
    std::string_view detail = "slice";  // of Cache-Status
    cache::Reuse reuse;
  };
  Task<Result<Slice>> get(uint64_t number, Deadline deadline, Waiting waiting = {});
  // Begins to fetch it, unless it is there or on its way.
  void begin(uint64_t number);
  // Out of the cache, also where it is still coming: the origin has another version by now.
  void drop(const cache::ObjectRef& slice);
  uint64_t size() const noexcept { return route_.slice; }

 private:
  std::string key_of(uint64_t number) const;
  // What memory has: the slice, or what is there undivided. `first`: the key of that, with its variant.
  Found find(uint64_t number, std::string& key, std::string& first) const;
  // What somebody fetches under `first`, while it comes.
  cache::ObjectRef coming_at(const std::string& first) const;
  std::shared_ptr<Fetch> prepare(uint64_t number, const std::string& uri_key, const cache::ObjectRef& stored);
  void fetch_behind(uint64_t number, const std::string& uri_key, std::string_view key, const cache::ObjectRef& stored);

  CacheRoute& route_;
  std::shared_ptr<void> keeps_;
  http::Detached from_;
  Next next_;
  std::string uri_key_;
  cache::RequestDirectives wanted_;
};

// The first byte that a Range asks for, 0 where that depends on the size or lies behind any.
uint64_t first_of_range(std::string_view range) noexcept;

// The answer to a GET from slices. nullopt: its slices cannot be stored, so it is to be asked for as it is.
Task<Result<std::optional<http::Response>>> sliced_answer(CacheRoute& route, http::Request& request,
                                                          http::RequestContext& context, Next next, std::string uri_key,
                                                          cache::RequestDirectives wanted);

}  // namespace trellis::proxy
