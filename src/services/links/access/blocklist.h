// Destinations that may not be linked: those of a file, read at the start, and those that the API has made, kept in the
// store and held in memory. Whoever makes or changes a link asks it; a redirect does not: what it gives is decided when
// the link's target is loaded into the cache, and targets loaded before the last change are loaded again, which is told
// by their version. Owned by the link book; any core.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "cache/shard_lock.h"
#include "runtime/task.h"
#include "services/links/access/blocklist_rows.h"
#include "services/links/link_json.h"
#include "services/links/url.h"

namespace trellis::store {
class SqliteStore;
}

namespace trellis::services::links {

class BlockSet;

class Blocklist {
 public:
  // `file`: "" for none. Borrows the store, which outlives it.
  Blocklist(std::string file, store::SqliteStore& store);
  ~Blocklist();

  // After the migrations. Fails when the file cannot be read, with the line that is wrong.
  Task<Result<void>> start();
  // Whether another file lies there than the one that start() read. Looks at the disk.
  bool file_changed() const;

  // The entry that the URL falls under. Precondition: check_url() accepted it.
  std::optional<std::string> find(std::string_view url) const;
  // Why these settings may not be a link's; `own` as for Rules::read().
  std::optional<Fault> refuse(const LinkPatch& set, const OwnHosts& own) const;
  // Whether the link or one of its rules leads to a destination on it.
  bool blocks(const Link& link, const OwnHosts& own) const;
  // Another one after each change.
  uint32_t version() const noexcept { return state_->version.load(std::memory_order_acquire); }

  // `blocked` without an id, its pattern in normal form. Holds on all cores when it is answered.
  Task<Result<Blocking>> add(Blocked blocked, Deadline deadline);
  Task<Result<bool>> remove(int64_t id, Deadline deadline);
  Task<Result<std::vector<Blocked>>> list(int64_t after, size_t limit, Deadline deadline);
  Task<Result<std::optional<Blocked>>> find(int64_t id, Deadline deadline);

 private:
  // Those of the API after so many changes.
  struct Made {
    int64_t changes = -1;
    std::shared_ptr<const BlockSet> set;
  };
  // Shared with writes under way: what they changed holds even when the one who asked for it has gone.
  struct State {
    std::shared_ptr<const BlockSet> set() const;
    // Unless what is there is newer.
    void take(const Made& made);

    std::atomic<uint32_t> version{1};
    uint64_t seed = 0;

   private:
    // WHY a lock: writes that were asked for on two cores are told of in any order. It is held for a pointer.
    mutable cache::ShardLock lock_;
    Made made_;
  };
  struct FileStamp {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = -1;
    int64_t changed = 0;  // nanoseconds
    friend bool operator==(const FileStamp&, const FileStamp&) = default;
  };
  struct FileRead {
    FileStamp stamp;
    std::shared_ptr<const BlockSet> set;
  };
  template <class T>
  struct Written {
    T value;
    Made made;
  };
  static Result<Made> read_made(store::SqliteConnection& db, uint64_t seed);
  static FileStamp stamp_of(const struct ::stat& status) noexcept;
  static Result<FileRead> read_file(const std::string& path, uint64_t seed);

  std::optional<std::string> find_in_rules(std::string_view rules, const OwnHosts& own) const;

  std::string file_;
  store::SqliteStore& store_;
  FileStamp stamp_;
  std::shared_ptr<const BlockSet> in_file_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace trellis::services::links
