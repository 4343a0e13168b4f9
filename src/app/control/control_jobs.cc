// The control API's jobs: /v1/jobs... (docs/jobs.md#by-hand).
#include <algorithm>
#include <array>

#include "app/control/control_area.h"
#include "app/node/node.h"
#include "app/node/open_store.h"
#include "config/values.h"
#include "queue/jobs_sqlite.h"
#include "queue/schedule.h"
#include "queue/schedule_runner.h"
#include "runtime/loop.h"

namespace trellis::app {

namespace {

using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;
using queue::JobRecord;
using queue::JobState;
using queue::QueueStats;

constexpr int64_t kMaxListed = 100;
constexpr size_t kMaxQueuesListed = 100;

Deadline soon() { return after(Loop::current().now(), kControlTimeout); }

void write_job(JsonWriter& json, const JobRecord& job, bool whole) {
  json.begin_object()
      .member("id", job.id)
      .member("queue", job.queue)
      .member("kind", job.kind)
      .member("state", queue::to_string(job.state))
      .member("priority", job.priority)
      .member("attempts", job.tried)
      .member("max_attempts", job.max_attempts)
      .member("worker", job.worker)
      .member("created_at", time_text(job.created))
      .member("payload_bytes", job.payload.size())
      .member("last_error", job.history.empty() ? std::string() : job.history.back().error);
  if (job.until) json.member(job.state == JobState::leased ? "lease_until" : "ready_at", time_text(*job.until));
  if (whole) {
    json.member("payload", job.payload).key("history").begin_array();
    for (const queue::JobFailure& failure : job.history) {
      json.begin_object()
          .member("attempt", failure.attempt)
          .member("at", time_text(failure.at))
          .member("error", failure.error)
          .end_object();
    }
    json.end_array();
  }
  json.end_object();
}

Task<Result<Response>> stats(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"store"}));
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  auto counting = store->jobs->stats(soon());
  const Result<std::vector<QueueStats>> all = co_await counting;
  if (!all) co_return fail(all.error().clone());
  std::string text;
  JsonWriter json(text);
  json.begin_object().key("queues").begin_array();
  for (const QueueStats& one : *all) {
    json.begin_object()
        .member("queue", one.queue)
        .member("ready", one.ready)
        .member("delayed", one.delayed)
        .member("leased", one.leased)
        .member("done", one.done)
        .member("dead", one.dead)
        .member("oldest_seconds", seconds(one.oldest))
        .end_object();
  }
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(text));
}

Result<JobState> state_named(const std::optional<std::string>& name) {
  for (const JobState state : {JobState::ready, JobState::delayed, JobState::leased, JobState::done, JobState::dead}) {
    if (queue::to_string(state) == name.value_or("dead")) return state;
  }
  return fail(refused(Code::invalid_argument, "state must be ready, delayed, leased, done or dead"));
}

// Of one queue, or of all: dead ones by their ids, so that a page follows another, others one queue after the other.
Task<Result<Response>> list(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"store", "queue", "state", "after", "limit"}));
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  CO_TRY(const std::optional<std::string> queue, text_parameter(request, context, "queue"));
  CO_TRY(const std::optional<std::string> named, text_parameter(request, context, "state"));
  CO_TRY(const JobState state, state_named(named));
  CO_TRY(const std::optional<int64_t> after_id, number_parameter(request, context, "after", 0, INT64_MAX));
  CO_TRY(const std::optional<int64_t> wanted, number_parameter(request, context, "limit", 1, kMaxListed));
  const auto limit = static_cast<size_t>(wanted.value_or(20));
  if (after_id && state != JobState::dead)
    co_return fail(refused(Code::invalid_argument, "after is an id among dead jobs: others have no pages"));
  std::vector<std::string> queues;
  if (queue || state == JobState::dead) {
    queues.push_back(queue.value_or(""));
  } else {
    auto counting = store->jobs->stats(soon());
    const Result<std::vector<QueueStats>> all = co_await counting;
    if (!all) co_return fail(all.error().clone());
    for (const QueueStats& one : *all) {
      if (queues.size() < kMaxQueuesListed) queues.push_back(one.queue);
    }
  }
  std::vector<JobRecord> jobs;
  for (const std::string& name : queues) {
    if (jobs.size() == limit) break;
    auto listing = store->jobs->list(name, state, after_id.value_or(0), limit - jobs.size(), soon());
    Result<std::vector<JobRecord>> some = co_await listing;
    if (!some) co_return fail(some.error().clone());
    for (JobRecord& job : *some) jobs.push_back(std::move(job));
  }
  std::string text;
  JsonWriter json(text);
  json.begin_object().key("jobs").begin_array();
  for (const JobRecord& job : jobs) write_job(json, job, false);
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(text));
}

Result<int64_t> id_of(Request& request, RequestContext& context) {
  TRY(const std::optional<int64_t> id, number_parameter(request, context, "id", 1, INT64_MAX));
  if (!id) return fail(refused(Code::invalid_argument, "id is missing"));
  return *id;
}

Error no_such_job(int64_t id) {
  return refused(Code::not_found, "there is no job " + std::to_string(id) +
                                      "; jobs that are done stay for an hour, dead ones for 30 days");
}

Task<Result<Response>> show(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"store", "id"}));
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  CO_TRY(const int64_t id, id_of(request, context));
  auto finding = store->jobs->find(id, soon());
  const Result<std::optional<JobRecord>> job = co_await finding;
  if (!job) co_return fail(job.error().clone());
  if (!*job) co_return fail(no_such_job(id));
  std::string text;
  JsonWriter json(text);
  write_job(json, **job, true);
  co_return json_answer(context, 200, std::move(text));
}

Task<Result<Response>> redrive(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"store", "queue", "id"}));
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  CO_TRY(std::optional<std::string> queue, text_parameter(request, context, "queue"));
  CO_TRY(const std::optional<int64_t> id, number_parameter(request, context, "id", 1, INT64_MAX));
  if (queue.has_value() == id.has_value())
    co_return fail(refused(Code::invalid_argument, "say which: either id, or queue for all its dead jobs"));
  if (id) {
    auto finding = store->jobs->find(*id, soon());
    const Result<std::optional<JobRecord>> job = co_await finding;
    if (!job) co_return fail(job.error().clone());
    if (!*job) co_return fail(no_such_job(*id));
    if ((*job)->state != JobState::dead) {
      co_return fail(
          refused(Code::failed_precondition,
                  "job " + std::to_string(*id) + " is " + std::string(queue::to_string((*job)->state)) + ", not dead"));
    }
    queue = (*job)->queue;
  }
  auto redriving = store->jobs->redrive(*queue, id, queue::kMaxBatch, soon());
  const Result<size_t> redriven = co_await redriving;
  if (!redriven) co_return fail(redriven.error().clone());
  std::string text;
  JsonWriter(text).begin_object().member("redriven", *redriven).end_object();
  co_return json_answer(context, 200, std::move(text));
}

Task<Result<Response>> cancel(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"store", "id"}));
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  CO_TRY(const int64_t id, id_of(request, context));
  auto cancelling = store->jobs->cancel(id, soon());
  const Result<void> cancelled = co_await cancelling;
  if (!cancelled) co_return fail(cancelled.error().clone());
  std::string text;
  JsonWriter(text).begin_object().member("cancelled", id).end_object();
  co_return json_answer(context, 200, std::move(text));
}

Result<queue::NewJob> job_of(Request& request, RequestContext& context) {
  queue::NewJob job;
  TRY(std::optional<std::string> queue, text_parameter(request, context, "queue"));
  TRY(std::optional<std::string> kind, text_parameter(request, context, "kind"));
  if (!queue || !kind) return fail(refused(Code::invalid_argument, "queue and kind are needed"));
  job.queue = *std::move(queue);
  job.kind = *std::move(kind);
  TRY(const std::optional<int64_t> priority, number_parameter(request, context, "priority", 0, queue::kMaxPriority));
  if (priority) job.priority = static_cast<int>(*priority);
  TRY(const std::optional<int64_t> attempts,
      number_parameter(request, context, "max_attempts", 1, queue::kMaxAttempts));
  if (attempts) job.max_attempts = static_cast<int>(*attempts);
  TRY(const std::optional<std::string> delay, text_parameter(request, context, "delay"));
  if (delay) {
    const Result<Duration> span = config::parse_duration(*delay);
    if (!span) return fail(refused(Code::invalid_argument, "delay must be a span of time such as 5m"));
    job.not_before = context.loop.wall() + *span;
  }
  TRY(std::optional<std::string> key, text_parameter(request, context, "dedupe_key"));
  if (key) job.dedupe_key = *std::move(key);
  return job;
}

Task<Result<Response>> enqueue(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(
      no_other_parameters(request, {"store", "queue", "kind", "priority", "max_attempts", "delay", "dedupe_key"}));
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  CO_TRY(queue::NewJob job, job_of(request, context));
  auto reading = http::read_all(request.body.get(), queue::kMaxPayload, soon());
  Result<std::string> payload = co_await reading;
  if (!payload) co_return fail(payload.error().clone());
  job.payload = *std::move(payload);
  std::vector<queue::NewJob> jobs;
  jobs.push_back(std::move(job));
  auto enqueueing = store->jobs->enqueue(std::move(jobs), soon());
  const Result<std::vector<queue::Enqueued>> enqueued = co_await enqueueing;
  if (!enqueued) co_return fail(enqueued.error().clone());
  const queue::Enqueued one = enqueued->front();
  std::string text;
  JsonWriter(text).begin_object().member("id", one.id).member("duplicate", one.duplicate).end_object();
  co_return json_answer(context, one.duplicate ? 200 : 201, std::move(text));
}

Task<Result<Response>> schedules(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"store"}));
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  auto listing = store->schedules->list(soon());
  const Result<std::vector<queue::Schedule>> all = co_await listing;
  if (!all) co_return fail(all.error().clone());
  std::string text;
  JsonWriter json(text);
  json.begin_object().key("schedules").begin_array();
  for (const queue::Schedule& one : *all) {
    json.begin_object()
        .member("name", one.name)
        .member("cron", one.cron)
        .member("missed", one.missed == queue::Missed::skip ? "skip" : "run_once")
        .member("queue", one.queue)
        .member("kind", one.kind);
    if (const Result<queue::Cron> cron = queue::Cron::parse(one.cron))
      json.member("next_at", time_text(cron->next_after(context.loop.wall())));
    json.end_object();
  }
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(text));
}

Task<Result<Response>> unschedule(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"store", "name"}));
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  CO_TRY(const std::optional<std::string> name, text_parameter(request, context, "name"));
  if (!name) co_return fail(refused(Code::invalid_argument, "name is missing"));
  auto removing = store->schedules->remove(*name, soon());
  const Result<bool> removed = co_await removing;
  if (!removed) co_return fail(removed.error().clone());
  if (!*removed) co_return fail(refused(Code::not_found, "there is no schedule " + *name));
  std::string text;
  JsonWriter(text).begin_object().member("removed", *name).end_object();
  co_return json_answer(context, 200, std::move(text));
}

constexpr std::array<ControlEndpoint, 8> kEndpoints = {{{"/v1/jobs", Method::get, &stats},
                                                        {"/v1/jobs/list", Method::get, &list},
                                                        {"/v1/jobs/show", Method::get, &show},
                                                        {"/v1/jobs/redrive", Method::post, &redrive},
                                                        {"/v1/jobs/cancel", Method::post, &cancel},
                                                        {"/v1/jobs/enqueue", Method::post, &enqueue},
                                                        {"/v1/jobs/schedules", Method::get, &schedules},
                                                        {"/v1/jobs/schedules/remove", Method::post, &unschedule}}};

}  // namespace

std::span<const ControlEndpoint> job_endpoints() noexcept { return kEndpoints; }

}  // namespace trellis::app
