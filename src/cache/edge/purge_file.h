// The file that keeps a purge book over a restart: its format, its writer's part and its reader. Bytes are
// little-endian, numbers of records are varints.
//
//   header  magic 8 | version u32 | salt u32 | crc32c of these u32 | zero u32
//   frame   length of the payload u32 | crc32c u32 | payload: items
//   item    kind u8 | what it has
//
// A frame is what was written and synced together, and nothing is acknowledged before its frame is on disk; the next
// frame begins after that. So a bad frame with a whole one behind it is damage, and one without is a torn tail, which
// nobody was told of. A frame's checksum covers the salt, a random number, so that bytes of an older file do not pass.
//
// The reader trusts nothing in the file. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cache/edge/purge_rule.h"

namespace trellis::cache {

inline constexpr size_t kPurgeHeader = 24;
inline constexpr size_t kPurgeFrameHeader = 8;
inline constexpr size_t kMaxPurgeFrame = size_t{128} << 20;

// A rule as a book has it.
struct PurgeRecord {
  uint64_t number = 0;         // of this book: what objects are compared with
  int64_t at_ms = 0;           // when it was made, since 1970
  uint64_t origin = 0;         // the node that it was made on
  uint64_t origin_number = 0;  // of that node's book
  PurgeRule rule;

  bool operator==(const PurgeRecord&) const = default;
};

// What a book has of the rules of a node: all of them up to `known`, but no longer those up to `let_go`.
struct PurgeMark {
  uint64_t origin = 0;
  uint64_t known = 0;
  uint64_t let_go = 0;

  bool operator==(const PurgeMark&) const = default;
};

// All rules of a node with numbers in (after, known].
struct PurgeExtent {
  uint64_t origin = 0;
  uint64_t after = 0;
  uint64_t known = 0;

  bool operator==(const PurgeExtent&) const = default;
};

struct PurgeItems {
  std::vector<PurgeRecord> records;
  std::vector<PurgeMark> marks;  // of each node the newest
  std::vector<PurgeExtent> extents;
  uint64_t floor = 0;    // objects whose fill began before this number are dead
  uint64_t retired = 0;  // rules up to this number were let go after all objects had been checked
  uint64_t newest = 0;   // the highest number in it
};

struct PurgeFileContents : PurgeItems {
  uint32_t salt = 0;
  uint64_t end = 0;      // behind the last whole frame
  bool torn = false;     // something follows that was never acknowledged
  bool damaged = false;  // something is wrong before that: what was lost is not known
};

std::string purge_file_header(uint32_t salt);

// Items go into a payload, a payload into a frame.
void append_purge_record(std::string& payload, const PurgeRecord& record);
void append_purge_mark(std::string& payload, const PurgeMark& mark);
void append_purge_extent(std::string& payload, const PurgeExtent& extent);
void append_purge_floor(std::string& payload, uint64_t floor);
void append_purge_retired(std::string& payload, uint64_t number);
void append_purge_newest(std::string& payload, uint64_t newest);
void append_purge_frame(std::string& out, std::string_view payload, uint32_t salt);

// Adds what the payload has; false when it is no row of whole items.
bool read_purge_items(std::string_view payload, PurgeItems& items);

// failed_precondition when a later version wrote it. A file begins with a whole header (it gets its name after it was
// synced), so one without is damaged.
Result<PurgeFileContents> read_purge_file(std::string_view bytes);

}  // namespace trellis::cache
