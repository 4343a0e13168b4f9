#include "queue/event_log.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <coroutine>
#include <deque>
#include <functional>
#include <future>
#include <latch>
#include <map>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <thread>
#include <utility>

#include "base/hash.h"
#include "base/log.h"
#include "base/metrics.h"
#include "queue/event_log_groups.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"

namespace trellis::queue {
namespace {

constexpr size_t kMaxName = 64;
constexpr uint32_t kMaxPartitions = 1024;
constexpr size_t kMaxEvents = 100'000;  // in one append

Error refused(Code code, std::string what) { return Error(code, std::move(what)).from(Side::self); }

bool good_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > kMaxName || name.front() == '.' || name.front() == '-') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
}

struct Topic {
  std::string name;
  bool compact = false;
  std::vector<std::unique_ptr<Partition>> partitions;
  std::atomic<uint32_t> turn{0};  // of events without a key
  Counter* appended = nullptr;
  Counter* read = nullptr;
  Counter* refused = nullptr;
  std::vector<std::shared_ptr<void>> computed;  // last: what they read lives longer

  uint32_t partition_of(const Event& event) noexcept {
    const auto count = static_cast<uint32_t>(partitions.size());
    if (event.key.empty()) return turn.fetch_add(1, std::memory_order_relaxed) % count;
    return static_cast<uint32_t>(hash64(event.key) % count);
  }
};

using Appended = Result<std::vector<EventPosition>>;

// On its way through the writer. Shared between the waiter, who may go first, and the writer.
struct Operation {
  Topic* topic = nullptr;
  std::vector<Event> events;
  std::optional<uint64_t> head;               // the only place where they may stand
  std::optional<GroupOffsets::Entry> commit;  // instead of events
  Deadline deadline = kNever;
  Time queued;
  size_t bytes = 0;
  Loop* home = nullptr;  // nullptr: a thread waits for `answered`
  std::promise<void> answered;
  Appended result;
  std::coroutine_handle<> waiter;  // touched on the home loop only
  bool done = false;               // likewise

  void finish() {
    if (home == nullptr) {
      answered.set_value();
      return;
    }
    done = true;
    if (waiter) std::exchange(waiter, nullptr).resume();
  }
};
using OperationRef = std::shared_ptr<Operation>;

class OperationAwaiter {
 public:
  explicit OperationAwaiter(Operation& operation) noexcept : operation_(operation) {}
  OperationAwaiter(const OperationAwaiter&) = delete;
  OperationAwaiter& operator=(const OperationAwaiter&) = delete;
  ~OperationAwaiter() { operation_.waiter = nullptr; }
  bool await_ready() const noexcept { return operation_.done; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { operation_.waiter = waiter; }
  void await_resume() const noexcept {}

 private:
  Operation& operation_;
};

// A partition, or the groups' offsets, in one batch.
struct Participant {
  std::function<Result<void>()> commit;
  std::optional<Error> error;
};

}  // namespace

struct EventLog::Impl {
  Impl(EventLogOptions opts, Metrics& registry)
      : options(std::move(opts)),
        metrics(registry),
        disk(options.disk ? *options.disk : system_disk()),
        batch_seconds(metrics.histogram("trellis_queue_batch_seconds",
                                        "Time to write and sync what was appended together.", {{"log", options.name}})),
        batch_count(metrics.counter("trellis_queue_batches_total",
                                    "Appends and commits made durable together, one sync a file.",
                                    {{"log", options.name}})) {}

  Result<std::shared_ptr<Topic>> find(std::string_view topic) const;
  Result<Partition*> find(std::string_view topic, uint32_t partition) const;
  Result<OperationRef> make_append(std::string topic, std::vector<Event> events) const;
  Result<OperationRef> make_commit(std::string group, std::string topic, uint32_t partition, uint64_t next) const;
  Result<void> enqueue(const OperationRef& operation);
  Result<EventSlice> read(std::string_view topic, uint32_t partition, uint64_t from, size_t max, size_t max_bytes);

  void write_until_closed();
  std::vector<OperationRef> gather(std::unique_lock<std::mutex>& lock);
  void run_batch(std::vector<OperationRef>& batch);
  void commit(const std::vector<Participant*>& parts);
  void answer(std::vector<OperationRef>& batch);
  Error write_error(const Error& cause) const;

  void keep_until_closed();
  void keep_house();
  std::vector<GroupLag> lags() const;
  void note_groups();

  const EventLogOptions options;
  Metrics& metrics;
  Disk& disk;
  std::shared_ptr<void> lock_file;
  Histogram& batch_seconds;
  Counter& batch_count;
  std::atomic<uint64_t> batches{0};

  // Topics are only ever added.
  mutable std::shared_mutex topics_mutex;
  std::map<std::string, std::shared_ptr<Topic>, std::less<>> topics;
  std::unique_ptr<GroupOffsets> groups;

  // WHY a lock: every core hands operations to the one thread that may block.
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable wake_keeper;
  std::deque<OperationRef> queue;
  size_t queue_bytes = 0;
  size_t wake_at = 1;  // operations that the writer waits for
  bool closing = false;
  bool full = false;  // the disk was, in the last batch: the keeper looks at once for what may go
  std::thread writer;
  std::thread keeper;

  // The writer's own.
  size_t last_batch = 0;
  Duration last_batch_time{0};
  std::optional<BlockingPool> helpers;  // made with the first batch that has several files

  std::mutex keeping;  // keep_house() is also called by hand
  struct GroupMetrics {
    std::atomic<int64_t> oldest_ms{0};  // of the oldest event not committed; 0: none
    std::vector<std::shared_ptr<void>> computed;
  };
  std::map<std::pair<std::string, std::string>, GroupMetrics> group_metrics;  // last: what they read lives longer
};

// --- Opening and closing ---

Result<std::unique_ptr<EventLog>> EventLog::open(EventLogOptions options, Metrics& metrics) {
  auto impl = std::make_shared<Impl>(std::move(options), metrics);
  TRY_VOID(impl->disk.make_folder(impl->options.folder));
  TRY(impl->lock_file, impl->disk.lock(impl->options.folder + "/.lock"));
  TRY(impl->groups, GroupOffsets::open(impl->disk, impl->options.folder + "/.groups"));
  TRY_VOID(impl->disk.sync_folder(impl->options.folder));
  impl->writer = std::thread([raw = impl.get()] {
    pthread_setname_np(pthread_self(), "log-writer");
    raw->write_until_closed();
  });
  impl->keeper = std::thread([raw = impl.get()] {
    pthread_setname_np(pthread_self(), "log-keeper");
    raw->keep_until_closed();
  });
  return std::unique_ptr<EventLog>(new EventLog(std::move(impl)));
}

EventLog::EventLog(std::shared_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

EventLog::~EventLog() { close(); }

void EventLog::close() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->closing = true;
  }
  impl_->wake.notify_all();
  impl_->wake_keeper.notify_all();
  if (impl_->writer.joinable()) impl_->writer.join();
  if (impl_->keeper.joinable()) impl_->keeper.join();
  impl_->group_metrics.clear();
  std::vector<std::shared_ptr<void>> computed;  // ended without the lock, which a scrape under way may wait for
  {
    const std::shared_lock lock(impl_->topics_mutex);
    for (const auto& [name, topic] : impl_->topics) {
      for (std::shared_ptr<void>& token : topic->computed) computed.push_back(std::move(token));
      topic->computed.clear();
    }
  }
  computed.clear();
  impl_->lock_file.reset();
}

Result<void> EventLog::open_topic(TopicOptions options) {
  Impl& impl = *impl_;
  if (!good_name(options.name)) {
    return fail(Code::invalid_argument, "\"" + options.name + "\" is no name for a topic");
  }
  if (options.partitions < 1 || options.partitions > kMaxPartitions) {
    return fail(Code::invalid_argument, fmt::format("a topic has 1 to {} partitions", kMaxPartitions));
  }
  {
    const std::shared_lock lock(impl.topics_mutex);
    if (impl.topics.contains(options.name)) return {};
  }
  const std::string folder = impl.options.folder + "/" + options.name;
  TRY_VOID(impl.disk.make_folder(folder));
  TRY(const std::vector<Disk::Entry> entries, impl.disk.list(folder));
  uint32_t existing = 0;
  for (const Disk::Entry& entry : entries) {
    uint32_t number = 0;
    const char* end = entry.name.data() + entry.name.size();
    if (!entry.folder || std::from_chars(entry.name.data(), end, number).ptr != end) continue;
    existing = std::max(existing, number + 1);
  }
  if (existing > options.partitions) {
    return fail(refused(Code::failed_precondition,
                        fmt::format("topic {} has {} partitions and cannot have fewer", options.name, existing)));
  }
  auto topic = std::make_shared<Topic>();
  topic->name = options.name;
  topic->compact = options.keep.compact;
  for (uint32_t i = 0; i < options.partitions; ++i) {
    TRY(std::unique_ptr<Partition> partition,
        Partition::open(impl.disk, fmt::format("{}/{}", folder, i), options.keep));
    if (const size_t lowered = impl.groups->lower_to(topic->name, i, partition->head())) {
      log_error("groups were further than the log is long", {{"topic", topic->name}, {"groups", lowered}});
    }
    topic->partitions.push_back(std::move(partition));
  }
  TRY_VOID(impl.disk.sync_folder(folder));
  TRY_VOID(impl.disk.sync_folder(impl.options.folder));

  const auto counter = [&](const char* event) {
    return &impl.metrics.counter("trellis_queue_messages_total", "Messages of a queue by what became of them.",
                                 {{"topic", topic->name}, {"event", event}});
  };
  topic->appended = counter("appended");
  topic->read = counter("read");
  topic->refused = counter("refused");
  const auto sum = [raw = topic.get()](uint64_t (Partition::*of)() const) {
    double total = 0;
    for (const auto& partition : raw->partitions) total += static_cast<double>((*partition.*of)());
    return total;
  };
  const Labels labels{{"topic", topic->name}};
  topic->computed.push_back(impl.metrics.computed("trellis_queue_bytes", "Size of a topic's segments.", labels,
                                                  [sum] { return sum(&Partition::bytes); }));
  topic->computed.push_back(impl.metrics.computed("trellis_queue_damaged_total", "Damaged places found in segments.",
                                                  labels, [raw = topic.get()] {
                                                    double total = 0;
                                                    for (const auto& partition : raw->partitions)
                                                      total += static_cast<double>(partition->damaged());
                                                    return total;
                                                  }));
  {
    const std::unique_lock lock(impl.topics_mutex);
    impl.topics.emplace(topic->name, topic);
  }
  return {};
}

// --- Finding ---

Result<std::shared_ptr<Topic>> EventLog::Impl::find(std::string_view topic) const {
  const std::shared_lock lock(topics_mutex);
  const auto at = topics.find(topic);
  if (at == topics.end()) return fail(Code::not_found, fmt::format("no topic {} in log {}", topic, options.name));
  return at->second;
}

Result<Partition*> EventLog::Impl::find(std::string_view topic, uint32_t partition) const {
  TRY(const std::shared_ptr<Topic> found, find(topic));
  if (partition >= found->partitions.size()) {
    return fail(Code::not_found, fmt::format("no partition {} in topic {}", partition, topic));
  }
  return found->partitions[partition].get();
}

std::vector<std::string> EventLog::topics() const {
  std::vector<std::string> names;
  const std::shared_lock lock(impl_->topics_mutex);
  for (const auto& [name, topic] : impl_->topics) names.push_back(name);
  return names;
}

uint32_t EventLog::partitions(std::string_view topic) const {
  const auto found = impl_->find(topic);
  return found ? static_cast<uint32_t>((*found)->partitions.size()) : 0;
}

Result<uint64_t> EventLog::head(std::string_view topic, uint32_t partition) const {
  TRY(const Partition* found, impl_->find(topic, partition));
  return found->head();
}

Result<uint64_t> EventLog::first(std::string_view topic, uint32_t partition) const {
  TRY(const Partition* found, impl_->find(topic, partition));
  return found->first();
}

uint64_t EventLog::batches() const noexcept { return impl_->batches.load(std::memory_order_relaxed); }

// --- Appending and committing ---

Result<OperationRef> EventLog::Impl::make_append(std::string topic, std::vector<Event> events) const {
  auto operation = std::make_shared<Operation>();
  TRY(const std::shared_ptr<Topic> found, find(topic));
  operation->topic = found.get();
  if (events.size() > kMaxEvents) return fail(Code::invalid_argument, "too many events in one append");
  for (const Event& event : events) {
    if (event.key.size() > kMaxKey) return fail(Code::invalid_argument, "the key of an event is too long");
    if (event.value && event.value->size() > kMaxValue) return fail(Code::invalid_argument, "an event is too big");
    operation->bytes += kRecordHeader + event.key.size() + (event.value ? event.value->size() : 0);
  }
  if (operation->bytes > kMaxKey + kMaxValue) return fail(Code::invalid_argument, "too many bytes in one append");
  operation->events = std::move(events);
  return operation;
}

Result<OperationRef> EventLog::Impl::make_commit(std::string group, std::string topic, uint32_t partition,
                                                 uint64_t next) const {
  if (!good_name(group)) return fail(Code::invalid_argument, "\"" + group + "\" is no name for a group");
  TRY(const Partition* found, find(topic, partition));
  if (next > found->head()) return fail(Code::invalid_argument, "a group cannot be further than the log is long");
  auto operation = std::make_shared<Operation>();
  operation->bytes = kRecordHeader + group.size() + topic.size();
  operation->commit.emplace(std::move(group), std::move(topic), partition, next);
  return operation;
}

Result<void> EventLog::Impl::enqueue(const OperationRef& operation) {
  operation->queued = options.clock->now();
  bool notify = false;
  {
    const std::lock_guard lock(mutex);
    if (closing) return fail(refused(Code::unavailable, "the log " + options.name + " is closed"));
    const bool too_many = queue.size() >= options.max_queue;
    if (too_many || (!queue.empty() && queue_bytes + operation->bytes > options.max_queue_bytes)) {
      if (operation->topic) operation->topic->refused->add(operation->events.size());
      return fail(refused(Code::resource_exhausted, "too much waits for the log " + options.name));
    }
    queue.push_back(operation);
    queue_bytes += operation->bytes;
    notify = queue.size() == wake_at || queue_bytes >= options.max_batch_bytes;
  }
  if (notify) wake.notify_one();
  return {};
}

Task<Result<std::vector<EventPosition>>> EventLog::append(std::string topic, std::vector<Event> events,
                                                          Deadline deadline) {
  CO_TRY(const OperationRef operation, impl_->make_append(std::move(topic), std::move(events)));
  operation->deadline = deadline;
  operation->home = &Loop::current();
  CO_TRY_VOID(impl_->enqueue(operation));
  OperationAwaiter awaiter(*operation);
  co_await awaiter;
  co_return std::move(operation->result);
}

Task<Result<std::vector<EventPosition>>> EventLog::append_at(std::string topic, uint64_t head,
                                                             std::vector<Event> events, Deadline deadline) {
  CO_TRY(const OperationRef operation, impl_->make_append(std::move(topic), std::move(events)));
  if (operation->topic->partitions.size() != 1)
    co_return fail(Code::invalid_argument, "a topic of several partitions has no one head");
  operation->head = head;
  operation->deadline = deadline;
  operation->home = &Loop::current();
  CO_TRY_VOID(impl_->enqueue(operation));
  OperationAwaiter awaiter(*operation);
  co_await awaiter;
  co_return std::move(operation->result);
}

Task<Result<void>> EventLog::commit(std::string group, std::string topic, uint32_t partition, uint64_t next,
                                    Deadline deadline) {
  CO_TRY(const OperationRef operation, impl_->make_commit(std::move(group), std::move(topic), partition, next));
  operation->deadline = deadline;
  operation->home = &Loop::current();
  CO_TRY_VOID(impl_->enqueue(operation));
  OperationAwaiter awaiter(*operation);
  co_await awaiter;
  if (!operation->result) co_return fail(std::move(operation->result).error());
  co_return Result<void>();
}

Result<std::vector<EventPosition>> EventLog::append_now(std::string topic, std::vector<Event> events) {
  TRY(const OperationRef operation, impl_->make_append(std::move(topic), std::move(events)));
  std::future<void> answered = operation->answered.get_future();
  TRY_VOID(impl_->enqueue(operation));
  answered.get();
  return std::move(operation->result);
}

Result<void> EventLog::commit_now(std::string group, std::string topic, uint32_t partition, uint64_t next) {
  TRY(const OperationRef operation, impl_->make_commit(std::move(group), std::move(topic), partition, next));
  std::future<void> answered = operation->answered.get_future();
  TRY_VOID(impl_->enqueue(operation));
  answered.get();
  if (!operation->result) return fail(std::move(operation->result).error());
  return {};
}

// --- The writer ---

void EventLog::Impl::write_until_closed() {
  std::unique_lock lock(mutex);
  while (true) {
    wake_at = 1;
    wake.wait(lock, [this] { return closing || !queue.empty(); });
    if (queue.empty()) break;
    std::vector<OperationRef> batch = gather(lock);
    lock.unlock();
    run_batch(batch);
    lock.lock();
  }
  helpers.reset();
}

// Takes what waits. Only where the last batch showed that several clients append at once, and fewer are here now, a
// little is waited for the others: they were answered together and come back together. A single client never waits.
std::vector<OperationRef> EventLog::Impl::gather(std::unique_lock<std::mutex>& lock) {
  const size_t expected = std::min(last_batch, options.max_batch);
  if (expected >= 4 && queue.size() < expected / 2 && queue_bytes < options.max_batch_bytes && !closing) {
    wake_at = expected;
    wake.wait_for(lock, std::min(options.max_linger, last_batch_time / 2),
                  [&] { return closing || queue.size() >= expected || queue_bytes >= options.max_batch_bytes; });
  }
  std::vector<OperationRef> batch;
  size_t bytes = 0;
  while (!queue.empty() && batch.size() < options.max_batch && bytes < options.max_batch_bytes) {
    bytes += queue.front()->bytes;
    batch.push_back(std::move(queue.front()));
    queue.pop_front();
  }
  queue_bytes -= bytes;
  return batch;
}

void EventLog::Impl::run_batch(std::vector<OperationRef>& batch) {
  const Time began = options.clock->now();
  const int64_t at_ms = unix_millis(options.clock->wall());
  std::map<const void*, Participant> participants;
  // Into the batch, when it can be written at all. The same answer for all of a batch.
  const auto join = [&](auto& part) -> const Participant& {
    const auto [at, is_new] = participants.try_emplace(&part);
    if (is_new) {
      at->second.commit = [&part] { return part.commit(); };
      if (Result<void> ready = part.prepare(); !ready) at->second.error.emplace(std::move(ready).error());
    }
    return at->second;
  };

  std::vector<std::vector<const Participant*>> used(batch.size());
  for (size_t i = 0; i < batch.size(); ++i) {
    Operation& operation = *batch[i];
    if (operation.deadline <= began) {
      operation.result =
          fail(refused(Code::deadline_exceeded, "the append waited too long for the log " + options.name));
      continue;
    }
    if (operation.commit) {
      used[i].push_back(&join(*groups));
      if (!used[i].back()->error) groups->stage(*operation.commit, at_ms);
      continue;
    }
    Topic& topic = *operation.topic;
    std::vector<EventPosition> positions(operation.events.size());
    bool ready = true;
    for (size_t e = 0; e < positions.size(); ++e) {
      positions[e].partition = topic.partition_of(operation.events[e]);
      const Participant* participant = &join(*topic.partitions[positions[e].partition]);
      ready = ready && !participant->error;
      if (std::find(used[i].begin(), used[i].end(), participant) == used[i].end()) used[i].push_back(participant);
    }
    if (!ready) continue;
    if (operation.head && topic.partitions.front()->next_offset() != *operation.head) {
      operation.result = fail(refused(Code::aborted, "somebody else has appended to " + topic.name));
      continue;
    }
    for (size_t e = 0; e < positions.size(); ++e) {
      const Event& event = operation.events[e];
      positions[e].offset = topic.partitions[positions[e].partition]->stage(event.key, event.value, at_ms);
    }
    operation.result = std::move(positions);
  }

  std::vector<Participant*> ready_ones;
  for (auto& [part, participant] : participants) {
    if (!participant.error) ready_ones.push_back(&participant);
  }
  commit(ready_ones);
  bool disk_full = false;
  for (auto& [part, participant] : participants) {
    if (!participant.error) continue;
    disk_full = disk_full || participant.error->code() == Code::resource_exhausted;
    static LogThrottle throttle(std::chrono::seconds(10));
    log_every(throttle, LogLevel::error, "append to the log failed",
              {{"log", options.name}, {"error", participant.error->to_string()}});
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    Operation& operation = *batch[i];
    for (const Participant* participant : used[i]) {
      if (participant->error) operation.result = fail(write_error(*participant->error));
    }
    if (!operation.commit) {
      (operation.result ? operation.topic->appended : operation.topic->refused)->add(operation.events.size());
    }
  }
  if (disk_full) {
    const std::lock_guard lock(mutex);
    full = true;
    wake_keeper.notify_one();
  }
  last_batch = batch.size();
  last_batch_time = options.clock->now() - began;
  batch_seconds.record(last_batch_time);
  batch_count.add();
  batches.fetch_add(1, std::memory_order_relaxed);
  answer(batch);
}

// A sync waits for the disk, which takes several at once, as does a file system with a journal: one after the other
// they would cost a batch over four partitions four times as long.
void EventLog::Impl::commit(const std::vector<Participant*>& parts) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < parts.size(); i = next++) {
      if (Result<void> done = parts[i]->commit(); !done) parts[i]->error.emplace(std::move(done).error());
    }
  };
  const size_t helping = std::max<size_t>(std::min(parts.size(), options.max_syncs), 1) - 1;
  if (helping > 0 && !helpers) helpers.emplace(options.max_syncs - 1);
  std::latch ended(static_cast<ptrdiff_t>(helping));
  for (size_t i = 0; i < helping; ++i) {
    const bool posted = helpers->try_post([&] {
      work();
      ended.count_down();
    });
    if (!posted) ended.count_down();
  }
  work();
  ended.wait();
}

Error EventLog::Impl::write_error(const Error& cause) const {
  const Code code = cause.code() == Code::resource_exhausted ? Code::resource_exhausted : Code::unavailable;
  return refused(code, "the log " + options.name + " could not write: " + cause.what());
}

// One message a loop, however many of the batch wait on it.
void EventLog::Impl::answer(std::vector<OperationRef>& batch) {
  std::stable_sort(batch.begin(), batch.end(),
                   [](const OperationRef& a, const OperationRef& b) { return std::less<>()(a->home, b->home); });
  for (size_t from = 0; from < batch.size();) {
    Loop* home = batch[from]->home;
    size_t to = from + 1;
    while (to < batch.size() && batch[to]->home == home) ++to;
    std::vector<OperationRef> mine(std::make_move_iterator(batch.begin() + static_cast<ptrdiff_t>(from)),
                                   std::make_move_iterator(batch.begin() + static_cast<ptrdiff_t>(to)));
    const auto finish = [mine = std::move(mine)] {
      for (const OperationRef& operation : mine) operation->finish();
    };
    if (home) {
      home->post(finish);
    } else {
      finish();
    }
    from = to;
  }
  batch.clear();
}

// --- Reading ---

Result<EventSlice> EventLog::Impl::read(std::string_view topic, uint32_t partition, uint64_t from, size_t max,
                                        size_t max_bytes) {
  TRY(const std::shared_ptr<Topic> found, find(topic));
  TRY(const Partition* there, find(topic, partition));
  TRY(EventSlice slice, there->read(from, max, max_bytes));
  found->read->add(slice.events.size());
  return slice;
}

Task<Result<EventSlice>> EventLog::read(std::string topic, uint32_t partition, uint64_t from, size_t max,
                                        size_t max_bytes) {
  CO_TRY(const Partition* there, impl_->find(topic, partition));
  if (from >= there->head()) co_return EventSlice{{}, from};  // nothing to wait for a thread for
  Task<Result<EventSlice>> task = blocking([impl = impl_, topic = std::move(topic), partition, from, max, max_bytes] {
    return impl->read(topic, partition, from, max, max_bytes);
  });
  co_return co_await task;
}

Task<Result<uint64_t>> EventLog::next_whole(std::string topic, uint32_t partition, uint64_t from) {
  Task<Result<uint64_t>> task =
      blocking([impl = impl_, topic = std::move(topic), partition, from]() -> Result<uint64_t> {
        TRY(const Partition* there, impl->find(topic, partition));
        return there->next_whole(from);
      });
  co_return co_await task;
}

Task<Result<uint64_t>> EventLog::offset_at(std::string topic, uint32_t partition, WallTime at) {
  Task<Result<uint64_t>> task = blocking([impl = impl_, topic = std::move(topic), partition, at]() -> Result<uint64_t> {
    TRY(const Partition* there, impl->find(topic, partition));
    return there->offset_at(unix_millis(at));
  });
  co_return co_await task;
}

Result<EventSlice> EventLog::read_now(std::string_view topic, uint32_t partition, uint64_t from, size_t max,
                                      size_t max_bytes) const {
  return impl_->read(topic, partition, from, max, max_bytes);
}

Result<uint64_t> EventLog::offset_at_now(std::string_view topic, uint32_t partition, WallTime at) const {
  TRY(const Partition* there, impl_->find(topic, partition));
  return there->offset_at(unix_millis(at));
}

uint64_t EventLog::committed(std::string_view group, std::string_view topic, uint32_t partition) const {
  return impl_->groups->next_of(group, topic, partition);
}

std::vector<GroupLag> EventLog::lags() const { return impl_->lags(); }

std::vector<GroupLag> EventLog::Impl::lags() const {
  // A group that committed in one partition of a topic reads all of them.
  std::map<std::pair<std::string, std::string>, std::map<uint32_t, uint64_t>> readers;
  for (GroupOffsets::Entry& entry : groups->all()) {
    readers[{std::move(entry.group), std::move(entry.topic)}][entry.partition] = entry.next;
  }
  std::vector<GroupLag> lags;
  for (const auto& [who, next] : readers) {
    const Result<std::shared_ptr<Topic>> topic = find(who.second);
    if (!topic) continue;
    for (uint32_t i = 0; i < (*topic)->partitions.size(); ++i) {
      const auto at = next.find(i);
      const Partition& partition = *(*topic)->partitions[i];
      lags.push_back(
          {who.first, who.second, i, at == next.end() ? 0 : at->second, partition.first(), partition.head()});
    }
  }
  return lags;
}

// --- The keeper ---

void EventLog::keep_house() { impl_->keep_house(); }

void EventLog::Impl::keep_until_closed() {
  std::unique_lock lock(mutex);
  while (!closing) {
    wake_keeper.wait_for(lock, options.keep_every, [this] { return closing || full; });
    if (closing) return;
    full = false;
    lock.unlock();
    keep_house();
    lock.lock();
  }
}

void EventLog::Impl::keep_house() {
  const std::lock_guard keeps(keeping);
  const int64_t now_ms = unix_millis(options.clock->wall());
  std::vector<std::shared_ptr<Topic>> all;
  {
    const std::shared_lock lock(topics_mutex);
    for (const auto& [name, topic] : topics) all.push_back(topic);
  }
  const auto keep = [&](Partition& partition, bool compact) {
    Result<void> kept;
    if (auto removed = partition.retain(now_ms); !removed) kept = fail(std::move(removed).error());
    if (compact && kept) {
      if (auto won = partition.compact(now_ms); !won) kept = fail(std::move(won).error());
    }
    if (kept) return;
    static LogThrottle throttle(std::chrono::seconds(10));
    log_every(throttle, LogLevel::warn, "retention or compaction failed",
              {{"log", options.name}, {"error", kept.error().to_string()}});
  };
  for (const std::shared_ptr<Topic>& topic : all) {
    for (const auto& partition : topic->partitions) keep(*partition, topic->compact);
  }
  keep(groups->partition(), true);
  note_groups();
}

// The metrics of groups: made when a group is first seen; the age is read here, so that a scrape reads no disk.
void EventLog::Impl::note_groups() {
  std::map<std::pair<std::string, std::string>, int64_t> oldest;
  for (const GroupLag& lag : lags()) {
    int64_t& at_ms = oldest[{lag.group, lag.topic}];
    if (lag.lag() == 0) continue;
    const Result<Partition*> partition = find(lag.topic, lag.partition);
    if (!partition) continue;
    const Result<EventSlice> slice = (*partition)->read(lag.committed, 1, 1);
    if (!slice || slice->events.empty()) continue;
    const int64_t found = slice->events.front().at_ms;
    at_ms = at_ms == 0 ? found : std::min(at_ms, found);
  }
  for (const auto& [who, at_ms] : oldest) {
    const auto [at, is_new] = group_metrics.try_emplace(who);
    GroupMetrics& of = at->second;
    of.oldest_ms.store(at_ms, std::memory_order_relaxed);
    if (!is_new) continue;
    const Labels labels{{"topic", who.second}, {"group", who.first}};
    of.computed.push_back(metrics.computed("trellis_queue_depth", "Messages that wait.", labels, [this, who] {
      uint64_t depth = 0;
      for (const GroupLag& lag : lags()) {
        if (lag.group == who.first && lag.topic == who.second) depth += lag.lag();
      }
      return static_cast<double>(depth);
    }));
    of.computed.push_back(
        metrics.computed("trellis_queue_oldest_seconds", "Age of the oldest message that waits.", labels, [this, &of] {
          const int64_t since = of.oldest_ms.load(std::memory_order_relaxed);
          if (since == 0) return 0.0;
          return static_cast<double>(std::max<int64_t>(0, unix_millis(options.clock->wall()) - since)) / 1000;
        }));
  }
}

}  // namespace trellis::queue
