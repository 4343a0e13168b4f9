// Write-behind: values under keys that are answered for when the event log has them on disk, read from memory at once,
// and written to the store later, many in one transaction, of each key only the last. For values that change much more
// often than they must be in the tables: counters, positions, when something was last seen. The topic of the log is
// compacted, so that it stays as small as its keys.
//
// How far the topic is written stands in the store beside the rows, in the same transaction: over crashes, failed
// writes and two instances during a reload each batch is applied once and none is left out. Until a value is in the
// store, find() has it: whoever reads asks find() first, then the store (a cache in front asks both in its loader).
// What another instance has written, as before a reload, find() has after `pace` at the latest.
// While the store takes nothing, values wait, up to a limit beyond which writes are refused.
//
// start() and stop() on the home loop; write() and find() on every core. Borrows the log and the store.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/time.h"
#include "runtime/sync.h"
#include "runtime/task.h"

namespace trellis {
inline namespace base {
class Metrics;
}
}  // namespace trellis
namespace trellis::store {
class SqliteConnection;
class SqliteStore;
}  // namespace trellis::store

namespace trellis::queue {

class EventLog;
struct EventSlice;

struct LateWrite {
  std::string key;
  std::optional<std::string> value;  // none: removed
};

struct WriteBehindOptions {
  std::string topic;                               // of this one alone; one partition
  size_t max_batch = 1000;                         // keys in a transaction
  Duration pace = std::chrono::milliseconds(250);  // between two transactions; what comes meanwhile is gathered
  size_t max_waiting = 100'000;                    // writes that are not in the store yet; more are refused
};

class WriteBehind {
 public:
  // Puts rows into the store, on the store's writer; runs again from the start when the transaction was taken back.
  using Apply = std::function<Result<void>(store::SqliteConnection& db, std::span<const LateWrite> writes)>;

  WriteBehind(EventLog& log, store::SqliteStore& store, Metrics& metrics, WriteBehindOptions options, Apply apply);
  ~WriteBehind();
  WriteBehind(const WriteBehind&) = delete;
  WriteBehind& operator=(const WriteBehind&) = delete;

  // Makes what is missing and reads what was not written to the store yet.
  Task<Result<void>> start();
  // Writes what waits, as far as the deadline allows; the rest waits for the next start. False: there is a rest.
  Task<bool> stop(Deadline deadline);

  // On disk when it returns. resource_exhausted: too many wait; and what EventLog::append() says.
  Task<Result<void>> write(std::string key, std::optional<std::string> value, Deadline deadline);
  // Of a key whose last write is not in the store yet: its value, or none where it was removed. Nothing: ask the store.
  std::optional<std::optional<std::string>> find(std::string_view key) const;

  size_t waiting() const noexcept;  // keys

 private:
  struct Pending {
    std::optional<std::string> value;
    uint64_t offset = 0;
  };
  struct Shared {
    // WHY a lock: what a core has written every core reads from then on. It is held for a lookup.
    mutable std::mutex mutex;
    std::unordered_map<std::string, Pending, StringHash, std::equal_to<>> pending;
    std::atomic<uint64_t> stored{0};  // all below is in the store
  };

  Task<Result<void>> read_on();
  Task<Result<EventSlice>> read(uint64_t from, size_t max);
  Task<Result<bool>> write_some();
  Task<> work();
  void note(std::string key, std::optional<std::string> value, uint64_t offset);
  void forget(const std::vector<LateWrite>* writes, uint64_t stored);

  EventLog& log_;
  store::SqliteStore& store_;
  WriteBehindOptions options_;
  std::shared_ptr<const Apply> apply_;  // shared with writes under way
  std::shared_ptr<Shared> shared_;      // likewise
  bool stopping_ = false;
  Event stop_;
  std::shared_ptr<void> gauge_;
  TaskGroup group_;  // last: its task uses all of the above
};

}  // namespace trellis::queue
