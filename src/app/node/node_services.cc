#include <set>
#include <tuple>

#include "app/node/node_impl.h"
#include "base/log.h"
#include "queue/jobs_sqlite.h"
#include "queue/schedule_runner.h"
#include "services/links/links.h"

namespace trellis::app {

Result<> Node::Impl::open_services(Generation& next, const Generation* before) {
  for (const config::Entry& entry : next.config.values.services) {
    if (const auto* mail = entry.as<services::mail::MailConfig>()) {
      TRY_VOID(open_mail(next, before, entry.name, *mail));
      continue;
    }
    const auto* links = entry.as<services::links::LinksConfig>();
    TRELLIS_ASSERT(links);
    const auto& store = next.stores.at(links->store);
    const auto& cache = next.caches.at(links->cache);
    const std::shared_ptr<OpenEventLog> log = links->log.empty() ? nullptr : next.logs.at(links->log);
    if (before) {
      const auto old = before->services.find(entry.name);
      if (old != before->services.end() && before->stores.contains(links->store) &&
          before->stores.at(links->store) == store && before->caches.contains(links->cache) &&
          before->caches.at(links->cache) == cache &&
          (!log || (before->logs.contains(links->log) && before->logs.at(links->log) == log)) &&
          same<services::links::LinksConfig>(before->config.tree, next.config.tree, "services." + entry.name) &&
          !old->second->service->files_changed()) {
        next.services[entry.name] = old->second;
        continue;
      }
    }
    auto keeps = std::make_shared<
        std::tuple<std::shared_ptr<OpenStore>, std::shared_ptr<OpenCache>, std::shared_ptr<OpenEventLog>>>(store, cache,
                                                                                                           log);
    TRY_VOID(start_service(next, entry.name, links->store,
                           std::make_unique<services::links::LinksService>(*links, *store->store, *cache->cache,
                                                                           log ? log->log.get() : nullptr),
                           std::move(keeps)));
  }
  return {};
}

Result<> Node::Impl::open_mail(Generation& next, const Generation* before, const std::string& name,
                               const services::mail::MailConfig& mail) {
  const auto store_in = [&mail](const Generation& generation) -> std::shared_ptr<OpenStore> {
    const auto found = generation.stores.find(mail.store);
    return found == generation.stores.end() ? nullptr : found->second;
  };
  const std::shared_ptr<OpenStore> store = store_in(next);  // null: only jobs of other nodes
  if (before) {
    const auto old = before->services.find(name);
    if (old != before->services.end() && store_in(*before) == store &&
        same<services::mail::MailConfig>(before->config.tree, next.config.tree, "services." + name)) {
      next.services[name] = old->second;
      return {};
    }
  }
  return start_service(next, name, mail.store, std::make_unique<services::mail::MailService>(mail), store);
}

Result<> Node::Impl::start_service(Generation& next, const std::string& name, const std::string& store,
                                   std::unique_ptr<services::Service> service, std::shared_ptr<void> keeps) {
  auto jobs = cores->run_on(0, [&] {
    const std::string& node = next.config.values.node;
    if (store.empty()) return std::make_unique<queue::ServiceJobs>(node);
    const OpenStore& its_store = *next.stores.at(store);
    return std::make_unique<queue::ServiceJobs>(*its_store.jobs, *its_store.schedules, node);
  });
  queue::ServiceJobs* const its_jobs = jobs.get();
  auto running = std::make_shared<RunningService>(RunningService{.env = {.loop = cores->loop(0),
                                                                         .cores = cores->size(),
                                                                         .metrics = metrics,
                                                                         .clock = system_clock(),
                                                                         .jobs = its_jobs},
                                                                 .store = store,
                                                                 .jobs = std::move(jobs),
                                                                 .service = std::move(service),
                                                                 .routes = {},
                                                                 .keeps = std::move(keeps)});
  Result<> ok = cores->finish_on(0, [&running] { return running->service->start(running->env); });
  if (!ok) {
    cores->run_on(0, [&running] {
      running->service.reset();
      running->jobs.reset();
    });
    return fail(Error(ok.error().code(), "services." + name).because(std::move(ok).error()));
  }
  running->service->mount(running->routes);
  next.services[name] = std::move(running);
  return {};
}

// A queue belongs to one service: the workers of another would know no handler for its jobs.
Result<> Node::Impl::check_queues(const Generation& next) const {
  std::map<std::pair<std::string, std::string>, std::string> owners;  // by store and queue
  for (const auto& [name, service] : next.services) {
    for (const std::string& queue : service->jobs->queues()) {
      const auto [owner, added] = owners.emplace(std::pair(service->store, queue), name);
      if (!added)
        return fail(Code::failed_precondition,
                    "services." + name + " and services." + owner->second + " both use the queue " + queue);
    }
  }
  return {};
}

Result<> Node::Impl::put_schedules(const Generation& next, const Generation* before) {
  for (const auto& [name, service] : next.services) {
    if (before && before->services.contains(name) && before->services.at(name) == service) continue;
    Result<> put =
        cores->finish_on(0, [&] { return service->jobs->put_schedules(after(system_clock().now(), kServiceTimeout)); });
    if (!put)
      return fail(Error(put.error().code(), "services." + name + ": schedules").because(std::move(put).error()));
  }
  return {};
}

// The new configuration stands: its workers begin, those of services that it replaces leave, and schedules that no
// service has any more are taken away.
void Node::Impl::begin_jobs(const Generation& next, const Generation* before) {
  const NodeConfig& values = next.config.values;
  std::set<std::pair<std::string, std::string>> served;  // stores and queues
  std::set<std::string> movable;                         // queues whose jobs of other nodes can be done
  for (const auto& [name, service] : next.services) {
    for (const std::string& queue : service->jobs->queues()) served.emplace(service->store, queue);
    std::vector<queue::WorkerPlan> plans;
    if (!service->store.empty()) plans = values.worker_plans(service->store);
    plans.insert(plans.end(), next.remote_plans.begin(), next.remote_plans.end());
    cores->run_on(0, [&] { service->jobs->work(plans, values.runtime.drain); });
    for (const std::string& queue : service->jobs->movable_queues()) movable.insert(queue);
  }
  for (const auto& [name, worker] : values.workers) {
    for (const std::string& queue : worker.queues) {
      if (worker.from ? !movable.contains(queue) : !served.contains({worker.store, queue}))
        log_warn("no service of this node does the jobs of this queue", {{"workers", name}, {"queue", queue}});
    }
  }
  std::set<std::pair<queue::ScheduleRunner*, std::string>> wanted;
  for (const auto& [name, service] : next.services) {
    for (const queue::Schedule& schedule : service->jobs->schedules())
      wanted.emplace(next.stores.at(service->store)->schedules.get(), schedule.name);
  }
  if (before) {
    for (const auto& [name, service] : before->services) {
      if (next.services.contains(name) && next.services.at(name) == service) continue;
      cores->run_on(0, [&] { service->jobs->work({}, values.runtime.drain); });
      if (service->store.empty()) continue;  // and so without schedules
      queue::ScheduleRunner* runner = before->stores.at(service->store)->schedules.get();
      for (const queue::Schedule& schedule : service->jobs->schedules()) {
        if (wanted.contains({runner, schedule.name})) continue;
        auto removed = cores->finish_on(
            0, [&] { return runner->remove(schedule.name, after(system_clock().now(), kServiceTimeout)); });
        if (!removed)
          log_warn("a schedule could not be removed",
                   {{"schedule", schedule.name}, {"error", removed.error().to_string()}});
      }
    }
    for (const auto& [name, store] : before->stores) {
      if (!next.stores.contains(name) || next.stores.at(name) != store) retired_stores.push_back(store);
    }
  }
  for (const auto& [name, store] : next.stores) run_schedules(*store, *cores);
  const std::lock_guard lock(stores_mutex);
  open_stores = next.stores;
  open_logs.clear();
  for (const auto& [name, log] : next.logs) open_logs[name] = std::shared_ptr<queue::EventLog>(log, log->log.get());
  explain_key = next.explain_key;
  open_caches.clear();
  open_edges.clear();
  for (const auto& [name, cache] : next.caches)
    open_caches[name] = std::shared_ptr<cache::MemoryCache>(cache, cache->cache.get());
  for (const auto& [name, cache] : next.caches) {
    if (cache->edge) open_edges[name] = edge_of(cache);
  }
}

void Node::Impl::stop_service(RunningService& service, Duration patience) {
  const Deadline deadline = after(system_clock().now(), patience);
  const bool jobs_ended = cores->finish_on(0, [&] { return service.jobs->stop(deadline); });
  if (!jobs_ended) log_warn("jobs were cut at the stop and given back", {});
  Result<> stopped_well = cores->finish_on(0, [&] { return service.service->stop(deadline); });
  if (!stopped_well) log_error("a service did not stop cleanly", {{"error", stopped_well.error().to_string()}});
  cores->run_on(0, [&] {
    service.service.reset();
    service.jobs.reset();
  });
}

// Services that a reload replaced are stopped when no request uses them any more.
void Node::Impl::retire_unused() {
  // Here and not on a loop: closing a store or a log file blocks.
  std::erase_if(replaced, [](const auto& generation) { return generation.use_count() == 1; });
  std::erase_if(retired, [this](std::shared_ptr<RunningService>& service) {
    if (service.use_count() > 1) return false;
    // A job that is still at work ends by itself or is cut; the reload does not wait for it.
    if (!cores->run_on(0, [&service] { return service->jobs->idle(); })) return false;
    stop_service(*service, current->config.values.runtime.drain);
    return true;
  });
  std::erase_if(retired_stores, [this](std::shared_ptr<OpenStore>& store) {
    if (store.use_count() > 1) return false;
    close_store(*store, *cores);
    return true;
  });
}

}  // namespace trellis::app
