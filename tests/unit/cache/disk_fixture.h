// A store on a disk in memory that fails on command, for tests of the disk tier.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/hash.h"
#include "base/metrics.h"
#include "cache/disk/disk_store.h"
#include "runtime/loop.h"
#include "tests/fakes/faulty_disk.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::cache {

// Bytes that differ from object to object and from place to place.
inline std::string body_of(std::string_view key, size_t size) {
  std::string body(size, '\0');
  uint64_t state = hash64(key);
  for (size_t i = 0; i < size; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    body[i] = static_cast<char>(state >> 56);
  }
  return body;
}

inline DiskObject object_of(std::string key, std::string body, std::string meta) {
  auto owner = std::make_shared<const std::string>(std::move(body));
  DiskObject object;
  object.hash = hash64(key);
  object.key = std::move(key);
  object.meta = std::move(meta);
  object.body = {*owner};
  object.owner = std::move(owner);
  return object;
}

// Read to the end; nullopt: there is none, or not all of it.
struct Got {
  std::string meta;
  std::string body;
};
inline Task<std::optional<Got>> get_all(DiskStore& store, std::string key, uint64_t hash) {
  auto finding = store.find(std::move(key), hash);
  auto found = co_await finding;
  if (!found || !*found) co_return std::nullopt;
  DiskReader& reader = **found;
  Got got{reader.meta(), ""};
  while (true) {
    auto reading = reader.read();
    auto bytes = co_await reading;
    if (!bytes) co_return std::nullopt;
    if (bytes->empty()) break;
    got.body += bytes->view();
  }
  if (got.body.size() != reader.body_size()) co_return std::nullopt;
  co_return got;
}

class DiskStoreTest : public testing::Test {
 protected:
  static constexpr uint64_t kSegment = kMinDiskSegment;

  DiskStoreTest() { options_.name = "edge"; }
  void SetUp() override {
    options_.path = "/cache";
    options_.size = 8 * kSegment;
    options_.segment_bytes = kSegment;
    options_.disk = &disk_;
    options_.clock = &clock_;
    loop_ = *Loop::make({});
  }

  Result<void> try_open() {
    store_.reset();
    auto store = DiskStore::open(options_, metrics_);
    if (!store) return fail(std::move(store).error());
    store_ = *std::move(store);
    return {};
  }
  void open() {
    const auto opened = try_open();
    ASSERT_TRUE(opened) << opened.error().to_string();
  }
  bool put(const std::string& key, std::string body, std::string meta = "") {
    return store_->put(object_of(key, std::move(body), meta.empty() ? "meta of " + key : std::move(meta)));
  }
  // Objects of a tenth of a segment, each flushed, until `what` is so.
  template <class F>
  void put_until(const std::string& name, F what) {
    for (int i = 0; i < 1000 && !what(); ++i) {
      const std::string key = name + std::to_string(i);
      put(key, body_of(key, kSegment / 10));
      store_->flush();
    }
    ASSERT_TRUE(what());
  }
  std::optional<Got> get(const std::string& key) { return run_task(*loop_, get_all(*store_, key, hash64(key))); }
  std::string body(const std::string& key) {
    auto got = get(key);
    return got ? std::move(got->body) : "none";
  }
  template <class T>
  static T run_task(Loop& loop, Task<T> task) {
    return fakes::run_task(loop, std::move(task));
  }
  bool step(DiskStore::Walk& steps, size_t most, const DiskStore::Dead& dead) {
    const Result<bool> more = run_task(*loop_, store_->walk_on(steps, most, dead));
    return more && *more;
  }
  // How many a walk through all removes.
  uint64_t walk(const DiskStore::Dead& dead) {
    DiskStore::Walk steps;
    while (step(steps, 7, dead)) {
    }
    return steps.removed;
  }
  bool sync() { return run_task(*loop_, store_->sync()).has_value(); }
  // Another thread brings it about.
  template <class F>
  void wait_until(F what) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!what() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    ASSERT_TRUE(what());
  }
  DiskFigures figures() { return store_->figures(); }

  FaultyDisk disk_;
  fakes::ManualClock clock_;
  Metrics metrics_;
  DiskOptions options_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<DiskStore> store_;
};

}  // namespace trellis::cache
