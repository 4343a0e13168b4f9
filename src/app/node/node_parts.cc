#include <algorithm>
#include <array>
#include <filesystem>

#include "app/node/node_impl.h"
#include "app/node/remote_jobs.h"
#include "base/encoding.h"
#include "base/rng.h"

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
  for (const auto& [name, config] : values.caches) {
    if (before) {
      const auto old = before->caches.find(name);
      if (old != before->caches.end() && old->second->config == config) {
        next.caches[name] = old->second;
        continue;
      }
    }
    next.caches[name] = std::make_shared<OpenCache>(OpenCache{
        config,
        std::make_unique<cache::MemoryCache>(
            cache::MemoryCacheOptions{.name = name, .capacity = config.memory, .policy = config.policy}, metrics)});
  }
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
