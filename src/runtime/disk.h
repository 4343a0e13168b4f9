// What those who keep records of their own in files ask of a file system (the event log, a cache's disk tier and its
// purges), and nothing more: a seam, so that tests put a disk under them that fills up, fails, reorders what was not
// synced and loses power (tests/fakes/faulty_disk.h). Calls block; they are made by threads of their own and by the
// blocking pool, never by a loop. A DiskFile may be read by several threads while one writes behind what they read; it
// stays readable when its name is replaced or removed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace trellis {
inline namespace runtime {

// What a file opened with create_direct is written by: positions, sizes and addresses are multiples of it.
inline constexpr size_t kDirectBlock = 4096;
inline constexpr size_t kWrittenForGood = size_t{64} << 10;  // as large as the largest pages are

class DiskFile {
 public:
  virtual ~DiskFile() = default;
  // Bytes read; fewer than asked for only at the end of the file.
  virtual Result<size_t> read(uint64_t position, std::span<char> into) = 0;
  // The same, but only when all of it is in memory already, so that a loop may call it; else nullopt.
  virtual Result<std::optional<size_t>> read_cached(uint64_t /*position*/, std::span<char> /*into*/) {
    return std::nullopt;
  }
  // All of it, or an error after any part of it.
  virtual Result<void> write(uint64_t position, std::string_view bytes) = 0;
  virtual Result<void> sync() = 0;  // contents and size are on disk
  virtual Result<void> truncate(uint64_t size) = 0;
  // Makes the file at least so long, zeros behind what is there, with room for all of it where the file system can set
  // room aside; resource_exhausted when there is not as much.
  virtual Result<void> reserve(uint64_t size) = 0;
  virtual Result<uint64_t> size() = 0;
};

class Disk {
 public:
  struct Entry {
    std::string name;
    bool folder = false;
    uint64_t size = 0;
  };
  // create_direct: a new, empty file, to be written in whole kDirectBlocks, past the page cache where the file system
  // can do that and as soon as possible elsewhere. It is read past the page cache, too, in pieces of any size: pages
  // kept there would be in the way of writes. existing_exact: nothing but what is read comes into the page cache. So
  // may be read what create_direct writes, up to the last multiple of kWrittenForGood that is not written any more.
  enum class Open : uint8_t { existing, create, create_empty, create_direct, existing_exact };

  virtual ~Disk() = default;
  virtual Result<std::unique_ptr<DiskFile>> open(const std::string& path, Open how) = 0;
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<void> remove(const std::string& path) = 0;       // missing: no error
  virtual Result<void> make_folder(const std::string& path) = 0;  // with its parents; existing: no error
  virtual Result<void> sync_folder(const std::string& path) = 0;  // names made, replaced and removed in it are on disk
  virtual Result<std::vector<Entry>> list(const std::string& folder) = 0;  // sorted by name
  // Held for as long as the value lives; failed_precondition when another process has it.
  virtual Result<std::shared_ptr<void>> lock(const std::string& path) = 0;
};

// The machine's own. One for the process, any thread.
Disk& system_disk() noexcept;

}  // namespace runtime
}  // namespace trellis
