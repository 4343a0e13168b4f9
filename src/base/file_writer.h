// Appends lines to a file off the hot path. Each thread that writes has its own ring buffer (one producer, one
// consumer, no lock): try_write copies a line into it and returns. One background thread of the process empties the
// rings of all writers, at the latest every 100 ms; it alone calls write(2). A ring rather than two swapped buffers, so
// that the lines of a core that has gone quiet need nobody's help to reach the file. When a ring is full (slow or full
// disk), lines are dropped and counted; a failed write is repeated at the next tick, so a disk that has room again goes
// on where it stopped. Lines are never torn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"

namespace trellis {
inline namespace base {

class FileWriter {
 public:
  struct Options {
    std::string path;             // "stdout" and "stderr" name the standard streams
    size_t buffer = 1024 * 1024;  // bytes a writing thread, rounded up to a power of two
    unsigned mode = 0640;         // of a file that is made
  };
  // Opens for appending, makes the file when it is missing (not its folder). May wait for a write that is under way.
  static Result<std::unique_ptr<FileWriter>> open(Options options);

  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  // Writes what waits, then closes; blocks meanwhile. Lines that the disk does not take are lost, with a line in the
  // log. No thread may be inside try_write any more.
  ~FileWriter();

  // Copies whole lines, line feed included, into the calling thread's ring. false: dropped and counted. Any thread, no
  // lock, no allocation after a thread's first call.
  bool try_write(std::string_view lines) noexcept;

  // The same without the copy: room for at most `max` bytes, nullptr when there is none (counted). Then commit(size <=
  // max) on the same thread, with nothing of this writer in between; commit(0) gives the room back.
  char* try_begin(size_t max) noexcept;
  void commit(size_t size) noexcept;

  // Opens the path anew, for log rotation: lines written before the call go to the old file. Returns at once; when the
  // path cannot be opened, the old file stays in use and the failure is logged. Any thread.
  void reopen() noexcept;
  // Waits until everything written before the call was handed to the kernel or could not be, and a reopen asked for was
  // done. Blocks: not for loop threads.
  void flush() noexcept;

  uint64_t dropped() const noexcept;         // lines that found no room
  uint64_t write_failures() const noexcept;  // write(2) or open(2) that failed
  uint64_t written_bytes() const noexcept;
  const std::string& path() const noexcept;

  struct Impl;  // of the .cc

 private:
  explicit FileWriter(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace base
}  // namespace trellis
