#include "proxy/cache/cache_view.h"

#include <utility>

#include "proxy/cache/cache_route.h"
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

}  // namespace

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
