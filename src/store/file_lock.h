// The lock beside a store's file: two processes on one file, each with its own idea of who checkpoints, would damage
// it. Held for as long as the store is open; the kernel gives it back when a process ends, however it ends. Owned by
// the store, or by a command that works on the file of a node that is stopped.
#pragma once

#include <string>

#include "base/error.h"

namespace trellis::store {

class FileLock {
 public:
  FileLock() noexcept = default;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

  // `path` of the lock, made where it is missing. failed_precondition with the holder's process: it is taken.
  Result<void> take(const std::string& path);

 private:
  int fd_ = -1;
};

// The path of the file that `path` leads to, over links: a store has one lock, by whatever name it is called. A path
// that is no link, or leads round in circles, stays as it is.
std::string behind_links(const std::string& path);

}  // namespace trellis::store
