// One active check of one host: connects, asks and judges what comes, all of it in the configured time. A good host is
// a Result with what it did ("answered 200"), a bad one an Error whose text is the reason for people ("answered 503,
// expected 200-399", "no connection: Connection refused", "no answer in 2s"). It has a connection of its own, which it
// closes: what is checked is what a new client would find. On the core that calls it.
#pragma once

#include <string>

#include "base/error.h"
#include "runtime/task.h"
#include "upstream/health/config.h"

namespace trellis::upstream {

struct HostFacts;

inline constexpr size_t kMaxChecked = 64 * 1024;  // bytes of a body, or of what a tcp check reads

// Both outlive the task.
Task<Result<std::string>> check_host(const HostFacts& host, const HealthConfig& config);

}  // namespace trellis::upstream
