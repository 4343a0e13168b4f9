#include "proxy/cache/cache_view.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "http/ranges.h"
#include "proxy/cache/cache_route.h"
#include "proxy/cache/slices.h"
#include "runtime/loop.h"

namespace trellis::proxy {

using cache::Object;
using cache::ObjectRef;

namespace {

// What a soft purge met is stale from now on, as it would be once it were used.
void heed_purges(cache::EdgeCache& cache, const CacheView& view) {
  for (const ObjectRef& object : {view.memory, view.disk}) {
    if (object) (void)cache.alive(*object);
  }
}

constexpr uint64_t kSlicesAStep = 64;

bool is_answer(const ObjectRef& object) { return object && object->kind() == Object::Kind::answer; }

std::optional<uint64_t> total_of(const CacheView& view) {
  for (const ObjectRef& object : {view.memory, view.disk}) {
    if (is_answer(object)) return object->total();
  }
  return std::nullopt;
}

bool is_usable(cache::EdgeCache& cache, const CacheView& view, const cache::RequestDirectives& wanted) {
  const Time now = Loop::current().now();
  for (const ObjectRef& object : {view.memory, view.disk}) {
    if (!is_answer(object) || cache.purge_state(*object) == cache::PurgeState::dead) continue;
    const cache::Use use = reuse_now(*object, wanted, now).use;
    return use != cache::Use::validate && use != cache::Use::refused;
  }
  return false;
}

// The slices that a request needs, in runs, the first one's first.
std::vector<http::ByteRange> slices_of(const http::Request& request, uint64_t slice, uint64_t total) {
  std::vector<http::ByteRange> ranges;
  if (const auto range = request.fields.find(http::FieldId::range)) {
    http::RangePlan plan = http::plan_ranges(*range, total);
    if (plan.kind == http::RangePlan::Kind::unsatisfiable) return {};
    ranges = std::move(plan.ranges);
  }
  if (ranges.empty()) ranges.push_back({0, total - 1});
  for (http::ByteRange& range : ranges) range = {range.first / slice, range.last / slice};
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<http::ByteRange> runs;
  for (const http::ByteRange& range : ranges) {
    if (runs.empty() || range.first > runs.back().last) {
      runs.push_back(range);
    } else {
      runs.back().last = std::max(runs.back().last, range.last);
    }
  }
  return runs;
}

}  // namespace

Task<SlicesView> view_slices(std::shared_ptr<cache::EdgeCache> cache, std::string uri_key, uint64_t slice,
                             const http::Request& request, cache::RequestDirectives wanted, Deadline deadline) {
  SlicesView seen;
  const auto range = request.fields.find(http::FieldId::range);
  seen.number = range ? first_of_range(*range) / slice : 0;
  while (true) {
    Task<CacheView> viewing = view_cache(cache, cache::slice_key(uri_key, seen.number), request.fields, deadline);
    seen.first = co_await viewing;
    if (total_of(seen.first) || seen.number == 0) break;
    seen.number = 0;  // may know the size
  }
  const uint64_t total = total_of(seen.first).value_or(0);
  if (total == 0) co_return seen;
  if (is_answer(seen.first.memory) && seen.first.memory->whole()) {
    // Its origin gives no ranges of it, or it is no larger than one.
    seen.of = seen.needed = seen.looked = seen.memory = 1;
    seen.disk = is_answer(seen.first.disk) ? 1 : 0;
    seen.usable = is_usable(*cache, seen.first, wanted) ? 1 : 0;
    co_return seen;
  }
  seen.of = (total - 1) / slice + 1;
  const std::vector<http::ByteRange> runs = slices_of(request, slice, total);
  for (const http::ByteRange& run : runs) seen.needed += run.size();
  for (const http::ByteRange& run : runs) {
    for (uint64_t number = run.first; number <= run.last; ++number) {
      if (seen.looked == kMostSlicesViewed || Loop::current().now() >= deadline) co_return seen;
      Task<CacheView> viewing = view_cache(cache, cache::slice_key(uri_key, number), request.fields, deadline);
      const CacheView view = co_await viewing;
      ++seen.looked;
      seen.memory += is_answer(view.memory) ? 1 : 0;
      seen.disk += is_answer(view.disk) ? 1 : 0;
      seen.usable += is_usable(*cache, view, wanted) ? 1 : 0;
      if (seen.looked % kSlicesAStep == 0) co_await yield();
    }
  }
  co_return seen;
}

Task<CacheView> view_cache(std::shared_ptr<cache::EdgeCache> cache, std::string key, const http::Fields& request,
                           Deadline deadline) {
  CacheView view;
  view.key = std::move(key);
  const auto look = [&] {
    view.memory = cache->peek(view.key, Loop::current().now());
    view.filling = view.filling || cache->is_filling(view.key);
  };
  look();
  Task<ObjectRef> reading = cache->peek_on_disk(view.key, deadline);
  view.disk = co_await reading;
  for (ObjectRef* found : {&view.memory, &view.disk}) {
    if (!view.marker && *found && (*found)->kind() == Object::Kind::variants) view.marker = *found;
  }
  if (!view.marker) {
    heed_purges(*cache, view);
    co_return view;
  }
  append_variant_of(view.key, *view.marker, request);
  look();
  Task<ObjectRef> again = cache->peek_on_disk(view.key, deadline);
  view.disk = co_await again;
  heed_purges(*cache, view);
  co_return view;
}

}  // namespace trellis::proxy
