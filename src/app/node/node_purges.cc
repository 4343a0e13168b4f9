// Purges of edge caches and the clusters they travel in: what each core has of the members, and who looks after the
// books.
#include "app/node/node_impl.h"
#include "cache/edge/purge_walk.h"
#include "net/interfaces.h"
#include "proxy/cache/members.h"
#include "proxy/filters/cache.h"
#include "runtime/loop.h"

namespace trellis::app {

namespace {

constexpr Duration kKeepEvery = std::chrono::seconds(10);

}  // namespace

Result<> Node::Impl::read_keys(Generation& next) const {
  const NodeConfig& values = next.config.values;
  const auto read = [&](const std::string& path, const std::string& place) -> Result<> {
    if (next.keys.contains(path)) return {};
    auto key = read_token(path);
    if (!key) return fail(Error(key.error().code(), place).because(std::move(key).error()));
    next.keys[path] = *std::move(key);
    return {};
  };
  for (const auto& [name, cache] : values.caches) {
    if (!cache.peers) continue;
    next.silences[name] = std::make_shared<proxy::Silence>();
    TRY_VOID(read(cache.peers->key_file, "caches." + name + ".peers.key_file"));
  }
  for (size_t i = 0; i < values.routes.size(); ++i) {
    for (const config::Entry& filter : values.routes[i].filters) {
      const auto* cached = filter.as<proxy::CacheFilterConfig>();
      if (!cached || !cached->purge) continue;
      TRY_VOID(read(cached->purge->key_file, "routes[" + std::to_string(i) + "].filters.cache.purge.key_file"));
    }
  }
  return {};
}

void Node::Impl::prepare_members(CoreState& state, const Generation& next) {
  const NodeConfig& values = next.config.values;
  for (const auto& [name, config] : values.caches) {
    const std::shared_ptr<cache::EdgeCache> edge = edge_of(next.caches.at(name));
    if (!config.peers || !edge) continue;
    auto options = std::make_shared<proxy::MembersOptions>(
        proxy::MembersOptions{.cache = name, .key = next.keys.at(config.peers->key_file), .node = values.node});
    options->silence = next.silences.at(name);
    options->forget = [edge](std::string_view key) { edge->invalidate(key); };
    state.next_members[name] =
        std::make_shared<proxy::Members>(std::move(options), state.next_clusters.at(config.peers->upstream).cluster,
                                         std::shared_ptr<cache::PurgeBook>(edge, &edge->book()), metrics);
  }
}

// Those of before end their questions; the requests that use them keep them.
void Node::Impl::commit_members(size_t core, const std::vector<std::string>& own) {
  CoreState& state = *states[core];
  for (const auto& [name, members] : state.members) members->end_following();
  state.members = std::move(state.next_members);
  state.next_members.clear();
  for (const auto& [name, members] : state.members) {
    members->set_self(own);
    if (core == 0) members->follow();
  }
}

// As others name this node: what the configuration says, and the addresses of its listeners.
std::vector<std::string> Node::Impl::own_addresses(const Generation& next,
                                                   const std::map<std::string, ListeningSockets>& opened) const {
  std::vector<std::string> own;
  for (const auto& [name, config] : next.config.values.caches) {
    if (config.peers && !config.peers->self.empty()) own.push_back(config.peers->self);
  }
  const auto add = [&](const std::map<std::string, ListeningSockets>& all) {
    for (const auto& [name, listening] : all) {
      if (listening.kind != ListenerConfig::Kind::http) continue;
      for (const net::Address& address : net::addresses_behind(listening.address)) own.push_back(address.to_string());
    }
  };
  add(sockets);
  add(opened);
  return own;
}

// On core 0. The walk through a cache that has gone ends by itself.
void Node::Impl::begin_walks(const Generation& next) {
  CoreState& state = *states[0];
  for (const auto& [name, open] : next.caches) {
    const std::shared_ptr<cache::EdgeCache> edge = edge_of(open);
    std::weak_ptr<cache::EdgeCache>& walked = state.walked[name];
    if (!edge || walked.lock() == edge) continue;
    walked = edge;
    state.walks.spawn(cache::walk_for_purges(edge));
  }
}

// On the main thread, which may wait for the disk.
void Node::Impl::keep_purges() {
  const Time now = system_clock().now();
  if (now < after(purges_kept, kKeepEvery)) return;
  purges_kept = now;
  for (const auto& [name, cache] : current->caches) {
    if (cache->edge) cache->edge->tick();
  }
}

std::map<std::string, std::shared_ptr<cache::EdgeCache>> Node::edges() const {
  const std::lock_guard lock(impl_->stores_mutex);
  return impl_->open_edges;
}

CachedRoute Node::cached_route(const http::Request& request, const std::string& listener) const {
  std::shared_ptr<const Generation> generation;
  {
    const std::lock_guard lock(impl_->stores_mutex);
    generation = impl_->open_generation;
  }
  CachedRoute found;
  if (!generation) return found;
  const auto& routes = generation->config.values.routes;
  for (const auto& [name, router] : generation->routers) {
    if (!listener.empty() && name != listener) continue;
    const uint32_t place = router->find(request).route;
    if (place == proxy::Router::kNone) continue;
    const proxy::RouteConfig& route = routes[place];
    if (found.filter || (!found.route.empty() && route.filters.empty())) continue;
    found.listener = name;
    found.route = route.label();
    for (const config::Entry& entry : route.filters) {
      const auto* filter = entry.as<proxy::CacheFilterConfig>();
      if (!filter) continue;
      found.filter = std::shared_ptr<const proxy::CacheFilterConfig>(generation, filter);
      found.key = std::make_shared<const cache::KeyTemplate>(filter->key, route.match.conditions(), route.match.host);
      found.cache = generation->caches.at(filter->in)->edge;
    }
  }
  return found;
}

std::map<std::string, PurgeHands> Node::purges() const {
  std::map<std::string, PurgeHands> hands;
  const std::lock_guard lock(impl_->stores_mutex);
  for (const auto& [name, edge] : impl_->open_edges) {
    const auto& members = impl_->states[0]->members;
    const auto found = members.find(name);
    hands[name] = {.cache = edge, .members = found == members.end() ? nullptr : found->second};
  }
  return hands;
}

}  // namespace trellis::app
