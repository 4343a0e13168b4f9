#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "app/node/node_impl.h"
#include "app/node/remote_jobs.h"
#include "base/encoding.h"
#include "base/rng.h"
#include "proxy/cache/members.h"
#include "proxy/filters/cache.h"

namespace trellis::app {

namespace {

Result<> make_parent(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (parent.empty()) return {};
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  if (error)
    return fail(Code::failed_precondition, "cannot make the folder " + parent.string() + ": " + error.message());
  return {};
}

// The caches that answers are kept in.
std::set<std::string> caches_of_routes(const NodeConfig& values) {
  std::set<std::string> names;
  for (const proxy::RouteConfig& route : values.routes) {
    for (const config::Entry& filter : route.filters) {
      if (const auto* cached = filter.as<proxy::CacheFilterConfig>()) names.insert(cached->in);
    }
  }
  return names;
}

// Answers may be large: each shard has room for some.
size_t shards_for_answers(uint64_t memory) {
  constexpr uint64_t kShard = uint64_t{64} << 20;
  return static_cast<size_t>(std::clamp<uint64_t>(memory / kShard, 1, 64));
}

// An edge cache with the memory it stands on: fills and those who purge hold it beyond its configuration.
struct Edge {
  Edge(std::shared_ptr<cache::MemoryCache> its_memory, std::unique_ptr<cache::DiskStore> disk,
       std::unique_ptr<cache::PurgeBook> book, cache::EdgeCacheOptions options)
      : memory(std::move(its_memory)), cache(*memory, std::move(disk), std::move(book), options) {}
  std::shared_ptr<cache::MemoryCache> memory;
  cache::EdgeCache cache;
};

Result<std::shared_ptr<cache::EdgeCache>> open_edge(const std::string& name, const std::string& node,
                                                    const OpenCache& open, Metrics& metrics) {
  std::unique_ptr<cache::DiskStore> disk;
  cache::PurgeBookOptions purges;
  purges.node = proxy::Members::number_of(node);
  purges.doubt = open.config.peers.has_value();
  if (const auto& config = open.config.disk) {
    TRY_VOID(make_parent(config->path));
    cache::DiskOptions options;
    options.path = config->path;
    options.size = config->size;
    options.name = name;
    TRY(disk, cache::DiskStore::open(std::move(options), metrics));
    purges.path = config->path + ".purges";  // beside the folder, which is the store's alone
  }
  TRY(std::unique_ptr<cache::PurgeBook> book, cache::PurgeBook::open(std::move(purges)));
  auto edge = std::make_shared<Edge>(open.cache, std::move(disk), std::move(book),
                                     cache::EdgeCacheOptions{.max_object = open.config.max_object});
  return std::shared_ptr<cache::EdgeCache>(edge, &edge->cache);
}

}  // namespace

std::string make_explain_key() {
  std::array<char, 16> bytes;
  random_bytes(bytes.data(), bytes.size());
  return to_hex({bytes.data(), bytes.size()});
}

Result<> Node::Impl::open_shared(Generation& next, const Generation* before) {
  const NodeConfig& values = next.config.values;
  for (const auto& [name, config] : values.stores) {
    if (before) {
      const auto old = before->stores.find(name);
      if (old != before->stores.end() && old->second->config.path == config.path) {
        next.stores[name] = old->second;
        continue;
      }
    }
    TRY_VOID(make_parent(config.path));
    TRY(next.stores[name], open_store(name, config, values.jobs, metrics, *cores));
  }
  const std::set<std::string> of_routes = caches_of_routes(values);
  for (const auto& [name, config] : values.caches) {
    if (before) {
      const auto old = before->caches.find(name);
      CacheConfig same_store = config;
      if (old != before->caches.end()) same_store.peers = old->second->config.peers;
      if (old != before->caches.end() && old->second->config == same_store &&
          (old->second->edge || !of_routes.contains(name))) {
        next.caches[name] = old->second;
        continue;
      }
    }
    next.caches[name] = std::make_shared<OpenCache>(OpenCache{
        config,
        std::make_unique<cache::MemoryCache>(
            cache::MemoryCacheOptions{.name = name,
                                      .capacity = config.memory,
                                      .shards = of_routes.contains(name) ? shards_for_answers(config.memory) : 0,
                                      .policy = config.policy},
            metrics),
        nullptr});
  }
  for (const std::string& name : of_routes) {
    OpenCache& open = *next.caches.at(name);
    if (open.edge) continue;
    auto edge = open_edge(name, values.node, open, metrics);
    if (!edge) return fail(Error(edge.error().code(), "caches." + name).because(std::move(edge).error()));
    open.edge = *std::move(edge);
  }
  TRY_VOID(read_keys(next));
  for (const auto& [name, config] : values.logs) {
    if (before) {
      const auto old = before->logs.find(name);
      if (old != before->logs.end() && old->second->config.path == config.path) {
        next.logs[name] = old->second;
        continue;
      }
    }
    queue::EventLogOptions options;
    options.name = name;
    options.folder = config.path;
    auto opened = queue::EventLog::open(std::move(options), metrics);
    if (!opened) return fail(Error(opened.error().code(), "logs." + name).because(std::move(opened).error()));
    next.logs[name] = std::make_shared<OpenEventLog>(OpenEventLog{config, *std::move(opened)});
  }
  TRY(next.remote_plans,
      plans_of_other_nodes(values, before ? before->remote_plans : std::vector<queue::WorkerPlan>{}));
  if (const auto& settings = values.observe.access_log) {
    if (before && before->access_log && before->access_log->settings == *settings) {
      next.access_log = before->access_log;
    } else {
      TRY_VOID(make_parent(settings->path));
      proxy::AccessLogConfig config;
      config.path = settings->path;
      config.format = settings->format;
      config.redact = settings->redact;
      TRY(auto log, proxy::AccessLog::open(config, values.node));
      next.access_log = std::make_shared<OpenLog>(OpenLog{*settings, std::move(log)});
    }
  }
  if (const std::string& path = values.observe.explain_key_file; path.empty()) {
    next.explain_key = own_explain_key;
  } else if (auto key = read_token(path); key) {
    next.explain_key = *std::move(key);
  } else {
    return fail(Error(key.error().code(), "observe.explain_key_file").because(std::move(key).error()));
  }
  TRY_VOID(open_hosts(next, before));
  for (const auto& [name, listener] : values.listeners)
    next.routers[name] = std::make_shared<const proxy::Router>(proxy::make_router(values.routes, name));
  return {};
}

}  // namespace trellis::app
