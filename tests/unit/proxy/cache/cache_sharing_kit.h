// A route with a cache before an origin that tests steer: what it answers, when, and piece by piece.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cache/edge/edge_cache.h"
#include "http/field_text.h"
#include "proxy/filters/cache.h"
#include "runtime/sync.h"
#include "tests/fakes/faulty_disk.h"
#include "tests/unit/proxy/filter_parts_kit.h"

namespace trellis::proxy::test {

// A body whose bytes come when the test says so.
struct Tap {
  std::deque<std::string> pieces;
  bool ended = false;
  bool breaks = false;  // instead of ending
  Event more;

  void give(std::string piece) {
    pieces.push_back(std::move(piece));
    more.set();
  }
  void end() {
    ended = true;
    more.set();
  }
  void cut() {
    breaks = true;
    end();
  }
};

class TappedBody final : public http::BodyReader {
 public:
  TappedBody(std::shared_ptr<Tap> tap, std::optional<uint64_t> length) : tap_(std::move(tap)), length_(length) {}
  Task<Result<Chunk>> read(Deadline deadline) override {
    while (tap_->pieces.empty() && !tap_->ended) {
      tap_->more.reset();
      const bool came = co_await tap_->more.wait(deadline);
      if (!came) co_return fail(Error(Code::deadline_exceeded, "the tap").from(Side::upstream));
    }
    if (tap_->pieces.empty()) {
      if (tap_->breaks) co_return fail(Error(Code::unavailable, "the origin went away").from(Side::upstream));
      co_return Chunk();
    }
    std::string piece = std::move(tap_->pieces.front());
    tap_->pieces.pop_front();
    co_return Chunk::from_string(std::move(piece));
  }
  std::optional<uint64_t> length() const noexcept override { return length_; }

 private:
  std::shared_ptr<Tap> tap_;
  std::optional<uint64_t> length_;
};

class SteeredOrigin final : public http::Handler {
 public:
  std::function<void(const http::Request&, http::Response&)> answer = [](const http::Request&, http::Response&) {};
  Event open;  // answers wait for it
  bool fails = false;
  int calls = 0;
  std::vector<std::string> targets;  // path?query of each request

  SteeredOrigin() { open.set(); }
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    ++calls;
    targets.push_back(std::string(request.path) + (request.query.empty() ? "" : "?") + std::string(request.query));
    http::Response response(context.arena, 200);
    answer(request, response);
    const bool came = co_await open.wait(context.deadline);
    if (!came) co_return fail(Error(Code::deadline_exceeded, "the origin is slow").from(Side::upstream));
    if (fails) co_return fail(Error(Code::unavailable, "the origin is down").from(Side::upstream));
    co_return response;
  }
};

inline std::string value_of(const http::Fields& fields, std::string_view name) {
  for (const http::Field& field : fields) {
    if (http::iequal(field.name, name)) return std::string(field.value);
  }
  return "";
}

class CacheSharingTest : public testing::Test {
 protected:
  // One request on its way.
  struct Ask {
    Exchange exchange;
    Task<Result<http::Response>> task;
    std::optional<Result<http::Response>> response;

    Ask(Rig& rig, std::string_view method, std::string_view target) : exchange(rig, method, target) {}
    bool done() const { return response.has_value() || task.done(); }
    Result<http::Response>& result() {
      if (!response) response.emplace(task.take());
      return *response;
    }
    int status() { return result() ? result()->status : 0; }
    std::string field(std::string_view name) { return value_of(result()->fields, name); }
  };
  using Fields = std::vector<std::pair<std::string, std::string>>;

  CacheSharingTest() { make({.capacity = 1 << 20}); }
  ~CacheSharingTest() override {
    kit_.background.cancel_all();
    settle();
  }

  // Another cache behind the filter.
  void make(cache::MemoryCacheOptions memory, uint64_t max_object = 64 << 10, bool disk = false) {
    chain_.reset();
    cache_.reset();
    memory_.reset();
    memory_ = std::make_unique<cache::MemoryCache>(std::move(memory), metrics_);
    std::unique_ptr<cache::DiskStore> store;
    if (disk) {
      cache::DiskOptions options;
      options.name = "edge";
      options.path = "/cache";
      options.size = 8 * cache::kMinDiskSegment;
      options.segment_bytes = cache::kMinDiskSegment;
      options.disk = &disk_;
      options.clock = &rig_.clock;
      auto opened = cache::DiskStore::open(options, metrics_);
      TRELLIS_ASSERT(opened.has_value());
      store = *std::move(opened);
    }
    auto book = cache::PurgeBook::open({});
    TRELLIS_ASSERT(book.has_value());
    cache_ = std::make_shared<cache::EdgeCache>(*memory_, std::move(store), *std::move(book),
                                                cache::EdgeCacheOptions{.max_object = max_object, .on_the_way = 0});
    use(config_);
  }
  void use(CacheFilterConfig config) {
    config_ = std::move(config);
    kit_.parts.node = "edge-1";
    kit_.parts.edge_cache = [this](const std::string&) -> Result<std::shared_ptr<cache::EdgeCache>> { return cache_; };
    auto filter = CacheFilter::make(config_, kit_.parts);
    TRELLIS_ASSERT(filter.has_value());
    std::vector<std::unique_ptr<Filter>> filters;
    filters.push_back(*std::move(filter));
    chain_ = std::make_unique<Chain>(std::move(filters), origin_);
  }
  // Restarts with what the disk has.
  void restart(cache::MemoryCacheOptions memory) {
    cache_->disk()->flush();
    make(std::move(memory), 64 << 10, true);
  }

  std::unique_ptr<Ask> begin(std::string_view target, const Fields& fields = {}, std::string_view method = "GET") {
    auto ask = std::make_unique<Ask>(rig_, method, target);
    for (const auto& [name, value] : fields) ask->exchange.with(name, value);
    ask->task = chain_->run(ask->exchange.request, ask->exchange.context);
    ask->task.start();
    settle();
    return ask;
  }
  // Reading from a disk goes on on other threads.
  std::unique_ptr<Ask> get(std::string_view target, const Fields& fields = {}, std::string_view method = "GET") {
    auto ask = begin(target, fields, method);
    finish(*ask);
    return ask;
  }
  void finish(Ask& ask) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!ask.done() && std::chrono::steady_clock::now() < until) rig_.loop->run_once(Duration::zero());
    TRELLIS_ASSERT(ask.done());
  }
  void settle() {
    for (int i = 0; i < 20; ++i) rig_.loop->run_once(Duration::zero());
  }
  std::string text(Ask& ask) {
    finish(ask);
    return ask.result() ? body_text(rig_, *ask.result()) : "error: " + ask.result().error().to_string();
  }
  std::string word(Ask& ask) {
    finish(ask);
    return ask.field("X-Cache-Status");
  }

  void fresh(std::string body, std::string extra_name = "", std::string extra = "") {
    origin_.answer = [=](const http::Request&, http::Response& response) {
      response.fields.add_copy("Cache-Control", "max-age=60");
      if (!extra_name.empty()) response.fields.add_copy(extra_name, extra);
      response.body = http::Body(body);
    };
  }

  FaultyDisk disk_;
  Rig rig_;
  Metrics metrics_;
  SteeredOrigin origin_;
  std::unique_ptr<cache::MemoryCache> memory_;
  std::shared_ptr<cache::EdgeCache> cache_;
  CacheFilterConfig config_{.in = "edge"};
  PartsKit kit_;
  std::unique_ptr<Chain> chain_;
};

}  // namespace trellis::proxy::test
