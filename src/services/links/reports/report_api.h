// /v1/reports: reports are asked for, looked after, fetched and deleted. Making one is a job (report_maker.h); a
// request waits for nothing but the write of the wish. Owned by the service; any core.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "http/routes.h"
#include "runtime/task.h"

namespace trellis::queue {
class JobQueue;
}

namespace trellis::services::links {

class LinkBook;
struct ReportsConfig;

class ReportApi {
 public:
  // Borrows both.
  ReportApi(LinkBook& book, const ReportsConfig& config) noexcept : book_(book), config_(config) {}
  // Before mount(). Null: nobody is woken.
  void set_jobs(queue::JobQueue* jobs) noexcept { jobs_ = jobs; }
  void mount(http::Routes& routes);  // describe_reports.cc

 private:
  Task<Result<http::Response>> create(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> list(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> show(http::Request& request, http::RequestContext& context, std::string_view id);
  Task<Result<http::Response>> file(http::RequestContext& context, std::string_view id);
  Task<Result<http::Response>> remove(http::RequestContext& context, std::string_view id);

  LinkBook& book_;
  const ReportsConfig& config_;
  queue::JobQueue* jobs_ = nullptr;
};

}  // namespace trellis::services::links
