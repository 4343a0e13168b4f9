// The one thread that writes a store's segments: takes what was queued, appends it to the newest segment, lets the
// index know what can be read, and makes room by dropping the oldest segment. What was asked for among its objects is
// taken along, up to half a segment at a time.
//
// Of what is queued under one hash, the last word counts: an object whose place was taken by a later put() or
// remove() before it was in the index never gets there. put() and its like from any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "cache/disk/disk_counts.h"
#include "cache/disk/disk_health.h"
#include "cache/disk/disk_index.h"
#include "cache/disk/disk_segment.h"
#include "cache/disk/disk_store.h"
#include "cache/disk/segment_list.h"
#include "cache/disk/segment_writer.h"
#include "runtime/disk.h"

namespace trellis::cache {

class DiskWriter {
 public:
  // All outlive the writer.
  struct Parts {
    const DiskOptions& options;
    Disk& disk;
    DiskIndex& index;
    SegmentList& segments;
    DiskHealth& health;
    DiskCounts& counts;
  };
  explicit DiskWriter(const Parts& parts) noexcept : parts_(parts), limit_(parts.options.size) {}
  ~DiskWriter() { stop(); }
  DiskWriter(const DiskWriter&) = delete;
  DiskWriter& operator=(const DiskWriter&) = delete;

  // Starts the thread. Where the folder is not open yet, it calls `open` until that is true, and only then goes on.
  void start(bool is_open, std::function<bool()> open);
  // The index is there, before anybody reads it: what was removed until now goes out of it. `next_number`: of the first
  // segment to be made.
  void loaded(uint64_t next_number);
  void stop();  // writes what is queued first

  bool put(DiskObject object);
  bool replace_meta(std::string key, uint64_t hash, std::string meta);
  void remove(uint64_t hash);
  // Only what stands at this place, and nothing newer is queued.
  bool remove_if(uint64_t hash, const DiskPlace& place);
  // Is out of the index already, and not on disk.
  void remove_dropped(uint64_t hash);
  void flush();
  // Calls back, from the writing thread, when everything that was queued before is on disk for good (true), or not.
  // False: it does not.
  bool sync(std::function<void(bool done)> reached);
  void look();  // the health has changed
  uint64_t queued() const;

 private:
  struct Operation {
    DiskObject object;
    uint64_t sequence = 0;
    uint64_t bytes = 0;
    bool meta_only = false;
    std::function<void(bool)> reached;  // of sync(): no object
  };
  struct Removal {
    uint64_t hash;
    uint64_t sequence;
  };
  struct Batch {
    std::vector<Operation> objects;
    std::vector<Removal> removals;
    size_t objects_done = 0;
    size_t removals_done = 0;
    uint64_t bytes = 0;
  };
  // Appended, and in the index after the next flush of the segment.
  struct Appended {
    uint64_t hash;
    uint64_t sequence;
    DiskPlace place;
    unsigned asked;
    bool replaces;  // what stands under its hash is older
  };
  // An object on its way from an old segment, or to other meta.
  struct Loaded {
    uint64_t hash = 0;
    unsigned asked = 0;
    RecordStart start;
    std::vector<std::string> pieces;
    std::vector<std::string_view> body;  // views of both
  };

  bool queue(Operation operation);
  void run();
  bool take(Batch& batch);
  void write_or_refuse(Batch& batch);
  Result<void> write(Batch& batch);
  Result<void> write_removals(Batch& batch);
  Result<void> write_object(Operation& operation);
  Result<void> sync_all();
  Result<void> append(const ObjectToWrite& object, uint64_t sequence, unsigned asked, bool replaces);
  void lose(uint64_t hash, uint64_t sequence, std::vector<Removal>& removals);  // under the lock
  Result<void> settle();
  void give_up(Batch& batch, const Error& error);
  Result<void> make_room(const RecordHead& head, size_t entries);
  Result<void> next_segment(uint64_t needed);  // bytes that are to follow at once
  Result<void> make_segment();
  Result<void> squeeze();
  void try_to_grow();
  // Takes along to the newest segment what was asked for, as far as `budget` goes; what is left of it.
  Result<uint64_t> evict_oldest(uint64_t budget);
  Result<bool> take_along(const Segment& segment, const DiskIndex::Object& object, unsigned asked);
  // Null: damaged.
  static Result<std::unique_ptr<Loaded>> load(uint64_t hash, const Segment& segment, const DiskPlace& place);
  Result<void> try_disk();
  bool superseded(uint64_t hash, uint64_t sequence) const;
  void forget(uint64_t hash, uint64_t sequence);  // under the lock

  const Parts parts_;
  std::thread thread_;

  // WHY a lock: every core hands objects to the one thread that may block.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::vector<Operation> objects_;
  std::vector<Removal> removals_;
  std::unordered_map<uint64_t, uint64_t> last_;  // by hash, the sequence of the last that is queued or not yet settled
  uint64_t sequence_ = 0;
  uint64_t queued_bytes_ = 0;  // with what is being written
  bool closing_ = false;
  bool running_ = false;  // there is an index
  bool stopped_ = false;
  bool busy_ = true;  // until it waits for the first time

  // The thread's own.
  uint64_t next_number_ = 0;
  uint64_t limit_;       // bytes of all segments: `size`, or less when the file system has not so much
  uint64_t growth_ = 0;  // how much more is tried next
  unsigned calm_ = 0;    // segments made since the last change of these
  std::unique_ptr<SegmentWriter> active_;
  bool active_settled_ = false;  // the index names objects in it
  std::vector<Appended> appended_;
  std::vector<Removal> removed_;  // likewise
};

}  // namespace trellis::cache
