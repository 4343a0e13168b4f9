#include "cache/disk/disk_load.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "cache/disk/disk_format.h"
#include "cache/disk/disk_store.h"
#include "cache/disk/segment_writer.h"

namespace trellis::cache {
namespace {

constexpr size_t kMostUnreadable = 2;
constexpr size_t kMostReaders = 8;  // for a disk that is quicker when it has more to do at once

struct Found {
  uint64_t number = 0;
  uint64_t bytes = 0;
  std::string path;
  std::unique_ptr<DiskFile> file;
  SegmentContents contents;
  std::optional<Error> error;
};

Result<void> read_found(Disk& disk, Found& found) {
  TRY(found.file, disk.open(found.path, Disk::Open::existing));
  if (found.bytes > 2 * kMaxDiskSegment) return fail(Code::invalid_argument, "larger than any segment");
  TRY(found.contents, read_segment(*found.file));
  if (found.contents.begun) return {};
  if (found.contents.label.number != found.number) return fail(Code::invalid_argument, "another segment's contents");
  if (found.contents.end > kMaxDiskSegment) return fail(Code::invalid_argument, "longer than any segment");
  return {};
}

void read_all(Disk& disk, std::vector<Found>& all) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next.fetch_add(1); i < all.size(); i = next.fetch_add(1)) {
      Result<void> read = read_found(disk, all[i]);
      if (!read) all[i].error.emplace(std::move(read).error());
    }
  };
  std::vector<std::jthread> readers;
  for (size_t i = 1; i < std::min(all.size(), kMostReaders); ++i) readers.emplace_back(work);
  work();
}

// A process that was killed leaves at most its newest segment without a label. Of any other it was lost.
void check_begun(std::vector<Found>& all) {
  for (Found& found : all) {
    if (found.contents.begun && &found != &all.back())
      found.error.emplace(Code::invalid_argument, "no segment's label");
  }
}

// One that cannot be read is given up like a damaged one. When there are more, the disk fails, and nothing is removed.
Result<void> check_disk(std::vector<Found>& all) {
  size_t unreadable = 0;
  for (Found& found : all) {
    if (!found.error || found.error->code() == Code::invalid_argument) continue;
    if (found.error->code() == Code::failed_precondition) continue;
    if (++unreadable > kMostUnreadable) return fail(found.error->clone());
  }
  return {};
}

// Whether the segment stays.
bool check(Found& found, const std::string& cache, DiskCounts& counts) {
  if (found.error) {
    const bool version = found.error->code() == Code::failed_precondition;
    log_warn(version ? "a segment of another version was removed from the disk of a cache"
                     : "a segment on the disk of a cache cannot be read and was removed",
             {{"cache", cache}, {"segment", found.path}, {"error", found.error->to_string()}});
    counts.damaged.add();
    return false;
  }
  if (found.contents.bad > 0) {
    counts.damaged.add(found.contents.bad);
    log_warn("records on the disk of a cache were not whole and are left out",
             {{"cache", cache}, {"segment", found.path}, {"records", found.contents.bad}});
  }
  return !found.contents.entries.empty();
}

}  // namespace

Result<void> check_folder(Disk& disk, const std::string& folder) {
  TRY(const std::vector<Disk::Entry> entries, disk.list(folder));
  for (const Disk::Entry& entry : entries) {
    const bool own = !entry.folder && (entry.name == kDiskLock || number_of_segment(entry.name));
    if (own || entry.name == "lost+found") continue;
    return fail(
        Error(Code::failed_precondition,
              folder + " holds \"" + entry.name + "\", which is not a cache's; a disk cache needs a folder of its own")
            .from(Side::self));
  }
  return {};
}

Result<uint64_t> load_segments(Disk& disk, const std::string& folder, const std::string& cache, DiskIndex& index,
                               SegmentList& segments, DiskCounts& counts) {
  TRY(const std::vector<Disk::Entry> entries, disk.list(folder));
  std::vector<Found> all;
  for (const Disk::Entry& entry : entries) {
    const auto number = number_of_segment(entry.name);
    if (!entry.folder && number) all.push_back({*number, entry.size, folder + "/" + entry.name, nullptr, {}, {}});
  }
  std::sort(all.begin(), all.end(), [](const Found& a, const Found& b) { return a.number < b.number; });
  read_all(disk, all);
  check_begun(all);
  TRY_VOID(check_disk(all));

  uint64_t next = 0;
  for (Found& found : all) {
    next = found.number + 1;
    const uint32_t slot = segments.free_slot();
    if (!check(found, cache, counts) || slot == kMostSlots) {
      (void)disk.remove(found.path);  // else the next start tries again
      continue;
    }
    bool sealed = found.contents.sealed;
    if (!sealed) {
      const Result<uint64_t> size = seal_found(*found.file, found.contents);
      sealed = size.has_value();
      if (size) found.bytes = *size;
    }
    for (const TableEntry& entry : found.contents.entries) {
      if (entry.units > 0) {
        index.put(entry.hash, {slot, entry.unit, entry.units});
      } else {
        index.remove(entry.hash);
      }
    }
    auto segment = std::make_shared<Segment>();
    segment->label = found.contents.label;
    segment->slot = slot;
    segment->path = std::move(found.path);
    segment->file = std::move(found.file);
    segments.add({std::move(segment), found.bytes, sealed});
  }
  return next;
}

}  // namespace trellis::cache
