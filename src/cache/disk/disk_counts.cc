#include "cache/disk/disk_counts.h"

namespace trellis::cache {

DiskCounts::DiskCounts(Metrics& metrics, const std::string& cache)
    : written(metrics.counter("trellis_cache_disk_written_total", "Objects written to the disk of a cache.",
                              {{"cache", cache}})),
      evicted(metrics.counter("trellis_cache_evictions_total", "Objects that left the cache.",
                              {{"cache", cache}, {"reason", "disk_capacity"}})),
      moved(metrics.counter("trellis_cache_disk_moved_total",
                            "Objects that were asked for and so taken along from the oldest segment of a cache.",
                            {{"cache", cache}})),
      damaged(metrics.counter("trellis_cache_disk_damaged_total",
                              "Objects and tables on the disk of a cache that were not as they were written.",
                              {{"cache", cache}})),
      refused(metrics.counter("trellis_cache_disk_refused_total",
                              "Objects that a cache did not get to its disk: too many waited, or the disk failed.",
                              {{"cache", cache}})) {}

}  // namespace trellis::cache
