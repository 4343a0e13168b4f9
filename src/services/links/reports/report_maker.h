// Makes reports: the handlers of the jobs in the queue `reports`. Figures are read in pieces, so that neither the
// writer nor a thread is held for long; the file, the mail that brings it and the end of the job are one write, so that
// after a crash there is none of them or all, once. Also the schedule that removes old reports and those that repeat
// some. On the home loop; owned by the service.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/time.h"
#include "queue/worker.h"
#include "runtime/task.h"
#include "services/links/reports/report_config.h"

namespace trellis::queue {
class ServiceJobs;
}
namespace trellis::store {
class SqliteStore;
}

namespace trellis::services::links {

class ReportMaker {
 public:
  // Borrows the store. `base_url`: what URLs in mails begin with, without a slash at its end.
  ReportMaker(store::SqliteStore& store, ReportsConfig config, std::string base_url)
      : store_(store), config_(std::move(config)), base_url_(std::move(base_url)) {}

  // Adds tables, and where somebody does jobs handlers and schedules; after the tables of links.
  Task<Result<void>> start(queue::ServiceJobs* jobs, Clock& clock);

 private:
  Task<Result<queue::Done>> make(queue::Lease lease, std::string payload, Deadline deadline);
  Task<Result<queue::Done>> repeat(queue::Lease lease, std::string payload, Deadline deadline);
  Task<Result<queue::Done>> remove_old(Deadline deadline);

  store::SqliteStore& store_;
  ReportsConfig config_;
  std::string base_url_;
  queue::ServiceJobs* jobs_ = nullptr;
  Clock* clock_ = nullptr;
};

}  // namespace trellis::services::links
