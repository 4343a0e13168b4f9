// A disk with faults for SQLite: writes that find it full, syncs that fail, from the moment a test says so. Registered
// once a process under the name "faulty"; everything else is the default VFS. Any thread.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <cstring>
#include <new>

namespace trellis::store {

struct DiskFaults {
  std::atomic<bool> full{false};
  std::atomic<bool> sync_fails{false};
  std::atomic<bool> open_fails{false};
  std::atomic<int> syncs{0};
};

inline DiskFaults& disk_faults() {
  static DiskFaults faults;
  return faults;
}

namespace fault_vfs_detail {

struct File {
  sqlite3_file base;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};
inline File* file_of(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
inline sqlite3_vfs* real_vfs() { return sqlite3_vfs_find("unix"); }

inline int close(sqlite3_file* f) { return file_of(f)->real()->pMethods->xClose(file_of(f)->real()); }
inline int read(sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
  return file_of(f)->real()->pMethods->xRead(file_of(f)->real(), to, n, at);
}
inline int write(sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
  if (disk_faults().full) return SQLITE_FULL;
  return file_of(f)->real()->pMethods->xWrite(file_of(f)->real(), from, n, at);
}
inline int truncate(sqlite3_file* f, sqlite3_int64 n) {
  return file_of(f)->real()->pMethods->xTruncate(file_of(f)->real(), n);
}
inline int sync(sqlite3_file* f, int flags) {
  ++disk_faults().syncs;
  if (disk_faults().sync_fails) return SQLITE_IOERR_FSYNC;
  return file_of(f)->real()->pMethods->xSync(file_of(f)->real(), flags);
}
inline int file_size(sqlite3_file* f, sqlite3_int64* n) {
  return file_of(f)->real()->pMethods->xFileSize(file_of(f)->real(), n);
}
inline int lock(sqlite3_file* f, int n) { return file_of(f)->real()->pMethods->xLock(file_of(f)->real(), n); }
inline int unlock(sqlite3_file* f, int n) { return file_of(f)->real()->pMethods->xUnlock(file_of(f)->real(), n); }
inline int check_lock(sqlite3_file* f, int* out) {
  return file_of(f)->real()->pMethods->xCheckReservedLock(file_of(f)->real(), out);
}
inline int control(sqlite3_file* f, int op, void* arg) {
  return file_of(f)->real()->pMethods->xFileControl(file_of(f)->real(), op, arg);
}
inline int sector(sqlite3_file* f) { return file_of(f)->real()->pMethods->xSectorSize(file_of(f)->real()); }
inline int traits(sqlite3_file* f) { return file_of(f)->real()->pMethods->xDeviceCharacteristics(file_of(f)->real()); }
inline int shm_map(sqlite3_file* f, int page, int size, int extend, void volatile** out) {
  return file_of(f)->real()->pMethods->xShmMap(file_of(f)->real(), page, size, extend, out);
}
inline int shm_lock(sqlite3_file* f, int offset, int n, int flags) {
  return file_of(f)->real()->pMethods->xShmLock(file_of(f)->real(), offset, n, flags);
}
inline void shm_barrier(sqlite3_file* f) { file_of(f)->real()->pMethods->xShmBarrier(file_of(f)->real()); }
inline int shm_unmap(sqlite3_file* f, int flag) {
  return file_of(f)->real()->pMethods->xShmUnmap(file_of(f)->real(), flag);
}

inline int open(sqlite3_vfs*, const char* name, sqlite3_file* f, int flags, int* out) {
  static const sqlite3_io_methods methods = {2,        close,       read,       write,   truncate, sync,   file_size,
                                             lock,     unlock,      check_lock, control, sector,   traits, shm_map,
                                             shm_lock, shm_barrier, shm_unmap,  nullptr, nullptr};
  std::memset(f, 0, sizeof(File));
  if (disk_faults().open_fails) return SQLITE_CANTOPEN;
  const int code = real_vfs()->xOpen(real_vfs(), name, file_of(f)->real(), flags, out);
  if (code == SQLITE_OK) f->pMethods = &methods;
  return code;
}

}  // namespace fault_vfs_detail

inline const char* faulty_vfs() {
  static sqlite3_vfs vfs = [] {
    sqlite3_vfs copy = *fault_vfs_detail::real_vfs();
    copy.zName = "faulty";
    copy.pNext = nullptr;
    copy.szOsFile = static_cast<int>(sizeof(fault_vfs_detail::File)) + fault_vfs_detail::real_vfs()->szOsFile;
    copy.xOpen = fault_vfs_detail::open;
    return copy;
  }();
  static const int registered = sqlite3_vfs_register(&vfs, 0);
  (void)registered;
  return "faulty";
}

}  // namespace trellis::store
