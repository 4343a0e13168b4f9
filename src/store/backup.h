// Copies of a store's file: made page by page by SQLite's backup API from one state of the store, checked, and given
// their name only when they are whole and on disk. A crash on the way leaves the old file, or none. All of it blocks:
// on threads of the blocking pool, or in a command. Nothing here is owned by anybody.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"

namespace trellis::store {

class SqliteConnection;

struct CopyOptions {
  bool overwrite = false;
  // Bytes done and in all, after each step; false stops the copy (cancelled).
  std::function<bool(uint64_t, uint64_t)> progress;
  int pages_a_step = 256;
  std::string vfs;  // "": the default one; tests put a faulty disk here
};

// The state of `source` at this moment into the file `path`, which is then one file without a WAL, readable by its
// owner only. Others write meanwhile; the WAL is not begun anew before the copy is done. Gives the copy's size in
// bytes. already_exists without `overwrite`; invalid_argument where something stands that is no file, or a file of the
// store itself; resource_exhausted when the disk is full; data_loss when the copy is not whole.
Result<uint64_t> copy(SqliteConnection& source, const std::string& path, const CopyOptions& options);

// Puts `backup` in the place of the store's file `name`, or of what a link of that name leads to, which no process may
// have open (failed_precondition). With `overwrite` what was there is kept beside it, ".replaced" behind its name;
// without it already_exists. Gives the size in bytes. Cut off on the way, it can be done again: what was kept stays.
Result<uint64_t> restore(const std::string& backup, const std::string& name, const CopyOptions& options);

struct Inspection {
  struct Applied {
    std::string space;
    int64_t version;
    std::string name;
    int64_t applied_at;  // milliseconds since 1970
  };
  uint64_t file_bytes = 0;
  uint64_t wal_bytes = 0;
  uint64_t free_bytes = 0;  // in pages of the file that hold nothing
  std::vector<Applied> migrations;
  bool is_store = true;               // as far as it can be read
  std::vector<std::string> problems;  // what integrity_check said, or that it is no store; none: the file is whole
};
// Reads all of the file, which no other process may have open. data_loss where it is no database at all.
Result<Inspection> inspect(const std::string& path, const std::string& vfs = "");

}  // namespace trellis::store
