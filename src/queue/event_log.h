// The embedded event log: topics, each in partitions, each a row of segment files. Events of one key keep their order,
// as a key always goes to the same partition. All appends of a log go through one thread, which gathers what waits, has
// each partition's file written once and synced, several at a time, and only then answers: acknowledged means on disk.
// Readers ask by offset
// and are served from the blocking pool; they never wait for the writer, and a group that lags holds nobody. Consumer
// groups keep, durably, the offset they want next in each partition; an event is thus delivered at least once. Usable
// from every core. Owned by the app, which closes it after everybody who uses it and before the loops end.
//
// An append that fails was not acknowledged, but a part of it may be in the log (in other partitions, or after a
// crash): who repeats it needs consumers that can bear it twice. How disks fail is in event_log_partition.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "queue/event_log_partition.h"
#include "runtime/task.h"

namespace trellis {
inline namespace base {
class Metrics;
}
}  // namespace trellis

namespace trellis::queue {

struct Event {
  std::string key;                   // "": goes to the partitions in turn, is never compacted away
  std::optional<std::string> value;  // none: a tombstone, which says that the key is gone
};

struct EventPosition {
  uint32_t partition = 0;
  uint64_t offset = 0;
};

struct TopicOptions {
  std::string name;         // [a-z0-9][a-z0-9_.-]{0,63}
  uint32_t partitions = 1;  // may grow later, which moves keys; never shrink
  PartitionOptions keep;
};

struct EventLogOptions {
  std::string name = "events";  // in metrics and errors
  std::string folder;
  size_t max_batch = 256;  // operations that share a sync
  size_t max_batch_bytes = size_t{1} << 20;
  Duration max_linger = std::chrono::milliseconds(2);  // for others, when the last batches had several
  size_t max_syncs = 8;                                // files of a batch that are written and synced at once
  size_t max_queue = 100'000;                          // operations that wait; more are refused
  size_t max_queue_bytes = size_t{64} << 20;
  Duration keep_every = std::chrono::seconds(1);  // retention, compaction, ages for metrics
  Disk* disk = nullptr;                           // nullptr: the machine's
  Clock* clock = &system_clock();
};

// How far a group is in a partition.
struct GroupLag {
  std::string group;
  std::string topic;
  uint32_t partition = 0;
  uint64_t committed = 0;
  uint64_t first = 0;  // above `committed`: what is between was removed unread
  uint64_t head = 0;
  uint64_t lag() const noexcept { return head - std::min(head, std::max(committed, first)); }
};

class EventLog {
 public:
  // Blocks: makes the folder, takes its lock so that no second process writes there, reads the groups' offsets, starts
  // the two threads.
  static Result<std::unique_ptr<EventLog>> open(EventLogOptions options, Metrics& metrics);
  ~EventLog();  // close()
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // Blocks; for starting. Makes or opens the topic; again: nothing. Topics are used after it only.
  Result<void> open_topic(TopicOptions options);

  // Where the events stand, in their order, once they are on disk. An operation whose deadline passes while it waits is
  // not written (deadline_exceeded); resource_exhausted when the disk or the queue is full, unavailable when the disk
  // fails. A waiter that is destroyed does not stop it. At most kMaxKey and kMaxValue bytes an event.
  Task<Result<std::vector<EventPosition>>> append(std::string topic, std::vector<Event> events,
                                                  Deadline deadline = kNever);
  // The same to a topic of one partition, but only if its head is `head` when it is written; otherwise aborted, and
  // nothing is written. Who reads on to the head and appends there knows all that is before his events, whatever
  // others do and however an earlier append of his ended.
  Task<Result<std::vector<EventPosition>>> append_at(std::string topic, uint64_t head, std::vector<Event> events,
                                                     Deadline deadline = kNever);

  // Events from an offset on, or from the first that is kept; at least one if there is any, up to `max` and about
  // `max_bytes`. Empty at the head. data_loss at a damaged place: next_whole() leads past it.
  Task<Result<EventSlice>> read(std::string topic, uint32_t partition, uint64_t from, size_t max = 1000,
                                size_t max_bytes = size_t{1} << 20);
  Task<Result<uint64_t>> next_whole(std::string topic, uint32_t partition, uint64_t from);
  // The first event at or after a time, for replay by time; the head if there is none.
  Task<Result<uint64_t>> offset_at(std::string topic, uint32_t partition, WallTime at);

  // Durable like an append, and in its batches. Any offset up to the head: an earlier one replays.
  Task<Result<void>> commit(std::string group, std::string topic, uint32_t partition, uint64_t next,
                            Deadline deadline = kNever);
  // What the group committed last; 0 for one that never did.
  uint64_t committed(std::string_view group, std::string_view topic, uint32_t partition) const;
  std::vector<GroupLag> lags() const;

  // The same on this thread: blocks. For tests, tools, and for starting and stopping.
  Result<std::vector<EventPosition>> append_now(std::string topic, std::vector<Event> events);
  Result<EventSlice> read_now(std::string_view topic, uint32_t partition, uint64_t from, size_t max = 1000,
                              size_t max_bytes = size_t{1} << 20) const;
  Result<uint64_t> offset_at_now(std::string_view topic, uint32_t partition, WallTime at) const;
  Result<void> commit_now(std::string group, std::string topic, uint32_t partition, uint64_t next);

  std::vector<std::string> topics() const;
  uint32_t partitions(std::string_view topic) const;  // 0: no such topic
  Result<uint64_t> head(std::string_view topic, uint32_t partition) const;
  Result<uint64_t> first(std::string_view topic, uint32_t partition) const;

  // What the keeper does by itself every keep_every: retention, compaction. Blocks.
  void keep_house();

  // Refuses new operations, finishes those that wait, ends the threads. Blocks. Again: nothing.
  void close();
  uint64_t batches() const noexcept;

 private:
  struct Impl;
  explicit EventLog(std::shared_ptr<Impl> impl) noexcept;
  std::shared_ptr<Impl> impl_;  // shared with reads under way, whose caller may have gone
};

}  // namespace trellis::queue
