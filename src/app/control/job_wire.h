// What a worker node and the node that keeps the queue say to each other over the control API (control_workers.cc,
// remote_jobs.h): the bodies of POST /v1/jobs/claim and /v1/jobs/settle, as JSON with payloads in base64. Reading is
// strict and takes nothing beyond the limits of JobQueue: fuzz/app_job_wire_fuzz.cc. Pure; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "queue/jobs.h"

namespace trellis::app {

inline constexpr size_t kMaxClaimed = 64;                            // jobs of one answer
inline constexpr size_t kMaxClaimedBody = size_t{32} << 20;          // of that many, with their payloads
inline constexpr size_t kMaxSettlementsBody = size_t{4} << 20;       // of queue::kMaxBatch, with errors
inline constexpr Duration kMaxClaimWait = std::chrono::seconds(20);  // of a claim that finds nothing

std::string write_claimed(std::span<const queue::ClaimedJob> jobs);
Result<std::vector<queue::ClaimedJob>> read_claimed(std::string_view json);

std::string write_settlements(std::span<const queue::Settlement> settlements);
Result<std::vector<queue::Settlement>> read_settlements(std::string_view json);

std::string write_settled(std::span<const queue::Settled> outcomes);
// `wanted`: how many there must be.
Result<std::vector<queue::Settled>> read_settled(std::string_view json, size_t wanted);

}  // namespace trellis::app
