// A links service over a store in a temporary folder, with requests that are made and answered in the test's own
// thread.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "cache/memory_cache.h"
#include "http/routes.h"
#include "queue/event_log.h"
#include "queue/jobs_sqlite.h"
#include "queue/schedule_runner.h"
#include "queue/service_jobs.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "services/links/links.h"
#include "store/sqlite.h"
#include "tests/fakes/run_task.h"

namespace trellis::services::links {

struct Answer {
  int status = 0;
  std::multimap<std::string, std::string> fields;
  std::string body;

  std::string field(const std::string& name) const {
    const auto found = fields.find(name);
    return found == fields.end() ? "" : found->second;
  }
  nlohmann::json json() const { return nlohmann::json::parse(body, nullptr, false); }
};

using Headers = std::vector<std::pair<std::string, std::string>>;

inline Answer send(http::Routes& routes, Loop& loop, std::string_view method, std::string_view target,
                   std::string body = {}, Headers headers = {}, std::string_view client_address = {}) {
  Arena arena;
  http::Request request(arena);
  request.method_text = method;
  request.method = http::method_from(method);
  request.target = target;
  request.path = target.substr(0, target.find('?'));
  if (request.path.size() < target.size()) request.query = target.substr(request.path.size() + 1);
  if (!body.empty()) {
    bool typed = false;
    for (const auto& [name, value] : headers) typed = typed || name == "Content-Type";
    if (!typed) request.fields.add("Content-Type", "application/json");
    request.body = std::make_unique<http::TextBody>(std::move(body));
  }
  for (const auto& [name, value] : headers) {
    request.fields.add_copy(name, value);
    if (name == "Host") request.authority = arena.copy(value);
  }
  http::RequestContext context{.arena = arena, .loop = loop, .started = loop.now()};
  context.request_id = "test-request";
  context.client_address = client_address;
  auto task = routes.handle(request, context);
  Result<http::Response> response = fakes::run_task(loop, std::move(task));
  Answer answer;
  if (!response) {
    ADD_FAILURE() << response.error().to_string();
    return answer;
  }
  answer.status = response->status;
  for (const http::Field& field : response->fields) answer.fields.emplace(field.name, field.value);
  if (response->body.kind() == http::Body::Kind::stream) {
    const std::unique_ptr<http::BodyReader> stream = response->body.take_stream();
    auto reading = http::read_all(stream.get(), uint64_t{1} << 30, kNever);
    Result<std::string> text = fakes::run_task(loop, std::move(reading));
    EXPECT_TRUE(text) << text.error().to_string();
    if (text) answer.body = *std::move(text);
  } else {
    answer.body = response->body.bytes().view();
  }
  return answer;
}

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() : pool_(2) {
    LoopOptions options;
    options.seed = 1;
    options.pool = &pool_;
    loop_ = *Loop::make(options);
    std::string pattern = testing::TempDir() + "linksXXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~ServiceTest() override {
    stop();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  void open_store() {
    store_options_.path = folder_ + "/links.db";
    auto opened = store::SqliteStore::open(store_options_, metrics_);
    ASSERT_TRUE(opened) << opened.error().to_string();
    store_ = *std::move(opened);
  }
  // Before start().
  void open_log() {
    queue::EventLogOptions options;
    options.folder = folder_ + "/events";
    auto opened = queue::EventLog::open(options, metrics_);
    ASSERT_TRUE(opened) << opened.error().to_string();
    log_ = *std::move(opened);
  }
  void start(size_t cores = 1) {
    if (!store_) open_store();
    cache_ =
        std::make_unique<cache::MemoryCache>(cache::MemoryCacheOptions{.name = "hot", .capacity = 4 << 20}, metrics_);
    config_.base_url = "https://go.example.com/";
    service_ = std::make_unique<LinksService>(config_, *store_, *cache_, log_.get());
    queue_ = *queue::SqliteJobQueue::open(*store_, metrics_);
    schedules_ = std::make_unique<queue::ScheduleRunner>(*store_, *queue_);
    jobs_ = std::make_unique<queue::ServiceJobs>(*queue_, *schedules_, "node");
    Env env{*loop_, cores, metrics_, system_clock(), jobs_.get()};
    auto task = service_->start(env);
    const Result<void> started = fakes::run_task(*loop_, std::move(task));
    ASSERT_TRUE(started) << started.error().to_string();
    routes_ = std::make_unique<http::Routes>();
    service_->mount(*routes_);
  }
  void stop() {
    if (!service_) return;
    (void)fakes::run_task(*loop_, jobs_->stop(kNever));
    auto task = service_->stop(kNever);
    const Result<void> stopped = fakes::run_task(*loop_, std::move(task));
    EXPECT_TRUE(stopped) << stopped.error().to_string();
    routes_.reset();
    service_.reset();
    jobs_.reset();
    schedules_.reset();
    queue_.reset();
    cache_.reset();
  }
  void restart() {
    stop();
    store_.reset();
    start();
  }

  // The service's jobs are done from now on, as in a node that has started.
  void begin_jobs() {
    ASSERT_TRUE(fakes::run_task(*loop_, jobs_->put_schedules(kNever)));
    jobs_->work({queue::WorkerPlan()}, std::chrono::seconds(10));
  }
  int64_t enqueue(const std::string& queue, const std::string& kind, std::string payload = {}) {
    queue::NewJob job;
    job.queue = queue;
    job.kind = kind;
    job.payload = std::move(payload);
    std::vector<queue::NewJob> jobs;
    jobs.push_back(std::move(job));
    auto task = queue_->enqueue(std::move(jobs), kNever);
    const auto enqueued = fakes::run_task(*loop_, std::move(task));
    EXPECT_TRUE(enqueued) << enqueued.error().to_string();
    return enqueued ? enqueued->front().id : 0;
  }
  // Turns the loop until no job of the queue waits or is at work; a retried one waits.
  queue::QueueStats jobs_settled(const std::string& queue) {
    queue::QueueStats found;
    for (int turn = 0; turn < 10'000; ++turn) {
      const auto all = fakes::run_task(*loop_, queue_->stats(kNever));
      EXPECT_TRUE(all) << all.error().to_string();
      for (const queue::QueueStats& one : *all) {
        if (one.queue == queue) found = one;
      }
      if (found.ready + found.leased == 0) break;
      loop_->run_once(std::chrono::milliseconds(10));
    }
    return found;
  }

  Answer request(std::string_view method, std::string_view target, std::string body = {}, Headers headers = {}) {
    return send(*routes_, *loop_, method, target, std::move(body), std::move(headers), client_address_);
  }
  Answer create(const std::string& url, nlohmann::json more = nlohmann::json::object(), Headers headers = {}) {
    more["url"] = url;
    return request("POST", "/v1/links", more.dump(), std::move(headers));
  }
  std::string code_of(const std::string& url) { return create(url).json()["code"]; }
  int64_t clicks_of(const std::string& code) { return request("GET", "/v1/links/" + code).json()["clicks"]; }

  LinksConfig config_;  // of the next start
  std::string client_address_;
  Metrics metrics_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_;  // ends before the loop: its work comes back to it
  std::string folder_;
  store::SqliteOptions store_options_;
  std::unique_ptr<store::SqliteStore> store_;
  std::unique_ptr<cache::MemoryCache> cache_;
  std::unique_ptr<queue::SqliteJobQueue> queue_;
  std::unique_ptr<queue::ScheduleRunner> schedules_;
  std::unique_ptr<queue::ServiceJobs> jobs_;
  std::unique_ptr<queue::EventLog> log_;  // open_log()
  std::unique_ptr<LinksService> service_;
  std::unique_ptr<http::Routes> routes_;
};

}  // namespace trellis::services::links
