#include "proxy/filters/cache.h"

#include <algorithm>
#include <utility>

#include "base/hash.h"
#include "cache/rules/conditions.h"
#include "cache/rules/invalidation.h"
#include "cache/rules/update.h"
#include "cache/rules/vary.h"
#include "http/explain.h"
#include "http/problem.h"
#include "proxy/cache/cache_view.h"
#include "proxy/cache/fetch.h"
#include "proxy/cache/posted.h"
#include "proxy/cache/purge.h"
#include "proxy/cache/slices.h"
#include "proxy/cache/stored_answer.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"

namespace trellis::proxy {

namespace {

using cache::CacheStatus;
using cache::FillLeader;
using cache::Forwarded;
using cache::Object;
using cache::ObjectRef;
using cache::RequestDirectives;
using cache::Reuse;
using cache::Use;
using http::FieldId;
using http::Method;

constexpr int kMostRounds = 8;  // a request that finds others' fetches of no use so often asks by itself

std::string range_text(const std::vector<http::ByteRange>& ranges) {
  return "bytes=" + std::to_string(ranges[0].first) + "-" + std::to_string(ranges[0].last);
}

// Has the cache all slices that a GET needs, so that its answer asks nobody for one?
Task<bool> has_slices_for(const CacheRoute& route, const http::Request& request, http::RequestContext& context,
                          std::string uri_key, RequestDirectives wanted) {
  // With several ranges, or when If-Range does not hold, more may be sent than the ranges name.
  const std::string_view range = request.fields.value(FieldId::range);
  if (request.fields.has(FieldId::if_range) || range.find(',') != std::string_view::npos) co_return false;
  Task<SlicesView> viewing =
      view_slices(route.cache, std::move(uri_key), route.slice, request, wanted, context.deadline);
  const SlicesView seen = co_await viewing;
  co_return seen.needed > 0 && seen.usable == seen.needed;
}

}  // namespace

// --- configuration ---

config::Fields<CacheFilterConfig> CacheFilterConfig::fields() {
  using namespace std::chrono_literals;
  return {{"in", "the cache that keeps the answers, one of `caches`", &CacheFilterConfig::in, config::kRequired},
          {"ttl", "lifetimes by status for answers that name none, as { 200: 60s, 404: 10s }; 0 is every other status",
           &CacheFilterConfig::ttl},
          {"key", "what tells stored answers apart", &CacheFilterConfig::key},
          {"ttl_max", "no answer is fresh for longer; 0s: as long as it says", &CacheFilterConfig::ttl_max,
           config::range(0s, 24h * 3650)},
          {"heuristic", "answers with Last-Modified and no lifetime are fresh for a tenth of their age",
           &CacheFilterConfig::heuristic},
          {"stale_while_revalidate",
           "for so long after its end an answer is given while it is fetched anew, where it does "
           "not say itself",
           &CacheFilterConfig::stale_while_revalidate, config::range(0s, 24h * 3650)},
          {"stale_if_error",
           "for so long after its end an answer is given when the origin fails, where it does not say itself",
           &CacheFilterConfig::stale_if_error, config::range(0s, 24h * 3650)},
          {"error_statuses",
           "statuses by which the origin fails, for stale_if_error and what answers say of it; 429 or 404 may be named",
           &CacheFilterConfig::error_statuses},
          {"jitter", "lifetimes are shortened by chance, by up to this share: what came together does not end together",
           &CacheFilterConfig::jitter, config::percent(0, 0.5)},
          {"immutable", "path patterns of what never changes, such as /assets/**: kept for a year, by clients too",
           &CacheFilterConfig::immutable},
          {"hashed_names_immutable",
           "scripts, styles, images, fonts and films with a content hash in their name never change",
           &CacheFilterConfig::hashed_names_immutable},
          {"slice",
           "large answers are kept in slices of this size, so that a range fetches only what it touches; 0: as one",
           &CacheFilterConfig::slice, config::size(0, 64 * config::kMiB)},
          {"early_refresh",
           "how eagerly what is asked for often is fetched before its end; 0 never, 1 as in the XFetch paper",
           &CacheFilterConfig::early_refresh, config::range(0, 100)},
          {"store_set_cookie", "keeps Set-Cookie and gives it to every client", &CacheFilterConfig::store_set_cookie},
          {"ignore_request_directives", "clients' Cache-Control and Pragma change nothing",
           &CacheFilterConfig::ignore_request_directives},
          {"hide_cache_fields", "takes Surrogate-Key, Cache-Tag and Surrogate-Control off answers",
           &CacheFilterConfig::hide_cache_fields},
          {"purge", "takes signed PURGE requests; absent: they are answered by 405", &CacheFilterConfig::purge}};
}

config::Fields<CachePurgeConfig> CachePurgeConfig::fields() {
  return {{"key_file", "the key they are signed with: 16 to 1,024 characters, alone in a file",
           &CachePurgeConfig::key_file, config::kRequired}};
}

void CacheFilterConfig::check(config::Checker& at) const {
  for (const auto& [status, span] : ttl) {
    const std::string place = "ttl." + std::to_string(status);
    if (status != 0 && (status < 200 || status > 599))
      at.problem(place, "is no status of an answer", "200 to 599, or 0");
    if (status == 206) at.problem(place, "is never looked at", "a part is as fresh as its whole: 200");
    if (status == 304) at.problem(place, "is never looked at", "it confirms what is stored: name the status of that");
    if (span < Duration::zero()) at.problem(place, "is negative");
  }
  for (size_t i = 0; i < error_statuses.size(); ++i) {
    if (error_statuses[i] < 400 || error_statuses[i] > 599)
      at.problem("error_statuses[" + std::to_string(i) + "]", "is no status of an error", "400 to 599");
  }
  for (size_t i = 0; i < immutable.size(); ++i) {
    if (const auto pattern = PathPattern::parse(immutable[i]); !pattern)
      at.problem("immutable[" + std::to_string(i) + "]", pattern.error().what());
  }
  if (slice > 0 && slice < 64 * config::kKiB)
    at.problem("slice", "is too small to be worth a request", "64KiB or more");
}

cache::StorePolicy CacheFilterConfig::policy() const {
  cache::StorePolicy policy;
  policy.ttl.assign(ttl.begin(), ttl.end());
  policy.heuristic = heuristic;
  policy.ttl_max = ttl_max;
  policy.stale_while_revalidate = stale_while_revalidate;
  policy.stale_if_error = stale_if_error;
  policy.store_set_cookie = store_set_cookie;
  policy.ignore_request_directives = ignore_request_directives;
  return policy;
}

Result<std::unique_ptr<CacheFilter>> CacheFilter::make(const CacheFilterConfig& config, const FilterParts& parts) {
  TRY(std::shared_ptr<cache::EdgeCache> store, parts.edge_cache(config.in));
  CacheRoute route(std::move(store), parts.metrics, parts.route, parts.background);
  route.policy = config.policy();
  route.key = cache::KeyTemplate(config.key, parts.conditions, parts.hosts);
  route.node = parts.node;
  route.early_refresh = config.early_refresh;
  route.error_statuses = config.error_statuses;
  route.jitter = config.jitter;
  route.slice = config.slice;
  for (const std::string& text : config.immutable) {
    TRY(PathPattern pattern, PathPattern::parse(text));
    route.immutable.push_back(std::move(pattern));
  }
  route.hashed_names_immutable = config.hashed_names_immutable;
  route.encoded = parts.encoded;
  route.hide_cache_fields = config.hide_cache_fields;
  const bool many_keys =
      config.slice > 0 || !config.key.headers.empty() || !config.key.cookies.empty() || parts.many_conditions;
  if (config.purge) route.purge_key = parts.key_in(config.purge->key_file);
  if (parts.members) route.members = parts.members(config.in);
  std::unique_ptr<CacheFilter> filter(new CacheFilter(std::move(route), many_keys));
  if (filter->route_.members) {
    CacheRoute inner = filter->route_;
    inner.members = nullptr;
    inner.hide_cache_fields = false;
    filter->for_members_.reset(new CacheFilter(std::move(inner), many_keys));
  }
  return filter;
}

// --- the way of a request ---

Task<Result<http::Response>> CacheFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  if (route_.members) {
    const Members::Sender sender = route_.members->sender_of(request, context);
    if (sender.kind != Members::Sender::Kind::client) return for_member(request, context, next, sender);
  }
  if (request.method != Method::get && request.method != Method::head) {
    if (request.method_text == "PURGE") return purge(request, context);
    if (!http::is_safe(request.method)) return unsafe(request, context, next);
    return bypass(request, context, next, "method");
  }
  if (const std::string_view why = reason_to_bypass(request); !why.empty()) return bypass(request, context, next, why);
  return answer(request, context, next);
}

Task<Result<http::Response>> CacheFilter::answer(http::Request& request, http::RequestContext& context, Next next) {
  const Time now = context.loop.now();
  const RequestDirectives wanted =
      route_.policy.ignore_request_directives ? RequestDirectives{} : cache::request_directives(request.fields);
  key_.clear();
  route_.key.append(key_, request);
  bool in_slices = route_.slice > 0 && request.method == Method::get;
  if (in_slices && wanted.only_if_cached) {
    Task<bool> looking = has_slices_for(route_, request, context, key_, wanted);
    in_slices = co_await looking;
    key_.clear();
    route_.key.append(key_, request);
  }
  if (in_slices) {
    Task<Result<std::optional<http::Response>>> slicing = sliced_answer(route_, request, context, next, key_, wanted);
    Result<std::optional<http::Response>> sliced = co_await slicing;
    if (!sliced) co_return std::unexpected<Error>(std::move(sliced).error());
    if (*sliced) co_return **std::move(sliced);
    key_.clear();
    route_.key.append(key_, request);
  }
  Found found = find_stored(*route_.cache, key_, request.fields, now);
  if (!found.object && route_.slice > 0 && request.method == Method::head && !route_.cache->may_be_on_disk(key_)) {
    // The first slice tells what there is to tell of all.
    key_ = cache::slice_key(key_.substr(0, found.uri_key), 0);
    found = find_stored(*route_.cache, key_, request.fields, now);
  }
  route_.cache->looked(key_, found.object);
  if (context.explain) [[unlikely]]
    context.explain->add("cache_key", key_);
  Missing missing;
  missing.why = found.varied ? Forwarded::vary_miss : Forwarded::uri_miss;
  if (found.object && found.object->kind() == Object::Kind::unshared) {
    missing.unshared = missing.alone = found.object->until() > now;
  } else if (found.object && !found.object->broken()) {
    const Object& object = *found.object;
    const Reuse reuse = reuse_now(object, wanted, now);
    const bool there = has_bytes_for(object, request, unix_seconds(context.loop.wall()));
    if (context.explain) [[unlikely]]
      context.explain->add("cache", std::string(to_string(reuse.use)) + ", " + std::string(reuse.reason) + ", age " +
                                        std::to_string(reuse.age) + " s, ttl " + std::to_string(reuse.ttl) + " s" +
                                        (there ? "" : ", but not all bytes are there"));
    if (reuse.use == Use::refused) co_return refuse(context);
    missing.stored = found.object;
    missing.why = !there                                    ? Forwarded::partial
                  : reuse.ttl > 0 && !object.expired.load() ? Forwarded::request
                                                            : Forwarded::stale;
    if (there && reuse.use != Use::validate) {
      const bool behind = reuse.use == Use::stale_while_revalidate ||
                          (reuse.use == Use::fresh && route_.early_refresh > 0 &&
                           cache::refresh_early(object.head().freshness, object.since_response(now), object.head().took,
                                                route_.early_refresh, 1 - context.loop.rng().unit()));
      if (behind) refresh_behind(request, context, next, key_, found.uri_key, found.object);
      CacheStatus status;
      status.ttl = reuse.ttl;
      if (reuse.use != Use::fresh) status.detail = reuse.reason;
      co_return give(found.object, request, context, reuse.use == Use::fresh ? Cached::hit : Cached::stale, status,
                     reuse.age, true);
    }
  }
  missing.key = key_;
  missing.uri_key = found.uri_key;
  missing.wanted = wanted;
  missing.came = now;
  // What it brings is not stored, so nobody is to wait for it.
  if (wanted.no_store) missing.alone = true;
  Task<Result<http::Response>> rest = wanted.only_if_cached ? disk_or_refuse(request, context, std::move(missing))
                                      : request.method == Method::head
                                          ? head(request, context, next, std::move(missing))
                                          : miss(request, context, next, std::move(missing));
  Result<http::Response> response = co_await rest;
  co_return response;
}

// --- purges, and other nodes ---

Task<Result<http::Response>> CacheFilter::purge(http::Request& request, http::RequestContext& context) {
  if (route_.purge_key.empty()) {
    context.outcome = "method_not_allowed";
    context.failed_side = Side::client;
    http::Response response =
        http::problem(context.arena, 405, context.outcome, "This route takes no purges.", false, context.request_id);
    response.fields.add(FieldId::allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    co_return response;
  }
  // Whoever is let in may name the page by any of the addresses that lead to it.
  request.query = route_.key.keyed_query(request.query, context.arena);
  co_return co_await answer_purge(request, context, route_.purge_key, route_.cache, route_.members.get());
}

Task<Result<http::Response>> CacheFilter::for_member(http::Request& request, http::RequestContext& context, Next next,
                                                     Members::Sender sender) {
  if (sender.kind == Members::Sender::Kind::ahead) co_return route_.members->refuse_ahead(context);
  request.scheme = sender.scheme;
  Task<Result<http::Response>> answering = for_members_->handle(request, context, next);
  Result<http::Response> response = co_await answering;
  if (response) Members::mark_answer(*response, context.cache_status == to_string(Cached::stale));
  co_return response;
}

http::Response CacheFilter::give(const ObjectRef& object, const http::Request& request, http::RequestContext& context,
                                 Cached what, CacheStatus status, int64_t age, bool tell_age) {
  http::Response response = stored_answer(
      object, request, context, {.age = age, .tell_age = tell_age, .hide_cache_fields = route_.hide_cache_fields});
  if (route_.encoded && response.status == 200 && request.fields.has(FieldId::accept_encoding))
    response.forms = stored_forms(object, route_.cache);
  route_.count(what, response.body.length());
  route_.tell(response, context, what, status);
  return response;
}

http::Response CacheFilter::refuse(http::RequestContext& context) {
  context.outcome = "not_cached";
  context.failed_side = Side::client;
  http::Response response =
      http::problem(context.arena, 504, context.outcome,
                    "Only a stored answer was asked for, and there is none to use.", false, context.request_id);
  route_.count(Cached::refused, std::nullopt);
  route_.tell(response, context, Cached::refused, {.refused = true, .detail = "only-if-cached"});
  return response;
}

// --- past the cache ---

Task<Result<http::Response>> CacheFilter::bypass(http::Request& request, http::RequestContext& context, Next next,
                                                 std::string_view why) {
  if (context.explain) [[unlikely]]
    context.explain->add("cache", "bypass: " + std::string(why));
  CO_TRY(http::Response response, co_await next(request, context));
  if (response.status == 101) co_return response;
  route_.count(Cached::bypass, response.body.length());
  route_.tell(response, context, Cached::bypass,
              {.forwarded = why == "method" ? Forwarded::method : Forwarded::bypass,
               .forwarded_status = response.status,
               .detail = why});
  co_return response;
}

Task<Result<http::Response>> CacheFilter::unsafe(http::Request& request, http::RequestContext& context, Next next) {
  const PostSent sent{context.loop.now(), context.loop.wall(), route_.cache->book().newest()};
  CO_TRY(http::Response response, co_await next(request, context));
  const cache::Invalidated gone = cache::invalidated_by(request, response, context.arena);
  std::vector<std::string> keys;
  for (const cache::StoredUri& uri : gone) {
    key_.clear();
    route_.key.append(key_, uri.scheme, uri.authority, uri.path, uri.query);
    if (context.explain) [[unlikely]]
      context.explain->add("cache", "invalidated: " + key_);
    route_.cache->invalidate(key_);
    if (route_.members) keys.push_back(key_);
    if (!many_keys_) continue;
    // Slices, and answers that differ by headers or cookies of the template or that another route took, stand under
    // keys of their own.
    cache::PurgeRule rule;
    cache::append_purge_url(rule.text, route_.key.purge_host(uri.authority), uri.path,
                            route_.key.keyed_query(uri.query, context.arena));
    auto add = [store = route_.cache, rule = std::move(rule)]() mutable -> Result<bool> {
      (void)store->book().add({std::move(rule)});
      return true;
    };
    Task<Result<bool>> adding = blocking(std::move(add));
    (void)co_await adding;
  }
  if (!keys.empty()) {
    Task<> forgetting = route_.members->forget(keys);
    co_await forgetting;
    // Once more: what came from an owner meanwhile may be what was there before.
    for (const std::string& key : keys) route_.cache->invalidate(key);
  }
  if (request.method == Method::post) {
    Task<Result<void>> keeping = keep_posted(route_, request, response, context, sent);
    if (Result<void> kept = co_await keeping; !kept) co_return std::unexpected<Error>(std::move(kept).error());
  }
  route_.count(Cached::bypass, response.body.length());
  route_.tell(response, context, Cached::bypass, {.forwarded = Forwarded::method, .forwarded_status = response.status});
  co_return response;
}

// What the disk has for HEAD, and memory under a key that only the disk leads to: an answer to give, without its body,
// or null. What cannot be given as it is stays in `missing`.
Task<ObjectRef> CacheFilter::head_on_disk(const http::Request& request, http::RequestContext& context,
                                          Missing& missing) {
  if (missing.stored || missing.unshared || !route_.cache->may_be_on_disk(missing.key)) co_return ObjectRef();
  Task<CacheView> viewing = view_cache(route_.cache, missing.key, request.fields, context.deadline);
  CacheView view = co_await viewing;
  missing.key = std::move(view.key);
  for (const ObjectRef& object : {view.memory, view.disk}) {
    if (!object || object->kind() != Object::Kind::answer || object->broken() || !route_.cache->alive(*object))
      continue;
    if (!missing.stored) missing.stored = object;
    const Use use = reuse_now(*object, missing.wanted, context.loop.now()).use;
    if (use == Use::validate || use == Use::refused) continue;
    route_.cache->disk()->touch(hash64(missing.key));
    co_return object;
  }
  if (missing.stored) missing.why = Forwarded::stale;
  co_return ObjectRef();
}

// Goes through as it is, unless the disk has the answer; what it says about a stored one is heeded (RFC 9111 §4.3.5).
Task<Result<http::Response>> CacheFilter::head(http::Request& request, http::RequestContext& context, Next next,
                                               Missing missing) {
  Task<ObjectRef> looking = head_on_disk(request, context, missing);
  if (const ObjectRef object = co_await looking) {
    const Reuse reuse = reuse_now(*object, missing.wanted, context.loop.now());
    const Cached what = reuse.use == Use::fresh ? Cached::hit : Cached::stale;
    co_return give(object, request, context, what, {.ttl = reuse.ttl, .detail = "disk"}, reuse.age, true);
  }
  const cache::Stamp stamp = route_.cache->stamp(missing.key);
  // It may freshen what others get, so it asks for no more than the key holds either.
  const std::string_view query = std::exchange(request.query, route_.key.keyed_query(request.query, context.arena));
  const WallTime asked = context.loop.wall();
  Task<Result<http::Response>> asking = next(request, context);
  Result<http::Response> came = co_await asking;
  request.query = query;
  if (!came || route_.is_failure(came->status)) {
    const ObjectRef& stored = missing.stored;
    if (stored && stored->kind() == Object::Kind::answer && route_.cache->alive(*stored) &&
        cache::may_serve_on_error(missing.wanted, stored->head().freshness,
                                  stored->since_response(context.loop.now()))) {
      context.outcome = {};
      context.failed_side = Side::unset;
      const Reuse reuse = reuse_now(*stored, missing.wanted, context.loop.now());
      CacheStatus status{.forwarded = missing.why, .ttl = reuse.ttl, .detail = "stale-if-error"};
      if (came) status.forwarded_status = came->status;
      co_return give(stored, request, context, Cached::stale, status, reuse.age, true);
    }
    if (!came) co_return std::unexpected<Error>(std::move(came).error());
  }
  http::Response& response = *came;
  cache::ensure_date(response.fields, context.loop.wall());
  if (const ObjectRef& stored = missing.stored; stored && stored->kind() == Object::Kind::answer) {
    http::Fields old(context.arena);
    stored->head().fields.view_in(old);
    auto effect = cache::effect_of_head(stored->head().status, old, stored->total(), response);
    // What varies by other fields now stands under the wrong key.
    const std::string_view vary = response.fields.joined(FieldId::vary);
    if (effect == cache::HeadEffect::freshen && !vary.empty() &&
        (cache::varies_on_everything(vary) || cache::vary_names(vary) != cache::vary_names(old.joined(FieldId::vary))))
      effect = cache::HeadEffect::invalidate;
    // What is said to one client alone says nothing of what is stored for all.
    const cache::ResponseDirectives directives = cache::response_directives(response.fields);
    const bool for_all = !directives.no_store && !directives.is_private && !request.fields.has(FieldId::authorization);
    if (effect == cache::HeadEffect::invalidate && for_all) route_.cache->remove(stored->key());
    if (effect == cache::HeadEffect::freshen && for_all) freshen_by_head(stored, old, response, context, stamp, asked);
  }
  route_.count(Cached::miss, std::nullopt);
  route_.tell(response, context, Cached::miss, {.forwarded = missing.why, .forwarded_status = response.status});
  co_return came;
}

void CacheFilter::freshen_by_head(const ObjectRef& stored, http::Fields& old, const http::Response& response,
                                  http::RequestContext& context, cache::Stamp stamp, WallTime asked) {
  const ObjectRef there = route_.cache->find(stored->key(), context.loop.now());
  if (there.entry().get() != stored.entry().get()) return;  // a newer one
  cache::freshen(old, response.fields);
  const cache::ResponseDirectives directives = cache::response_directives(old);
  http::Fields fields(context.arena);
  for (const http::Field& field : old) {
    if (cache::is_stored_field(field, directives, route_.policy)) fields.add(field);
  }
  cache::ObjectHead head;
  head.status = stored->head().status;
  // By all that came: its Age counts, and is not stored.
  head.freshness = cache::freshness_of(head.status, old, directives, route_.policy, asked, context.loop.wall());
  head.answered = context.loop.now();
  head.took = stored->head().took;
  head.purge_url = stored->head().purge_url;
  head.tags = stored->head().tags;
  head.filled = stored->head().filled;
  head.total = stored->head().total;
  head.fields = cache::StoredFields(fields);
  const ObjectRef object = route_.cache->make_object(std::string(stored->key()), std::move(head), stored->parts());
  // It is the same answer to the purges that met it.
  object->checked.store(stored->checked.load(std::memory_order_relaxed), std::memory_order_relaxed);
  object->expired.store(stored->expired.load(std::memory_order_relaxed), std::memory_order_relaxed);
  route_.cache->insert_head(object, stamp);
}

// --- to the origin ---

std::shared_ptr<Fetch> CacheFilter::prepare(const http::Request& request, const http::RequestContext& context,
                                            Next next, const Missing& missing) {
  auto fetch = std::make_shared<Fetch>(route_, request, context, next, missing.key.substr(0, missing.uri_key));
  fetch->wanted = missing.wanted;
  http::Fields& fields = fetch->request.fields;
  const ObjectRef& stored = missing.stored;
  // A purge since it was found, and before the fetch's own number, would be undone by a 304.
  if (!stored || stored->kind() != Object::Kind::answer || stored->broken() || !route_.cache->alive(*stored)) {
    // Of an answer that will not be stored the client may have the newest: the origin can say so.
    if (!missing.unshared) cache::remove_conditions(fields, false);
    return fetch;
  }
  fetch->stored = stored;
  http::Fields old(fetch->arena);
  stored->head().fields.view_in(old);
  if (stored->whole()) {
    if (stored->head().freshness.has_validator()) {
      cache::set_validation(fields, old);
      fetch->validates = true;
    } else {
      cache::remove_conditions(fields, true);
    }
    return fetch;
  }
  // A part: the range that was asked for, or the rest of the whole where one gap is left.
  const bool ranged = fields.has(FieldId::range);
  cache::remove_conditions(fields, false);
  const std::string_view etag = old.value(FieldId::etag);
  const auto total = stored->total();
  if (ranged || !total || etag.empty() || etag.starts_with("W/")) {
    fetch->completes = ranged;
    return fetch;
  }
  cache::Parts parts;
  for (const cache::ObjectPart& part : stored->parts()) {
    if (part.end() > part.first) parts.add({part.first, part.end() - 1});
  }
  const std::vector<http::ByteRange> gaps = parts.missing({0, *total - 1});
  if (gaps.size() != 1) return fetch;
  fields.set(FieldId::range, fetch->arena.copy(range_text(gaps)));
  fields.set(FieldId::if_range, etag);
  fetch->completes = fetch->fills_gap = true;
  return fetch;
}

void CacheFilter::refresh_behind(const http::Request& request, const http::RequestContext& context, Next next,
                                 std::string_view key, size_t uri_key, const ObjectRef& stored) {
  if (!stored->whole() || request.method != Method::get) return;
  cache::EdgeCache::Joined joined = route_.cache->join(key, route_.asks_member(key.substr(0, uri_key)));
  if (!joined.leads) return;
  Missing missing;
  missing.key = key;
  missing.uri_key = uri_key;
  missing.stored = stored;
  const std::shared_ptr<Fetch> fetch = prepare(request, context, next, missing);
  fetch->leader.emplace(route_.cache, std::move(joined.fill));
  if (context.explain) [[unlikely]]
    context.explain->add("cache", "is fetched anew in the background");
  Fetch::start(fetch);
}

bool CacheFilter::can_use(const ObjectRef& object, const Missing& missing, const http::Request& request,
                          const http::RequestContext& context) const {
  const Use use = reuse_now(*object, missing.wanted, context.loop.now()).use;
  return (use == Use::fresh || use == Use::stale) && has_bytes_for(*object, request, unix_seconds(context.loop.wall()));
}

// What came into memory since this request looked. An answer that can be given, or null; the key may go on now with a
// variant.
ObjectRef CacheFilter::look_again(Missing& missing, const http::Request& request, const http::RequestContext& context) {
  const Time now = context.loop.now();
  ObjectRef object = route_.cache->find(missing.key, now);
  if (object && object->kind() == Object::Kind::variants) {
    append_variant_of(missing.key, *object, request.fields);
    missing.why = Forwarded::vary_miss;
    object = route_.cache->find(missing.key, now);
  }
  if (!object || (missing.stored && object.entry().get() == missing.stored.entry().get())) return ObjectRef();
  if (object->kind() == Object::Kind::unshared) missing.unshared = missing.alone = object->until() > now;
  if (object->kind() != Object::Kind::answer) return ObjectRef();
  missing.stored = object;
  missing.why = Forwarded::stale;
  return can_use(object, missing, request, context) ? object : ObjectRef();
}

// What the disk has under the key of `missing`: an answer, or null. The key may go on now with a variant.
Task<ObjectRef> CacheFilter::from_disk(const http::Request& request, http::RequestContext& context, Missing& missing) {
  if (!route_.cache->may_be_on_disk(missing.key)) co_return ObjectRef();
  Task<ObjectRef> loading = route_.cache->load(missing.key, context.deadline, route_.background,
                                               context.owner ? context.owner->hold() : nullptr);
  ObjectRef loaded = co_await loading;
  if (!loaded || loaded->kind() != Object::Kind::variants) co_return loaded;
  append_variant_of(missing.key, *loaded, request.fields);
  missing.why = Forwarded::vary_miss;
  co_return ObjectRef();
}

// For only-if-cached, where memory has nothing.
Task<Result<http::Response>> CacheFilter::disk_or_refuse(http::Request& request, http::RequestContext& context,
                                                         Missing missing) {
  for (size_t before = 0; before != missing.key.size();) {
    before = missing.key.size();
    Task<ObjectRef> loading = from_disk(request, context, missing);
    ObjectRef object = co_await loading;
    if (!object && before != missing.key.size()) object = look_again(missing, request, context);
    if (object && can_use(object, missing, request, context)) {
      const Reuse reuse = reuse_now(*object, missing.wanted, context.loop.now());
      co_return give(object, request, context, Cached::hit, {.ttl = reuse.ttl, .detail = "disk"}, reuse.age, true);
    }
  }
  co_return refuse(context);
}

Task<Result<http::Response>> CacheFilter::miss(http::Request& request, http::RequestContext& context, Next next,
                                               Missing missing) {
  for (int round = 0; !missing.alone && round < kMostRounds; ++round) {
    // A range that is not there is fetched as it was asked for: only the same ones share a fetch.
    const bool ranged = request.fields.has(FieldId::range) && !(missing.stored && missing.stored->whole());
    cache::EdgeCache::Joined joined =
        route_.cache->join(ranged ? cache::range_key(missing.key, request.fields.joined(FieldId::range)) : missing.key,
                           route_.asks_member(std::string_view(missing.key).substr(0, missing.uri_key)));
    if (joined.leads) {
      std::optional<FillLeader> leader;
      leader.emplace(route_.cache, std::move(joined.fill));
      // Another core's fetch may have ended since this request looked, or another request has read the disk.
      const size_t key_size = missing.key.size();
      ObjectRef object = look_again(missing, request, context);
      const bool from_memory = static_cast<bool>(object);
      if (!missing.stored && !missing.alone && missing.key.size() == key_size) {
        Task<ObjectRef> loading = from_disk(request, context, missing);
        missing.stored = co_await loading;
        if (missing.stored) {
          missing.why = Forwarded::stale;
          if (can_use(missing.stored, missing, request, context)) object = missing.stored;
          const Reuse reuse = reuse_now(*missing.stored, missing.wanted, context.loop.now());
          if (reuse.use == Use::stale_while_revalidate &&
              has_bytes_for(*missing.stored, request, unix_seconds(context.loop.wall()))) {
            leader->give(missing.stored, ObjectRef());
            leader.reset();
            refresh_behind(request, context, next, missing.key, missing.uri_key, missing.stored);
            co_return give(missing.stored, request, context, Cached::stale, {.ttl = reuse.ttl, .detail = reuse.reason},
                           reuse.age, true);
          }
        }
      }
      if (object) {
        leader->give(object, ObjectRef());
        if (object->growing())
          route_.background.spawn(
              FillLeader::end_with(context.owner ? context.owner->hold() : nullptr, std::move(*leader), object));
        leader.reset();
        if (context.explain) [[unlikely]]
          context.explain->add("cache", from_memory ? "came while this request looked" : "from the disk");
        const Reuse reuse = reuse_now(*object, missing.wanted, context.loop.now());
        co_return give(object, request, context, Cached::hit,
                       {.ttl = reuse.ttl, .detail = from_memory ? std::string_view() : "disk"}, reuse.age, true);
      }
      // The fill was that of the URI, and the key goes on from there: who waits looks again, as this one does.
      if (missing.key.size() != key_size || missing.alone) continue;
      Task<Result<http::Response>> fetching = fetch(request, context, next, std::move(missing), std::move(leader));
      Result<http::Response> response = co_await fetching;
      co_return response;
    }
    // Of two nodes that each take the other for the owner, one has to go to the origin.
    if (joined.fill->asks_member && !route_.members) break;
    const bool late = joined.fill->end.load(std::memory_order_acquire) != cache::Fill::End::running;
    const bool came = co_await joined.fill->decided.wait(context.deadline);
    if (!came)
      co_return fail(Error(Code::deadline_exceeded, "waiting for another request's answer").from(Side::upstream));
    const cache::Fill& fill = *joined.fill;
    switch (fill.end.load(std::memory_order_acquire)) {
      case cache::Fill::End::failed: co_return fail(fill.error->clone());
      case cache::Fill::End::unshared: missing.alone = true; break;
      // What its leader's credentials kept from being stored, those of this one will too.
      case cache::Fill::End::own: missing.alone = request.fields.has(FieldId::authorization); break;
      case cache::Fill::End::object: {
        if (fill.marker) {
          missing.key.resize(missing.uri_key);
          append_variant_of(missing.key, *fill.marker, request.fields);
        }
        // An answer that does not vary any more is for all variants.
        const std::string_view key = fill.object->key();
        const bool fits = key == missing.key || key == std::string_view(missing.key).substr(0, missing.uri_key);
        if (fits && fill.object->broken())
          co_return fail(Error(Code::data_loss, "the answer to another request broke off").from(Side::upstream));
        if (fits && fill.object->kind() == Object::Kind::answer && route_.cache->alive(*fill.object) &&
            may_share(*fill.object, missing.stored, missing.wanted, missing.came, context.loop.now()) &&
            has_bytes_for(*fill.object, request, unix_seconds(context.loop.wall()))) {
          if (context.explain) [[unlikely]]
            context.explain->add("cache", "waited for the fetch of another request");
          const Reuse reuse = reuse_now(*fill.object, missing.wanted, context.loop.now());
          const Shared shared = shared_as(*fill.object, missing.stored);
          co_return give(fill.object, request, context, shared.what,
                         {.forwarded = missing.why, .ttl = reuse.ttl, .collapsed = true, .detail = shared.detail},
                         reuse.age, reuse.age > 0);
        }
        // The next fetch begins after this request came, so its answer will do, unless none does.
        if (fits && (late || fill.object->head().freshness.has(cache::Freshness::kNoCache))) missing.alone = true;
        break;
      }
      default: break;  // its leader went away
    }
    if (const ObjectRef object = missing.alone ? ObjectRef() : look_again(missing, request, context)) {
      const Reuse reuse = reuse_now(*object, missing.wanted, context.loop.now());
      co_return give(object, request, context, Cached::coalesced,
                     {.forwarded = missing.why, .ttl = reuse.ttl, .collapsed = true}, reuse.age, true);
    }
  }
  Task<Result<http::Response>> fetching = fetch(request, context, next, std::move(missing), std::nullopt);
  Result<http::Response> response = co_await fetching;
  co_return response;
}

Task<Result<http::Response>> CacheFilter::fetch(http::Request& request, http::RequestContext& context, Next next,
                                                Missing missing, std::optional<FillLeader> leader) {
  const std::shared_ptr<Fetch> fetch = prepare(request, context, next, missing);
  if (leader) fetch->leader.emplace(std::move(*leader));
  leader.reset();
  const Lent lent(*fetch, {request.interim, context.explain});
  Fetch::start(fetch);
  const bool came = co_await fetch->done.wait(context.deadline);
  if (!came) co_return fail(Error(Code::deadline_exceeded, "waiting for the origin").from(Side::upstream));
  fetch->tell_way(context);
  if (context.explain) [[unlikely]]
    context.explain->add("cache_store", fetch->stored_now ? "stored" : fetch->reason);
  switch (fetch->end) {
    case Fetch::End::running:
    case Fetch::End::failed:
      context.outcome = context.arena.copy(fetch->context.outcome);
      context.failed_side = fetch->context.failed_side;
      co_return fail(fetch->error ? fetch->error->clone() : Error(Code::unavailable, "the fetch ended early"));
    case Fetch::End::object: {
      const ObjectRef& object = fetch->object;
      const Reuse reuse = reuse_now(*object, fetch->wanted, context.loop.now());
      if (object->broken()) co_return fail(Error(Code::data_loss, "the answer broke off").from(Side::upstream));
      if (!has_bytes_for(*object, request, unix_seconds(context.loop.wall()))) break;
      const Cached what = what_came_of(*fetch);
      CacheStatus status{.forwarded = missing.why,
                         .forwarded_status = fetch->forwarded_status(),
                         .ttl = reuse.ttl,
                         .stored = fetch->stored_now};
      if (fetch->stale) status.detail = fetch->reason;
      http::Response response = give(object, request, context, what, status, reuse.age, fetch->stale || reuse.age > 0);
      fetch->add_extra(response);
      co_return response;
    }
    case Fetch::End::passed: co_return passed_answer(fetch, request, context, route_, missing.why);
  }
  // The origin gave other bytes than were asked for.
  co_return fail(Error(Code::data_loss, "the origin's range does not hold what was asked for").from(Side::upstream));
}

}  // namespace trellis::proxy
