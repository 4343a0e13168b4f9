// Bodies of POST /v1/reports: what is accepted is asked again as it was written, and the report of it has its form.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/bulk/csv.h"
#include "services/links/reports/report.h"

namespace {

using namespace trellis::services::links;

std::string written(const ReportQuestion& question) {
  std::string out;
  trellis::JsonWriter json(out);
  json.begin_object();
  append_question(json, question);
  json.end_object();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto question = read_report_question(text, 1'767'225'600'000);
  // What strangers write becomes values of dimensions, too.
  ReportQuestion all;
  all.from = 20'000;
  all.to = 20'001;
  all.by = {Dimension::utm_source, Dimension::referrer};
  if (question) {
    const std::string once = written(*question);
    const auto again = read_report_question(once, 0);
    TRELLIS_ASSERT(again && written(*again) == once);
    all.tag = question->tag;
  }
  ReportSums sums(all);
  FiguresRow row{Span::day, 20'000, 1, {}};
  Click click;
  click.agent.device = Device::phone;
  click.utm.source = text.substr(0, 100);
  row.figures.add(click);
  sums.add(row);
  const Report report = sums.report();
  all.format = ReportFormat::json;
  TRELLIS_ASSERT(nlohmann::json::parse(write_report(report, all))["clicks"] == 1);
  all.format = ReportFormat::html;
  TRELLIS_ASSERT(write_report(report, all).find("<script") == std::string::npos);
  all.format = ReportFormat::csv;
  if (text.find('\0') != text.npos) return 0;
  const std::string csv = write_report(report, all);
  CsvReader reader;
  std::string_view rest = csv;
  while (true) {
    const auto step = reader.next(rest);
    TRELLIS_ASSERT(step.has_value());
    if (*step == CsvReader::Step::more) return 0;
    TRELLIS_ASSERT(reader.fields().size() == 5);
    const std::string_view value = reader.fields()[1];
    TRELLIS_ASSERT(value.empty() || std::string_view("=+-@\t\r").find(value.front()) == value.npos);
  }
}
