// Takes away links that expired long ago: a repeated job of the service. Such a link becomes a tombstone as if somebody
// had deleted it: its address, title, tags and counts go, its code answers 410 for ever and is given to nobody else. In
// small pieces, each one write, so others come in between; a job that is cut off or done twice does no harm. The
// handler runs on the home loop; the book and what it stands on outlive the jobs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "base/time.h"
#include "runtime/task.h"

namespace trellis::queue {
class ServiceJobs;
}

namespace trellis::services::links {

class LinkBook;

inline constexpr const char* kLinksQueue = "links";
inline constexpr const char* kRemoveExpired = "remove-expired";

// Adds the job and its schedule, each hour; after the book's start. `after`: how long a link stays once it has expired.
Task<Result<void>> start_expiry(queue::ServiceJobs& jobs, LinkBook& book, Clock& clock, Duration after);

// Those that expired before `before` (milliseconds since 1970), all of them unless the deadline comes first. Gives how
// many.
Task<Result<size_t>> remove_expired(LinkBook& book, int64_t before, int64_t now, Deadline deadline);

}  // namespace trellis::services::links
