// The disk tier of a cache: how long it takes to be warm again with a million objects, after a stop and after a kill,
// from a disk of which nothing is in memory; what it writes a second, and what a read costs when the page cache has it.
// In a folder below $TRELLIS_BENCH_DIR, or the one for temporary files.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "base/hash.h"
#include "base/metrics.h"
#include "cache/disk/disk_store.h"
#include "runtime/loop.h"

namespace trellis::cache {
namespace {

constexpr uint64_t kObjects = 1'000'000;

std::filesystem::path folder_named(const char* name) {
  const char* chosen = std::getenv("TRELLIS_BENCH_DIR");
  const std::filesystem::path parent = chosen ? std::filesystem::path(chosen) : std::filesystem::temp_directory_path();
  return parent / (std::string("trellis-bench-") + name);
}

std::unique_ptr<DiskStore> open_in(const std::filesystem::path& folder, Metrics& metrics) {
  DiskOptions options;
  options.path = folder;
  options.size = uint64_t{4} << 30;
  auto store = DiskStore::open(std::move(options), metrics);
  if (!store) std::abort();
  return *std::move(store);
}

void put(DiskStore& store, const std::string& key, const std::shared_ptr<const std::string>& body) {
  DiskObject object;
  object.key = key;
  object.hash = hash64(key);
  object.meta = "200 OK";
  object.body = {*body};
  object.owner = body;
  while (!store.put(object)) std::this_thread::yield();
}

void fill(DiskStore& store, uint64_t objects, size_t bytes) {
  const auto body = std::make_shared<const std::string>(bytes, 'x');
  for (uint64_t i = 0; i < objects; ++i) put(store, "https://example.com/object/" + std::to_string(i), body);
  store.flush();
}

// As after a restart of the machine: nothing of the folder is in the page cache.
void forget(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ::fdatasync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

// `killed`: the newest segment has no table.
void warm_start(benchmark::State& state, bool killed) {
  const auto folder = folder_named("warm");
  std::filesystem::remove_all(folder);
  Metrics metrics;
  {
    const auto store = open_in(folder, metrics);
    fill(*store, kObjects, 400);
    if (killed) std::filesystem::copy(folder, folder.string() + "-killed");
  }
  const std::filesystem::path used = killed ? folder.string() + "-killed" : folder.string();
  double bytes = 0;
  for (auto _ : state) {
    state.PauseTiming();
    forget(used);
    state.ResumeTiming();
    auto store = open_in(used, metrics);
    state.PauseTiming();
    if (store->figures().objects != kObjects) state.SkipWithError("not all objects are there");
    bytes = static_cast<double>(store->figures().index_bytes) / kObjects;
    store.reset();
    if (killed) {  // as it was found
      std::filesystem::remove_all(used);
      std::filesystem::copy(folder, used);
    }
    state.ResumeTiming();
  }
  state.counters["index_bytes_an_object"] = bytes;
  std::filesystem::remove_all(folder);
  std::filesystem::remove_all(used);
}
void warm_after_stop(benchmark::State& state) { warm_start(state, false); }
BENCHMARK(warm_after_stop)->Unit(benchmark::kMillisecond)->Iterations(5);
void warm_after_kill(benchmark::State& state) { warm_start(state, true); }
BENCHMARK(warm_after_kill)->Unit(benchmark::kMillisecond)->Iterations(1);

void write_objects(benchmark::State& state) {
  const auto folder = folder_named("write");
  std::filesystem::remove_all(folder);
  Metrics metrics;
  const auto size = static_cast<size_t>(state.range(0));
  const uint64_t objects = std::max<uint64_t>(100, (uint64_t{512} << 20) / std::max<size_t>(size, 4096));
  for (auto _ : state) {
    const auto store = open_in(folder, metrics);
    fill(*store, objects, size);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * objects));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * objects * size));
  std::filesystem::remove_all(folder);
}
BENCHMARK(write_objects)->Arg(400)->Arg(65'536)->Arg(1 << 20)->Unit(benchmark::kMillisecond)->Iterations(1);

Task<> read_one(DiskStore& store, std::string key, size_t& got, bool& done) {
  const uint64_t hash = hash64(key);
  auto finding = store.find(std::move(key), hash);
  auto found = co_await finding;
  if (found && *found) {
    while (true) {
      auto reading = (*found)->read();
      auto bytes = co_await reading;
      if (!bytes || bytes->empty()) break;
      got += bytes->size();
    }
  }
  done = true;
}

// `sealed`: the segment is not written any more, and so read by the page cache.
void read_objects(benchmark::State& state, bool sealed) {
  const auto folder = folder_named("read");
  std::filesystem::remove_all(folder);
  Metrics metrics;
  const auto size = static_cast<size_t>(state.range(0));
  auto store = open_in(folder, metrics);
  fill(*store, 200, size);
  if (sealed) {
    store.reset();
    store = open_in(folder, metrics);
  }
  const auto loop = *Loop::make({});
  size_t got = 0;
  uint64_t next = 0;
  for (auto _ : state) {
    bool done = false;
    auto task = read_one(*store, "https://example.com/object/" + std::to_string(next++ % 200), got, done);
    task.start();
    while (!done) loop->run_once(std::chrono::seconds(1));
  }
  if (got != state.iterations() * size) state.SkipWithError("not all bytes came");
  state.SetBytesProcessed(static_cast<int64_t>(got));
  std::filesystem::remove_all(folder);
}
void read_sealed(benchmark::State& state) { read_objects(state, true); }
BENCHMARK(read_sealed)->Arg(1024)->Arg(65'536)->Arg(1 << 20)->UseRealTime();
void read_newest(benchmark::State& state) { read_objects(state, false); }
BENCHMARK(read_newest)->Arg(1024)->Arg(65'536)->UseRealTime();

}  // namespace
}  // namespace trellis::cache

BENCHMARK_MAIN();
