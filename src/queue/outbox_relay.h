// Moves the events of an outbox (outbox_rows.h) to a topic of the event log, in order and exactly once: a row goes only
// after its events were acknowledged by the log, and every append stands where the relay has read the log to
// (EventLog::append_at), so it knows whether an append whose end it did not see is there. That holds over crashes and
// failed appends, and while two relays of the same outbox run, as during a reload. While the log takes nothing, rows
// wait, up to a limit beyond which writes are refused. Topics of an outbox have one partition, and nobody else appends
// to them. On the home loop of the service that owns it; Outbox is used on the store's writer thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "queue/event_log_partition.h"
#include "queue/outbox_rows.h"
#include "runtime/sync.h"
#include "runtime/task.h"

namespace trellis {
inline namespace base {
class Metrics;
}
}  // namespace trellis
namespace trellis::store {
class SqliteStore;
}

namespace trellis::queue {

class EventLog;

// What a write needs to put events. Shared with writes under way, which may end after their service.
class Outbox {
 public:
  Outbox(std::string topic, int64_t max_waiting) : topic_(std::move(topic)), max_waiting_(max_waiting) {}

  // On the store's writer, in the write of the rows that the events tell of.
  Result<void> put(store::SqliteConnection& db, std::span<const OutboxEvent> events, WallTime wall) const;
  Result<void> put(store::SqliteConnection& db, std::span<const OutboxRow> rows, WallTime wall) const;

  const std::string& topic() const noexcept { return topic_; }
  // Whether something was put since the last call. It may not be committed yet.
  bool take_mark() const noexcept { return mark_.exchange(false, std::memory_order_relaxed); }

 private:
  std::string topic_;
  int64_t max_waiting_;
  mutable std::atomic<bool> mark_{false};
};

inline constexpr int64_t kMaxOutboxWaiting = 1'000'000;

struct OutboxRelayOptions {
  PartitionOptions keep;  // of the topic
  // In a turn: events, and bytes of them, about.
  size_t max_events = 5000;
  size_t max_bytes = size_t{2} << 20;
  Duration pace = std::chrono::milliseconds(100);  // between two looks for what was put
  Duration look = std::chrono::seconds(1);         // at the latest, whether something was put or not
  // Between two writes that remove what was moved. WHY not each turn: a large batch would give way to each of them.
  // What was moved since is read in the log again after a crash.
  Duration tidy = std::chrono::seconds(1);
};

class OutboxRelay {
 public:
  // Borrows the store and the log.
  OutboxRelay(std::shared_ptr<const Outbox> outbox, store::SqliteStore& store, EventLog& log, Metrics& metrics,
              OutboxRelayOptions options);
  ~OutboxRelay();
  OutboxRelay(const OutboxRelay&) = delete;
  OutboxRelay& operator=(const OutboxRelay&) = delete;

  // Before the first put: makes the tables and the topic where they are missing, and reads what the log has already.
  Task<Result<void>> start();
  // Rows that are left wait for the next start. False: cut.
  Task<bool> stop(Deadline deadline);

 private:
  struct Figures {
    std::atomic<int64_t> waiting{0};
    std::atomic<int64_t> oldest_ms{0};
  };

  Task<Result<void>> prepare();
  Task<Result<void>> read_on();
  Task<Result<bool>> move_some();
  Task<Result<void>> forget();
  Task<Result<void>> forget_when_due();
  Task<> work();
  void show(const OutboxState& state) noexcept;

  std::shared_ptr<const Outbox> outbox_;
  store::SqliteStore& store_;
  EventLog& log_;
  OutboxRelayOptions options_;
  uint32_t name_ = 0;      // in front of the numbers
  bool certain_ = false;   // that what follows is all there is in the log
  int64_t in_log_ = 0;     // the highest number in the log
  int64_t forgotten_ = 0;  // the highest that the store knows to be there
  Time forgot_;            // when the store was told last
  uint64_t head_ = 0;      // read up to here
  bool stopping_ = false;
  Event stop_;
  std::shared_ptr<Figures> figures_;
  std::vector<std::shared_ptr<void>> gauges_;
  TaskGroup group_;  // last: its task uses all of the above
};

}  // namespace trellis::queue
