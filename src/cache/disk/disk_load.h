// The start of a store: from the segments in its folder to the list of them and the index. Blocks; before any other
// thread uses the two.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "cache/disk/disk_counts.h"
#include "cache/disk/disk_index.h"
#include "cache/disk/segment_list.h"
#include "runtime/disk.h"

namespace trellis::cache {

inline constexpr const char* kDiskLock = "lock";  // the name of the file by which one process has the folder

// failed_precondition: there are files that are no store's.
Result<void> check_folder(Disk& disk, const std::string& folder);

// The number for the next segment. Segments of other versions, damaged ones and empty ones are removed from the folder.
// On an error nothing has changed.
Result<uint64_t> load_segments(Disk& disk, const std::string& folder, const std::string& cache, DiskIndex& index,
                               SegmentList& segments, DiskCounts& counts);

}  // namespace trellis::cache
