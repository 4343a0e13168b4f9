// A disk that can lose power, for SQLite. It keeps, beside each file, what of it is on disk: a write is there only
// after a sync of its file. At the loss every write not yet synced is there or not by chance, in pieces of a sector,
// whatever its order, and a removed file may be back; from then on nothing can be written. restore_power() puts what
// the disk held into the files. Registered once a process under the name "power-loss"; locks and shared memory are
// those of the default VFS. Any thread; the test owns the moment of the loss.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace trellis::store {

class PowerLossDisk {
 public:
  enum class Syncs { honest, lying };

  static PowerLossDisk& instance() {
    static PowerLossDisk disk;
    return disk;
  }

  // A new disk, on which power is lost at the `steps`th write, truncation or sync from now. One in `sync_fails_one_in`
  // syncs fails (0: none), after which the kernel takes the writes for done, and the disk has some of them.
  void begin(uint32_t seed, int steps, int sync_fails_one_in, Syncs syncs) {
    const std::lock_guard lock(mutex_);
    files_.clear();
    random_.seed(seed);
    steps_left_ = steps;
    sync_fails_one_in_ = sync_fails_one_in;
    syncs_ = syncs;
    lost_ = false;
    failed_syncs_ = 0;
  }
  bool lost() {
    const std::lock_guard lock(mutex_);
    return lost_;
  }
  int failed_syncs() {
    const std::lock_guard lock(mutex_);
    return failed_syncs_;
  }
  void lose_power() {
    const std::lock_guard lock(mutex_);
    lose();
  }
  // When nothing has the files open any more. The disk is honest from here on, and power stays.
  void restore_power() {
    const std::lock_guard lock(mutex_);
    if (!lost_) lose();
    for (const auto& [path, file] : files_) {
      std::ofstream out(path, std::ios::binary | std::ios::trunc);
      out.write(file.on_disk.data(), static_cast<std::streamsize>(file.on_disk.size()));
    }
    for (const auto& [path, file] : files_) std::remove((path + "-shm").c_str());  // was memory
    steps_left_ = -1;
    sync_fails_one_in_ = 0;
    syncs_ = Syncs::honest;
    lost_ = false;
  }

  // --- what the VFS calls; false: there is no power ---

  bool write(const std::string& path, const void* from, int n, sqlite3_int64 at) {
    const std::lock_guard lock(mutex_);
    if (!step()) return false;
    file_at(path).unsynced.push_back(
        {static_cast<size_t>(at), std::string(static_cast<const char*>(from), static_cast<size_t>(n)), std::nullopt});
    return true;
  }
  bool truncate(const std::string& path, sqlite3_int64 size) {
    const std::lock_guard lock(mutex_);
    if (!step()) return false;
    file_at(path).unsynced.push_back({0, "", static_cast<size_t>(size)});
    return true;
  }
  bool sync(const std::string& path) {
    const std::lock_guard lock(mutex_);
    if (!step()) return false;
    File& file = file_at(path);
    if (sync_fails_one_in_ && random_() % static_cast<uint32_t>(sync_fails_one_in_) == 0) {
      ++failed_syncs_;
      keep_some(file);
      return false;
    }
    if (syncs_ == Syncs::lying) return true;
    for (const Change& change : file.unsynced) apply(file.on_disk, change);
    file.unsynced.clear();
    // The default VFS syncs the folder with a new WAL or journal.
    if (!std::exchange(file.was_synced, true)) sync_folder();
    return true;
  }
  bool remove(const std::string& path, bool and_sync_folder) {
    const std::lock_guard lock(mutex_);
    if (!step()) return false;
    if (const auto found = files_.find(path); found != files_.end()) found->second.removed = true;
    if (and_sync_folder) sync_folder();
    return true;
  }

 private:
  static constexpr size_t kSector = 512;
  struct Change {
    size_t at;
    std::string bytes;
    std::optional<size_t> truncate_to;
  };
  struct File {
    std::string on_disk;
    std::vector<Change> unsynced;
    bool was_synced = false;
    bool removed = false;  // and back, perhaps, while the folder is not synced
  };

  // Of a name that was removed a new file begins.
  File& file_at(const std::string& path) {
    File& file = files_[path];
    if (file.removed) file = File{};
    return file;
  }
  static void apply(std::string& image, const Change& change) {
    if (change.truncate_to) {
      image.resize(*change.truncate_to);
      return;
    }
    if (image.size() < change.at + change.bytes.size()) image.resize(change.at + change.bytes.size());
    image.replace(change.at, change.bytes.size(), change.bytes);
  }
  bool step() {
    if (lost_) return false;
    if (steps_left_ >= 0 && steps_left_-- == 0) lose();
    return !lost_;
  }
  void lose() {
    lost_ = true;
    std::erase_if(files_, [this](const auto& file) { return file.second.removed && random_() % 2; });
    for (auto& [path, file] : files_) keep_some(file);
  }
  void sync_folder() {
    std::erase_if(files_, [](const auto& file) { return file.second.removed; });
  }
  // All, none, a beginning, or any of the pieces in any order: each is what some disk does.
  void keep_some(File& file) {
    std::vector<Change> pieces;
    for (Change& change : file.unsynced) {
      if (change.truncate_to) {
        pieces.push_back(std::move(change));
        continue;
      }
      for (size_t from = 0; from < change.bytes.size();) {
        const size_t end = std::min(change.bytes.size(), from + kSector - (change.at + from) % kSector);
        pieces.push_back({change.at + from, change.bytes.substr(from, end - from), std::nullopt});
        from = end;
      }
    }
    file.unsynced.clear();
    switch (random_() % 4) {
      case 0: break;
      case 1: pieces.clear(); break;
      case 2: pieces.resize(random_() % (pieces.size() + 1)); break;
      default:
        std::shuffle(pieces.begin(), pieces.end(), random_);
        pieces.resize(random_() % (pieces.size() + 1));
        break;
    }
    for (const Change& piece : pieces) apply(file.on_disk, piece);
  }

  std::mutex mutex_;
  std::map<std::string, File> files_;
  std::mt19937 random_;
  int steps_left_ = -1;
  int sync_fails_one_in_ = 0;
  Syncs syncs_ = Syncs::honest;
  bool lost_ = false;
  int failed_syncs_ = 0;
};

namespace power_loss_detail {

struct File {
  sqlite3_file base;
  const char* path;  // SQLite's, which outlives the file
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};
inline File* file_of(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
inline sqlite3_file* real(sqlite3_file* file) { return file_of(file)->real(); }
inline sqlite3_vfs* real_vfs() { return sqlite3_vfs_find("unix"); }
inline PowerLossDisk& disk() { return PowerLossDisk::instance(); }

inline int close(sqlite3_file* f) { return real(f)->pMethods->xClose(real(f)); }
inline int read(sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
  return real(f)->pMethods->xRead(real(f), to, n, at);
}
inline int write(sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
  if (!disk().write(file_of(f)->path, from, n, at)) return SQLITE_IOERR_WRITE;
  return real(f)->pMethods->xWrite(real(f), from, n, at);
}
inline int truncate(sqlite3_file* f, sqlite3_int64 n) {
  if (!disk().truncate(file_of(f)->path, n)) return SQLITE_IOERR_TRUNCATE;
  return real(f)->pMethods->xTruncate(real(f), n);
}
inline int sync(sqlite3_file* f, int) { return disk().sync(file_of(f)->path) ? SQLITE_OK : SQLITE_IOERR_FSYNC; }
inline int file_size(sqlite3_file* f, sqlite3_int64* n) { return real(f)->pMethods->xFileSize(real(f), n); }
inline int lock(sqlite3_file* f, int n) { return real(f)->pMethods->xLock(real(f), n); }
inline int unlock(sqlite3_file* f, int n) { return real(f)->pMethods->xUnlock(real(f), n); }
inline int check_lock(sqlite3_file* f, int* out) { return real(f)->pMethods->xCheckReservedLock(real(f), out); }
// A size hint would be a write that the disk does not see.
inline int control(sqlite3_file* f, int op, void* arg) {
  if (op == SQLITE_FCNTL_SIZE_HINT || op == SQLITE_FCNTL_CHUNK_SIZE) return SQLITE_OK;
  return real(f)->pMethods->xFileControl(real(f), op, arg);
}
inline int sector(sqlite3_file* f) { return real(f)->pMethods->xSectorSize(real(f)); }
inline int traits(sqlite3_file* f) { return real(f)->pMethods->xDeviceCharacteristics(real(f)); }
inline int shm_map(sqlite3_file* f, int page, int size, int extend, void volatile** out) {
  return real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
}
inline int shm_lock(sqlite3_file* f, int offset, int n, int flags) {
  return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}
inline void shm_barrier(sqlite3_file* f) { real(f)->pMethods->xShmBarrier(real(f)); }
inline int shm_unmap(sqlite3_file* f, int flag) { return real(f)->pMethods->xShmUnmap(real(f), flag); }

// Version 2: no memory-mapped reads, which would see no difference but keep files from being cut.
inline int open(sqlite3_vfs*, const char* name, sqlite3_file* f, int flags, int* out) {
  static const sqlite3_io_methods methods = {2,        close,       read,       write,   truncate, sync,   file_size,
                                             lock,     unlock,      check_lock, control, sector,   traits, shm_map,
                                             shm_lock, shm_barrier, shm_unmap,  nullptr, nullptr};
  std::memset(f, 0, sizeof(File));
  const int code = real_vfs()->xOpen(real_vfs(), name, real(f), flags, out);
  if (code != SQLITE_OK) return code;
  // A temporary file has no name and no need to survive.
  if (name && !(flags & SQLITE_OPEN_DELETEONCLOSE)) {
    file_of(f)->path = name;
    f->pMethods = &methods;
    return code;
  }
  real(f)->pMethods->xClose(real(f));
  return SQLITE_CANTOPEN;
}

inline int remove(sqlite3_vfs*, const char* name, int sync_folder) {
  if (!disk().remove(name, sync_folder != 0)) return SQLITE_IOERR_DELETE;
  return real_vfs()->xDelete(real_vfs(), name, sync_folder);
}

}  // namespace power_loss_detail

inline const char* power_loss_vfs() {
  static sqlite3_vfs vfs = [] {
    sqlite3_vfs copy = *power_loss_detail::real_vfs();
    copy.zName = "power-loss";
    copy.pNext = nullptr;
    copy.szOsFile = static_cast<int>(sizeof(power_loss_detail::File)) + power_loss_detail::real_vfs()->szOsFile;
    copy.xOpen = power_loss_detail::open;
    copy.xDelete = power_loss_detail::remove;
    return copy;
  }();
  static const int registered = sqlite3_vfs_register(&vfs, 0);
  (void)registered;
  return "power-loss";
}

}  // namespace trellis::store
