// What the configuration says of reports: how long they are kept, who may be sent one, and which are made again and
// again. Read at the start; pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "config/fields.h"

namespace trellis::services::links {

struct RepeatedReport {
  std::string name;
  std::string cron;
  uint32_t days = 7;  // before the day on which it is made
  std::vector<std::string> by;
  std::string tag;
  std::string format = "csv";
  std::string mail_to;

  static config::Fields<RepeatedReport> fields();
  void check(config::Checker& at) const;
};

struct ReportsConfig {
  Duration keep = std::chrono::hours(24 * 7);
  std::vector<std::string> mail_to;
  std::vector<RepeatedReport> repeat;

  // By the API.
  bool may_mail(std::string_view address) const noexcept;

  static config::Fields<ReportsConfig> fields();
  void check(config::Checker& at) const;
};

struct Fault;
struct ReportQuestion;
// Its days are [0, days).
std::expected<ReportQuestion, Fault> question_of(const RepeatedReport& report);

}  // namespace trellis::services::links
