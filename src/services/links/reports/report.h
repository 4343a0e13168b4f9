// A report: the clicks of a time by day, link and dimensions, written as a file for people (CSV for a spreadsheet, an
// HTML page) or for programs (JSON). What is asked for, how figures add up to it, how it is written. Pure; any thread.
// The request is foreign: fuzz/services_links_report_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "services/links/clicks/figures_rows.h"
#include "services/links/clicks/stats_json.h"
#include "services/links/link_json.h"

namespace trellis::services::links {

enum class ReportFormat : uint8_t { csv, html, json };
std::string_view to_string(ReportFormat format) noexcept;
std::optional<ReportFormat> report_format(std::string_view name) noexcept;
// With its charset.
std::string_view media_type_of(ReportFormat format) noexcept;

struct ReportQuestion {
  int64_t from = 0;  // days since 1970, [from, to)
  int64_t to = 0;
  bool by_day = false;
  bool by_link = false;
  std::vector<Dimension> by;
  StatsQuestion::Bots bots = StatsQuestion::Bots::exclude;
  size_t limit = 100;  // values of a dimension, and links
  std::string tag;     // only links that carry it
  std::string code;    // only this link; not with a tag
  ReportFormat format = ReportFormat::csv;
  std::string mail_to;  // "": nobody
};

// The body of POST /v1/reports. Without from and to: the last 30 days, today included; without `by`: day and all
// dimensions. `now` in milliseconds since 1970.
std::expected<ReportQuestion, Fault> read_report_question(std::string_view body, int64_t now);
// The members of an object that read_report_question() reads to the same question.
void append_question(JsonWriter& json, const ReportQuestion& question);

// A line of a section. Values of dimensions have clicks only.
struct ReportLine {
  std::string value;
  uint64_t clicks = 0;
  uint64_t bots = 0;
  uint64_t visitors = 0;
};
struct ReportSection {
  std::string by;
  bool totals = false;  // its lines have bots and visitors
  std::vector<ReportLine> lines;
  uint64_t other = 0;  // clicks of what is not listed
  uint64_t none = 0;   // clicks without a value
};
struct Report {
  uint64_t clicks = 0;
  uint64_t bots = 0;
  uint64_t visitors = 0;
  std::vector<ReportSection> sections;
};

// Takes figures of days as they are read and keeps no more of them than the report needs.
class ReportSums {
 public:
  explicit ReportSums(ReportQuestion question) : question_(std::move(question)) {}
  const ReportQuestion& question() const noexcept { return question_; }

  // To the whole.
  void add(const FiguresRow& row);
  // To the link that is being read, and its end. For reports by link.
  void add_to_link(const FiguresRow& row);
  void end_link(std::string_view code);
  Report report() const;

 private:
  ReportQuestion question_;
  Figures all_;
  Figures link_;                     // of the one being read
  std::map<int64_t, Figures> days_;  // without their dimensions
  std::vector<ReportLine> links_;
};

std::string write_report(const Report& report, const ReportQuestion& question);
// The same with at most `lines` lines a section, as the text and the page of a mail.
std::string report_text(const Report& report, const ReportQuestion& question, size_t lines);
std::string report_page(const Report& report, const ReportQuestion& question, size_t lines);
// "Clicks from 2026-11-01 to 2026-11-07", both included.
std::string report_title(const ReportQuestion& question);

}  // namespace trellis::services::links
