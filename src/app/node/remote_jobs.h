// The jobs of another node, over its control API: claims wait there until a job comes, settlements go in batches, and
// leases carry their fencing numbers, so the node that keeps the queue decides alone whose a job is. For handlers that
// need nothing of that node's store. While the other node cannot be reached, a claim waits longer with each failure and
// then fails; jobs that were claimed come back there when their leases run out. On the home loop; owned by the app,
// outlives the workers that use it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "config/values.h"
#include "net/resolve.h"
#include "queue/jobs.h"
#include "queue/service_jobs.h"

namespace trellis::app {

struct NodeConfig;

struct RemoteJobsOptions {
  config::HostPort from;
  std::string token;  // "": none
  std::string store;  // its name there; "": the only one
  bool operator==(const RemoteJobsOptions&) const = default;
};

class RemoteJobs final : public queue::JobSource {
 public:
  explicit RemoteJobs(RemoteJobsOptions options)
      : options_(std::move(options)), owner_(options_.from.host, options_.from.port) {}
  const RemoteJobsOptions& options() const noexcept { return options_; }

  Task<Result<std::vector<queue::ClaimedJob>>> claim(std::string queue, size_t max, std::string worker, Duration lease,
                                                     Deadline deadline) override;
  Task<Result<std::vector<queue::Settled>>> settle(std::string queue, std::vector<queue::Settlement> settlements,
                                                   Duration lease, Deadline deadline) override;
  Task<Result<void>> keep_house(Deadline) override { co_return Result<void>(); }  // the other node does
  std::shared_ptr<void> listen(const std::string&, runtime::Event&) override { return nullptr; }

 private:
  Task<Result<std::string>> post(std::string path, std::string query, std::string body, size_t most, Duration wait,
                                 Deadline deadline);

  RemoteJobsOptions options_;
  net::Resolver owner_;
  std::map<std::string, int> failures_;  // in a row, of claims, by queue
};

// The entries of `workers` that do the jobs of other nodes. A node that the plans before reach in the same way stays
// the same, and with it the workers. Reads the files with tokens.
Result<std::vector<queue::WorkerPlan>> plans_of_other_nodes(const NodeConfig& values,
                                                            const std::vector<queue::WorkerPlan>& before);

}  // namespace trellis::app
