// cache: answers from what was stored before, and asks the rest of the chain for what is missing, once however many
// wait for it. What may be stored and used is RFC 9111's (cache/rules/); the objects are the EdgeCache's; what is asked
// for is a Fetch (proxy/cache/fetch.h), which runs beside the requests. docs/edge-cache.md. One instance a route and
// core.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/rules/directives.h"
#include "cache/rules/key.h"
#include "cache/rules/reuse.h"
#include "config/fields.h"
#include "proxy/cache/cache_route.h"
#include "proxy/cache/members.h"
#include "proxy/filter.h"
#include "proxy/filter_parts.h"

namespace trellis::proxy {

class Fetch;

struct CachePurgeConfig {
  std::string key_file;
  static config::Fields<CachePurgeConfig> fields();
};

struct CacheFilterConfig {
  std::string in;
  std::map<int, Duration> ttl;
  cache::KeyConfig key;
  Duration ttl_max{};
  bool heuristic = true;
  Duration stale_while_revalidate{};
  Duration stale_if_error{};
  std::vector<int> error_statuses = {500, 502, 503, 504};
  double jitter = 0;
  std::vector<std::string> immutable;
  bool hashed_names_immutable = false;
  uint64_t slice = 0;
  double early_refresh = 1;
  bool store_set_cookie = false;
  bool ignore_request_directives = false;
  bool hide_cache_fields = true;
  std::optional<CachePurgeConfig> purge;
  static config::Fields<CacheFilterConfig> fields();
  void check(config::Checker& at) const;
  cache::StorePolicy policy() const;
};

class CacheFilter final : public Filter {
 public:
  static Result<std::unique_ptr<CacheFilter>> make(const CacheFilterConfig& config, const FilterParts& parts);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override;

 private:
  // Why a request goes to the origin, and what is known before it does.
  struct Missing {
    std::string key;
    size_t uri_key = 0;
    cache::ObjectRef stored;
    cache::Forwarded why = cache::Forwarded::uri_miss;
    cache::RequestDirectives wanted;
    Time came{};            // when the request did
    bool alone = false;     // without waiting for others, and without others waiting
    bool unshared = false;  // since the answers of this URI are not stored
  };

  CacheFilter(CacheRoute route, bool many_keys) : route_(std::move(route)), many_keys_(many_keys) {}

  Task<Result<http::Response>> answer(http::Request& request, http::RequestContext& context, Next next);
  void refresh_behind(const http::Request& request, const http::RequestContext& context, Next next,
                      std::string_view key, size_t uri_key, const cache::ObjectRef& stored);
  http::Response give(const cache::ObjectRef& object, const http::Request& request, http::RequestContext& context,
                      Cached what, cache::CacheStatus status, int64_t age, bool tell_age);
  http::Response refuse(http::RequestContext& context);
  void freshen_by_head(const cache::ObjectRef& stored, http::Fields& old, const http::Response& response,
                       http::RequestContext& context, cache::Stamp stamp, WallTime asked);
  cache::ObjectRef look_again(Missing& missing, const http::Request& request, const http::RequestContext& context);
  bool can_use(const cache::ObjectRef& object, const Missing& missing, const http::Request& request,
               const http::RequestContext& context) const;
  std::shared_ptr<Fetch> prepare(const http::Request& request, const http::RequestContext& context, Next next,
                                 const Missing& missing);

  Task<Result<http::Response>> bypass(http::Request& request, http::RequestContext& context, Next next,
                                      std::string_view why);
  Task<Result<http::Response>> unsafe(http::Request& request, http::RequestContext& context, Next next);
  Task<Result<http::Response>> head(http::Request& request, http::RequestContext& context, Next next, Missing missing);
  Task<Result<http::Response>> miss(http::Request& request, http::RequestContext& context, Next next, Missing missing);
  Task<cache::ObjectRef> head_on_disk(const http::Request& request, http::RequestContext& context, Missing& missing);
  Task<cache::ObjectRef> from_disk(const http::Request& request, http::RequestContext& context, Missing& missing);
  Task<Result<http::Response>> disk_or_refuse(http::Request& request, http::RequestContext& context, Missing missing);
  Task<Result<http::Response>> fetch(http::Request& request, http::RequestContext& context, Next next, Missing missing,
                                     std::optional<cache::FillLeader> leader);

  Task<Result<http::Response>> purge(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> for_member(http::Request& request, http::RequestContext& context, Next next,
                                          Members::Sender sender);

  CacheRoute route_;
  const bool many_keys_;                      // an answer may stand under keys that its URI alone does not tell
  std::unique_ptr<CacheFilter> for_members_;  // what other nodes ask; null: there are none
  std::string key_;  // of the request that is looked up now; reused, so that a hit allocates nothing
};

}  // namespace trellis::proxy
