// What was purged from a cache. Nothing looks for the objects that a purge names: the book keeps the rule under a
// number that rises, every object knows the number at which its fill began, and whoever takes an object out of the
// cache asks whether a newer rule meets it. So a purge takes effect at once whatever it names, it wins over a fill that
// is under way, and an object on disk need not be found. An object that was checked at newest() costs one comparison of
// numbers.
//
// With a path, a rule is on disk before add() returns, and counts again after a restart. Numbers are microseconds since
// 1970, made to rise: so they rise over restarts also when the last ones were lost, and those of two nodes can be
// compared as well as their clocks agree. One book a cache; any thread.
// docs/edge-cache-purge.md.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "cache/edge/purge_file.h"
#include "cache/edge/purge_index.h"
#include "cache/edge/purge_rule.h"
#include "runtime/disk.h"

namespace trellis::cache {

struct PurgeBookOptions {
  std::string path;                           // of the file; its folder exists. "": in memory only
  uint64_t node = 0;                          // this node to others (hash64 of its name)
  size_t limit = 100'000;                     // rules; beyond it the oldest are taken together
  uint64_t limit_bytes = uint64_t{32} << 20;  // of their texts
  Duration keep = std::chrono::hours(24);     // that a rule is kept at least, for other nodes and for a crash
  bool doubt = false;                         // see trust()
  Disk* disk = nullptr;                       // nullptr: the machine's
  Clock* clock = nullptr;                     // nullptr: the machine's
};

// Rules on their way from node to node.
struct PurgeBatch {
  std::vector<PurgeRecord> records;
  std::vector<PurgeExtent> extents;
  bool more = false;  // there are more than fitted
};

class PurgeBook {
 public:
  // Blocks. A file with a torn tail loses it; a damaged one is put aside under another name, and all objects from
  // before count as purged, as they do when there is no file yet. When another process has the file (which this one
  // takes over from), the book reads it and writes to one beside it until tick() finds it free. Errors are the disk's.
  static Result<std::unique_ptr<PurgeBook>> open(PurgeBookOptions options);

  PurgeBook(const PurgeBook&) = delete;
  PurgeBook& operator=(const PurgeBook&) = delete;
  ~PurgeBook();

  // The number of the newest rule. Read it before a fill asks the origin, and before check().
  uint64_t newest() const noexcept { return newest_.load(std::memory_order_acquire); }

  // Does a rule newer than `since` meet the object? `since` is its `filled`, or the number of newest() that was read
  // before an earlier check; who got `stale` remembers that. Dead also where rules newer than `since` were let go: who
  // was not there when all objects were checked cannot be any more. Waits at most for another thread's insertion.
  PurgeState check(const PurgeSubject& subject, uint64_t since) const noexcept;

  // The rules are in effect when this returns, and on disk unless `kept` is an error. Blocks: from blocking threads
  // only; several calls share a sync. Rules are those of make_purge_rule().
  struct Added {
    PurgeBatch batch;  // for the other nodes
    Result<void> kept;
  };
  Added add(std::vector<PurgeRule> rules);
  // Likewise of a purge that somebody asks for and that is to be acknowledged. unavailable while the book is held, and
  // nothing was purged.
  Result<Added> add_asked(std::vector<PurgeRule> rules);
  // Before another process that takes over reads the file: what it would not hear of is refused until resume(). Waits
  // for what is being written. Blocks.
  void hold();
  void resume();

  // All objects in memory and on disk were checked at this number or began at it or later (purge_walk.h). Rules up to
  // it are let go when they are older than `keep`.
  void all_checked(uint64_t number) noexcept { checked_.store(number, std::memory_order_release); }
  // Rules up to this number were let go so.
  uint64_t retired() const noexcept { return retired_.load(std::memory_order_acquire); }
  // Is it time to check all objects? There are rules that could be let go then, or soon: the oldest is older than
  // `keep`, or the book fills up.
  bool wants_check() const;
  // What the disk lost may have replaced something that came back with that, and whose rules were let go: all from
  // before those counts as purged. Blocks.
  void lost_objects();

  // Housekeeping, every minute or so. Blocks.
  void tick();
  // Another process takes over and waits for the file: from now on rules are in effect and not kept. Blocks.
  void let_go_of_file();

  // With `doubt`, objects from before the start are stale until this is called: what other nodes were told meanwhile is
  // not known yet.
  void trust() noexcept { doubt_.store(false, std::memory_order_release); }

  // What this book has, for covers() and missing() of another node's. A fill whose number is newest() of before may
  // tell these: they are at least as new. Any thread, waits for nobody.
  std::shared_ptr<const std::vector<PurgeMark>> marks() const;
  // Does this book have all that one with these marks has? Likewise.
  bool covers(const std::vector<PurgeMark>& marks) const;
  // Rules came whose elders are not here yet: marks() says less than what objects are compared with.
  bool has_gap() const noexcept { return gap_.load(std::memory_order_acquire); }

  // What follows blocks: from blocking threads.
  // The rules that a book with these marks lacks, oldest first.
  PurgeBatch missing(const std::vector<PurgeMark>& marks, size_t max_records) const;
  // Takes over what another node sent. Blocks as add() does. When there are rules between what is known and what came,
  // `gap` is true and missing() of the other node is to be asked for. With `is_all`, this is the answer to that: then
  // rules were let go of there, and objects from before those were made count as purged.
  struct Merged {
    size_t rules = 0;  // new ones
    bool gap = false;
    Result<void> kept;
  };
  Merged merge(const PurgeBatch& batch, bool is_all);

  struct Figures {
    size_t rules = 0;
    uint64_t newest = 0;
    uint64_t floor = 0;  // objects whose fill began before it count as purged
    uint64_t file_bytes = 0;
    bool waiting = false;  // for another process to let the file go
    bool failing = false;  // the last write failed
  };
  Figures figures() const;
  std::vector<PurgeRecord> latest(size_t max) const;  // newest first

 private:
  // Adders that share a sync.
  struct Write {
    bool done = false;
    Result<void> outcome;
  };

  struct Loaded {
    PurgeFileContents contents;
    bool found = false;
  };

  explicit PurgeBook(PurgeBookOptions options);
  Result<void> load();
  Result<Loaded> read(const std::string& path) const;
  void put_aside(const std::string& path);
  void take_records(std::vector<PurgeRecord> records);
  // What follows runs under mutex_, or before anybody else has the book.
  void take_over();
  uint64_t next_number() const;
  PurgeMark& mark_of(uint64_t origin);
  void publish();
  void insert(PurgeRecord record);
  void raise_floor(uint64_t number);
  Added add_now(std::unique_lock<std::mutex>& lock, std::vector<PurgeRule> rules);
  void tidy();
  void let_go_first(size_t count);
  void drop_repeated();
  void rebuild();
  std::string everything() const;
  std::string file_path() const { return waiting_ ? options_.path + ".next" : options_.path; }
  // Waits until what is pending is in the file.
  Result<void> keep(std::unique_lock<std::mutex>& lock);
  void write(std::unique_lock<std::mutex>& lock);
  // These two of whoever writes, without the lock.
  Result<void> rewrite(const std::string& path, std::string_view payload);
  Result<void> append(std::string_view payload);

  const PurgeBookOptions options_;
  Disk& disk_;
  Clock& clock_;
  std::atomic<uint64_t> newest_{0};
  std::atomic<uint64_t> checked_{0};
  std::atomic<uint64_t> floor_{0};
  std::atomic<uint64_t> retired_{0};  // set under index_mutex_
  std::atomic<bool> doubt_;
  std::atomic<bool> gap_{false};
  uint64_t opened_ = 0;  // newest() when the book was opened

  // WHY a lock: a purge holds for every core at once. A writer has it for the insertion of one rule.
  mutable std::shared_mutex index_mutex_;
  std::unique_ptr<PurgeIndex> index_;
  std::shared_ptr<const std::vector<PurgeMark>> marks_told_;  // set before newest_
  std::shared_ptr<const std::vector<PurgeMark>> marks_kept_;  // set after it

  // WHY a lock: adders come from blocking threads and wait for the disk anyway.
  mutable std::mutex mutex_;
  std::condition_variable written_;
  std::deque<PurgeRecord> records_;  // by number
  uint64_t text_bytes_ = 0;
  uint64_t last_ = 0;      // number that was given
  uint64_t merged_ = 0;    // the newest of the rules that were let go before all objects were checked
  uint64_t retiring_ = 0;  // retired_ at the next index
  std::vector<PurgeMark> marks_;
  std::vector<PurgeExtent> wanted_;    // of gaps: what is to be known before they are closed
  std::string pending_;                // items that are not in the file yet
  std::shared_ptr<Write> next_write_;  // that will write them
  bool writing_ = false;
  bool must_rewrite_ = false;
  bool failing_ = false;
  bool waiting_ = false;
  bool let_go_ = false;
  bool held_ = false;
  std::shared_ptr<void> lock_;  // of the file, between processes

  // Of whoever set writing_.
  std::unique_ptr<DiskFile> file_;
  std::atomic<uint64_t> file_end_ = 0;
  uint32_t salt_ = 0;
};

}  // namespace trellis::cache
