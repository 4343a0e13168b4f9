// Reports in the store: what was asked for, how far it is, and the file when it is there. Plain functions over a
// connection, as in rows.h. A report and the job that makes it are written together; what became of the job is the
// report's state, so that nothing has to tell it twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/reports/report.h"
#include "store/migrations.h"

namespace trellis::store {
class SqliteConnection;
}

namespace trellis::services::links {

inline constexpr const char* kReportsQueue = "reports";
inline constexpr const char* kMakeReport = "report";
inline constexpr const char* kRepeatReport = "repeat";
inline constexpr const char* kRemoveReports = "remove";
inline constexpr int kReportAttempts = 5;
inline constexpr int64_t kMaxReports = 1000;
inline constexpr size_t kMaxReportFile = size_t{4} << 20;

enum class ReportState : uint8_t { waiting, running, done, failed };
std::string_view to_string(ReportState state) noexcept;

struct ReportRecord {
  int64_t id = 0;
  ReportQuestion question;
  int64_t link = 0;  // of the question's code; 0: none
  ReportState state = ReportState::waiting;
  int percent = 0;
  int64_t size = 0;        // of the file, bytes
  int64_t created_at = 0;  // milliseconds since 1970
  std::optional<int64_t> ended_at;
  std::string error;  // why it failed, or why it will be tried again
};

std::span<const store::Migration> report_migrations() noexcept;

// With its job. 0: there are kMaxReports.
Result<int64_t> insert_report(store::SqliteConnection& db, const ReportQuestion& question, int64_t link, int64_t now);
Result<std::optional<ReportRecord>> find_report(store::SqliteConnection& db, int64_t id);
// Newest first, below `before`.
Result<std::vector<ReportRecord>> list_reports(store::SqliteConnection& db, int64_t before, size_t limit);
Result<void> keep_percent(store::SqliteConnection& db, int64_t id, int percent);
// False: it was deleted, or has its file.
Result<bool> end_report(store::SqliteConnection& db, int64_t id, std::string_view file, int64_t now);
Result<std::optional<std::string>> report_file(store::SqliteConnection& db, int64_t id);
// With its file; a job that has not begun is not done any more.
Result<bool> remove_report(store::SqliteConnection& db, int64_t id);
// A bounded number of those made before this; gives how many.
Result<int64_t> remove_reports(store::SqliteConnection& db, int64_t before);

}  // namespace trellis::services::links
