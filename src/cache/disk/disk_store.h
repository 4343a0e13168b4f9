// The disk tier of a cache: objects on disk under string keys, found by an index in memory, written behind the
// requests. One for each cache with `disk:`, shared by all cores, built by the app. It knows nothing of HTTP: an object
// is a key, some bytes of its owner (`meta`) and a body.
//
// The folder holds segments, files that are only ever appended to (disk_format.h). Objects are written by one thread;
// where `size` has no room for a further segment, the oldest goes, and of its objects those that were asked for move to
// the newest.
// Nothing is served whose checksum is wrong: such an object is dropped and counted. A disk that fails takes nothing
// away but itself: find() has nothing, put() refuses, and it is tried again later. docs/edge-cache-disk.md.
//
// Any thread may call what returns no Task; none of it waits for the disk, but for open(), flush() and the destructor.
// Tasks belong to the loop that they began on, which must outlive the store; the reading itself happens on threads of
// the store, or at once where the page cache has what is asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/chunk.h"
#include "base/error.h"
#include "base/time.h"
#include "runtime/task.h"

namespace trellis {
inline namespace base {
class Metrics;
}  // namespace base
inline namespace runtime {
class Disk;
}  // namespace runtime
}  // namespace trellis

namespace trellis::cache {

inline constexpr size_t kDiskPiece = size_t{256} << 10;  // what a body is read and checked by
inline constexpr size_t kMaxDiskKey = size_t{64} << 10;  // bytes
inline constexpr size_t kMaxDiskMeta = size_t{1} << 20;  // bytes
inline constexpr uint64_t kMinDiskSegment = uint64_t{256} << 10;
inline constexpr uint64_t kMaxDiskSegment = uint64_t{1} << 30;

struct DiskOptions {
  std::string path;                          // a folder for the store alone; made when it is missing
  uint64_t size = 0;                         // bytes of all segments; at least four of them
  std::string name = "disk";                 // in metrics
  uint64_t segment_bytes = 0;                // kMinDiskSegment to kMaxDiskSegment; 0: by the size
  uint64_t max_queued = uint64_t{64} << 20;  // bytes of objects that wait to be written
  size_t read_threads = 4;
  Disk* disk = nullptr;    // nullptr: the machine's
  Clock* clock = nullptr;  // nullptr: the machine's. When a failed disk is tried again goes by it
};

// An object for the disk. What `body` points to is not changed and lives as long as `owner` does, which a thread of the
// store lets go of.
struct DiskObject {
  std::string key;    // up to kMaxDiskKey
  uint64_t hash = 0;  // of the key; the caller's, always by the same function
  std::string meta;   // up to kMaxDiskMeta
  std::vector<std::string_view> body;
  std::shared_ptr<const void> owner;
};

// waiting: another process (which this one takes over from) has the folder, or the index is being read; nothing is
// found and nothing taken until then. full: the file system has less room than `size`; the store goes on with what
// there is. failed: the disk gives errors; nothing is found and nothing taken, and it is tried every few seconds.
enum class DiskState : uint8_t { ok, full, failed, waiting };
std::string_view to_string(DiskState state) noexcept;

struct DiskFigures {
  uint64_t bytes = 0;  // of the segments
  uint64_t objects = 0;
  uint64_t index_bytes = 0;  // memory
  uint64_t queued = 0;       // bytes that wait to be written
  uint64_t written = 0;      // objects, since the start
  uint64_t evicted = 0;      // objects that left for room
  uint64_t moved = 0;        // objects that were taken along from an old segment
  uint64_t damaged = 0;      // objects and tables with a wrong checksum
  uint64_t refused = 0;      // objects that were not taken, or taken and not written
  DiskState state = DiskState::ok;
};

// One object that was found, to be read from front to end, by one coroutine. Its bytes stay on disk until it is
// dropped, whatever becomes of the object. It may outlive the store; read() fails then.
class DiskReader {
 public:
  DiskReader(DiskReader&&) noexcept;
  DiskReader& operator=(DiskReader&&) noexcept;
  ~DiskReader();

  const std::string& meta() const noexcept;
  uint64_t body_size() const noexcept;
  uint64_t position() const noexcept;  // in the body, of what read() gives next

  // The next bytes of the body, their checksum verified: up to kDiskPiece, less only at the end or after skip_to();
  // empty behind the end. data_loss: damaged, and the object is gone from the store. deadline_exceeded, unavailable
  // (too many reads wait, or the store is gone), or what the disk says: it may still be there.
  Task<Result<Chunk>> read(Deadline deadline = kNever);
  // read() goes on there, without reading what lies between. Beyond the end is the end.
  void skip_to(uint64_t position) noexcept;

 private:
  friend class DiskStore;
  struct Impl;
  explicit DiskReader(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

class DiskStore {
 public:
  // Reads the index from disk, after a kill -9 too; blocks for that. When another process has the folder, that is
  // done in the background as soon as it lets go. invalid_argument: an option is out of bounds. failed_precondition:
  // the folder holds files that are not a store's (they are left alone). permission_denied, not_found: as the disk
  // says. Where it fails otherwise, the store is open all the same, in the state `failed`. Segments of another version
  // are removed and counted as damaged.
  static Result<std::unique_ptr<DiskStore>> open(DiskOptions options, Metrics& metrics);
  ~DiskStore();  // writes what is queued
  DiskStore(const DiskStore&) = delete;
  DiskStore& operator=(const DiskStore&) = delete;

  // Whether there may be an object under this hash: of the index alone, some tens of nanoseconds. An object that is
  // queued is not there yet.
  bool may_have(uint64_t hash) const noexcept;

  // An object was given from elsewhere, from memory: counts as if it was asked for here, so that it is not what makes
  // room. As quick as may_have().
  void touch(uint64_t hash) noexcept;

  // nullopt: there is none (also: it was damaged, the disk has failed, too many reads wait). Errors:
  // deadline_exceeded, and what the disk says; the caller goes on as if there was none. A small body comes with the
  // same access to the disk. `counts`: it is asked for, and not only looked at.
  Task<Result<std::optional<DiskReader>>> find(std::string key, uint64_t hash, Deadline deadline = kNever,
                                               bool counts = true);

  // Queues an object, which takes the place of the one under its hash once it is written. False: it is not taken,
  // because too much waits, the disk has failed or it is larger than max_object().
  bool put(DiskObject object);
  uint64_t max_object() const noexcept;  // bytes of key, meta and body together

  // Queues other `meta` for the object under this key, as after a revalidation: it is copied, by the writer, to the
  // end of the newest segment. False: there is none or too much waits.
  bool replace_meta(std::string key, uint64_t hash, std::string meta);

  // At once, and before anything put() later; an object that waits to be written never appears. Kept over a restart
  // once the writer has come to it (at most some milliseconds): a crash before that brings the object back.
  void remove(uint64_t hash);

  // A walk through all objects, in steps: a step looks at the next ones, `most` at most, and removes those for which
  // `dead(key, meta)` is true. It is called on a thread of the store, of which one is busy for as long as the step
  // takes; it may outlive the one who waits, but not the store. Objects that were in the index when the walk began are
  // looked at wherever they move to; those that came later may be left out. False: that was all. Errors are the disk's,
  // or `unavailable`: then not all objects can be looked at, and the walk is over.
  struct Walk {
    size_t part = 0;               // of the index, the next to be taken
    std::vector<uint64_t> hashes;  // of the part before, those that are left
    uint64_t removed = 0;
  };
  using Dead = std::function<bool(std::string_view key, std::string_view meta)>;
  Task<Result<bool>> walk_on(Walk& walk, size_t most, Dead dead, Deadline deadline = kNever);
  // What was put or removed before is in the index, and on disk for good. Error: it may not be.
  Task<Result<void>> sync(Deadline deadline = kNever);

  // At the start, something was found damaged and left out: what it had taken the place of, or had removed, may be
  // back.
  bool has_lost() const noexcept;

  // Writes what is queued and lets another process, or another store, have the folder. What there is can still be found
  // and read; nothing is taken any more, and removals hold for this store alone. Blocks.
  void release();

  // Waits until what was queued is written, or refused. Blocks: for tests and for a node that stops.
  void flush();
  DiskFigures figures() const;

  struct Impl;

 private:
  explicit DiskStore(std::shared_ptr<Impl> impl) noexcept;
  std::shared_ptr<Impl> impl_;
};

}  // namespace trellis::cache
