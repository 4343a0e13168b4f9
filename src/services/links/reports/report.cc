#include "services/links/reports/report.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

#include "services/links/bulk/csv.h"
#include "services/links/codes.h"
#include "services/links/json_object.h"
#include "services/links/preview.h"
#include "services/mail/message.h"

namespace trellis::services::links {

namespace {

using Json = nlohmann::json;
using Bots = StatsQuestion::Bots;

constexpr int64_t kDay = millis_of(Span::day);
constexpr int64_t kUsualDays = 30;
constexpr size_t kMaxLimit = 500;
constexpr size_t kNoLimit = SIZE_MAX;

constexpr std::array<std::pair<ReportFormat, std::string_view>, 3> kFormats = {
    {{ReportFormat::csv, "csv"}, {ReportFormat::html, "html"}, {ReportFormat::json, "json"}}};
constexpr std::array<std::pair<Bots, std::string_view>, 3> kBots = {
    {{Bots::exclude, "exclude"}, {Bots::only, "only"}, {Bots::all, "all"}}};

std::unexpected<Fault> fault(std::string field, std::string detail) {
  return std::unexpected(Fault{std::move(field), std::move(detail)});
}

std::expected<std::string, Fault> text_of(const Json& value, const char* name) {
  if (!value.is_string()) return fault(name, "This must be text.");
  return value.get<std::string>();
}

std::expected<int64_t, Fault> time_of(const Json& value, const char* name) {
  const std::optional<int64_t> time =
      value.is_string() ? parse_time_or_date(value.get_ref<const std::string&>()) : std::nullopt;
  if (!time) return fault(name, "A time is written as in 2030-01-31T12:00:00Z or 2030-01-31.");
  return *time;
}

std::optional<Fault> read_by(const Json& list, ReportQuestion& out) {
  static const Fault kWrong{"by",
                            "A list of day, link, country, referrer, device, os, browser, language, rule, source, "
                            "utm_source, utm_medium, utm_campaign, utm_term and utm_content."};
  if (!list.is_array() || list.empty()) return kWrong;
  for (const Json& each : list) {
    if (!each.is_string()) return kWrong;
    const std::string& name = each.get_ref<const std::string&>();
    const std::optional<Dimension> dimension = dimension_of(name);
    if (name == "day") {
      out.by_day = true;
    } else if (name == "link") {
      out.by_link = true;
    } else if (!dimension) {
      return kWrong;
    } else if (std::find(out.by.begin(), out.by.end(), *dimension) == out.by.end()) {
      out.by.push_back(*dimension);
    }
  }
  return std::nullopt;
}

std::string day_text(int64_t day) { return format_time(day * kDay).substr(0, 10); }

ReportLine line_of(std::string value, const Figures& figures) {
  return {std::move(value), figures.people(), figures.bots(), figures.visitors()};
}

ReportSection dimension_section(const Figures& all, Dimension dimension, Bots bots, size_t limit) {
  DimensionTable table = dimension_table(all, dimension, bots, limit);
  ReportSection section;
  section.by = to_string(dimension);
  for (auto& [value, clicks] : table.values) section.lines.push_back({std::string(value), clicks, 0, 0});
  section.other = table.other;
  section.none = table.none;
  return section;
}

// Spreadsheets take a cell that begins so for a formula, also by the fullwidth forms of the signs.
bool begins_formula(std::string_view text) noexcept {
  static constexpr std::array<std::string_view, 8> kSigns = {"=",      "+",      "-",      "@",
                                                             "\uff1d", "\uff0b", "\uff0d", "\uff20"};
  return std::any_of(kSigns.begin(), kSigns.end(), [text](std::string_view sign) { return text.starts_with(sign); });
}

// Some of these texts are strangers'. Where a spreadsheet's separator is not the comma, what we quote is not quoted
// there, and a cell begins behind each separator, blanks and quotes put aside.
std::string csv_text(std::string_view text) {
  std::string out;
  if (text.starts_with('\t') || text.starts_with('\r')) out = "'";
  bool begins = true;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (begins && begins_formula(text.substr(i))) out += '\'';
    out += c;
    if (c != ' ' && c != '"') begins = std::string_view(";\t\r\n").find(c) != std::string_view::npos;
  }
  return out;
}

std::string write_csv(const Report& report) {
  std::string out;
  const auto row = [&out](std::string_view by, std::string_view value, const std::array<std::string, 3>& numbers) {
    const std::array<std::string_view, 5> fields = {by, value, numbers[0], numbers[1], numbers[2]};
    append_csv_row(out, fields);
  };
  row("by", "value", {"clicks", "bots", "visitors"});
  row("total", "", {std::to_string(report.clicks), std::to_string(report.bots), std::to_string(report.visitors)});
  for (const ReportSection& section : report.sections) {
    for (const ReportLine& line : section.lines) {
      const std::string bots = section.totals ? std::to_string(line.bots) : "";
      const std::string visitors = section.totals ? std::to_string(line.visitors) : "";
      row(section.by, csv_text(line.value), {std::to_string(line.clicks), bots, visitors});
    }
    if (section.other > 0) row(section.by, "(other)", {std::to_string(section.other), "", ""});
    if (section.none > 0) row(section.by, "(none)", {std::to_string(section.none), "", ""});
  }
  return out;
}

std::string write_json(const Report& report, const ReportQuestion& question) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.member("from", day_text(question.from)).member("to", day_text(question.to));
  if (!question.tag.empty()) json.member("tag", question.tag);
  if (!question.code.empty()) json.member("link", question.code);
  json.member("clicks", report.clicks).member("bots", report.bots).member("visitors", report.visitors);
  json.key("by").begin_object();
  for (const ReportSection& section : report.sections) {
    json.key(section.by).begin_object().key("values").begin_array();
    for (const ReportLine& line : section.lines) {
      json.begin_object().member("value", line.value).member("clicks", line.clicks);
      if (section.totals) json.member("bots", line.bots).member("visitors", line.visitors);
      json.end_object();
    }
    json.end_array().member("other", section.other).member("none", section.none).end_object();
  }
  json.end_object().end_object();
  return out;
}

constexpr std::string_view kPageHead =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n<title>";
constexpr std::string_view kPageStyle =
    "</title>\n<style>\nbody { font-family: sans-serif; margin: 2em auto; max-width: 45em; padding: 0 1em; }\n"
    "table { border-collapse: collapse; margin: 1em 0 2em; width: 100%; }\ncaption { font-weight: bold; "
    "text-align: left; padding: .3em 0; }\nth, td { border-bottom: 1px solid #ccc; padding: .25em .5em; text-align: "
    "right; }\nth:first-child, td:first-child { overflow-wrap: anywhere; text-align: left; "
    "}\n</style>\n</head>\n<body>\n";

// The first `lines` of a section; the rest is among its other clicks.
ReportSection cut(const ReportSection& section, size_t lines) {
  ReportSection out = section;
  for (size_t i = lines; i < out.lines.size(); ++i) out.other += out.lines[i].clicks;
  if (out.lines.size() > lines) out.lines.resize(lines);
  return out;
}

void append_cell(std::string& out, uint64_t number) { out += "<td>" + std::to_string(number) + "</td>"; }

void append_table(std::string& out, const ReportSection& section) {
  out += "<table>\n<caption>" + section.by + "</caption>\n<tr><th scope=\"col\">" + section.by +
         "</th><th scope=\"col\">clicks</th>";
  if (section.totals) out += "<th scope=\"col\">bots</th><th scope=\"col\">visitors</th>";
  out += "</tr>\n";
  const auto row = [&](std::string_view value, const ReportLine& line, bool totals) {
    out += "<tr><td>";
    append_html(out, value);
    out += "</td>";
    append_cell(out, line.clicks);
    if (totals) {
      append_cell(out, line.bots);
      append_cell(out, line.visitors);
    } else if (section.totals) {
      out += "<td></td><td></td>";
    }
    out += "</tr>\n";
  };
  for (const ReportLine& line : section.lines) row(line.value, line, section.totals);
  if (section.other > 0) row("(other)", {{}, section.other}, false);
  if (section.none > 0) row("(none)", {{}, section.none}, false);
  out += "</table>\n";
}

}  // namespace

std::string_view to_string(ReportFormat format) noexcept { return kFormats[static_cast<size_t>(format)].second; }

std::optional<ReportFormat> report_format(std::string_view name) noexcept {
  for (const auto& [format, each] : kFormats) {
    if (each == name) return format;
  }
  return std::nullopt;
}

std::string_view media_type_of(ReportFormat format) noexcept {
  switch (format) {
    case ReportFormat::csv: return "text/csv; charset=utf-8";
    case ReportFormat::html: return "text/html; charset=utf-8";
    case ReportFormat::json: break;
  }
  return "application/json";
}

std::expected<ReportQuestion, Fault> read_report_question(std::string_view body, int64_t now) {
  static constexpr std::array<std::string_view, 9> kMembers = {"from", "to",   "by",     "bots",   "limit",
                                                               "tag",  "link", "format", "mail_to"};
  auto json = read_object(body, kMembers);
  if (!json) return std::unexpected(std::move(json).error());
  ReportQuestion out;
  std::optional<int64_t> from;
  std::optional<int64_t> to;
  for (const auto& [name, value] : json->items()) {
    if (name == "from" || name == "to") {
      const auto time = time_of(value, name.c_str());
      if (!time) return std::unexpected(time.error());
      (name == "from" ? from : to) = *time;
    } else if (name == "by") {
      if (std::optional<Fault> wrong = read_by(value, out)) return std::unexpected(*std::move(wrong));
    } else if (name == "bots") {
      const auto bots =
          std::find_if(kBots.begin(), kBots.end(), [&](const auto& each) { return value == each.second; });
      if (bots == kBots.end()) return fault("bots", "Bots are exclude, only or all.");
      out.bots = bots->first;
    } else if (name == "limit") {
      if (!value.is_number_integer() || value < 1 || value > kMaxLimit)
        return fault("limit", "The limit is a number from 1 to 500.");
      out.limit = value.get<size_t>();
    } else if (name == "tag") {
      const auto tag = text_of(value, "tag");
      if (!tag || !is_tag(*tag)) return fault("tag", "This is no tag.");
      out.tag = *tag;
    } else if (name == "link") {
      const auto code = text_of(value, "link");
      if (!code || !is_code_text(*code)) return fault("link", "This is no code of a link.");
      out.code = *code;
    } else if (name == "format") {
      const auto text = text_of(value, "format");
      const std::optional<ReportFormat> format = text ? report_format(*text) : std::nullopt;
      if (!format) return fault("format", "The format is csv, html or json.");
      out.format = *format;
    } else {
      const auto address = text_of(value, "mail_to");
      if (!address || !mail::is_mail_address(*address))
        return fault("mail_to", "This is no address such as ada@example.org.");
      out.mail_to = *address;
    }
  }
  if (!out.tag.empty() && !out.code.empty()) return fault("link", "There is a tag or a link, not both.");
  // Rounded outwards to whole days; what is not said follows from what is.
  out.to = to ? (*to + kDay - 1) / kDay : now / kDay + 1;
  out.from = from ? *from / kDay : std::max<int64_t>(0, out.to - kUsualDays);
  if (out.from >= out.to) return fault("from", "It must lie before to.");
  if (out.to - out.from > kMostPoints) return fault("from", "These are more than 3,000 days.");
  if (!json->contains("by")) {
    out.by_day = true;
    for (size_t i = 0; i < kDimensions; ++i) out.by.push_back(static_cast<Dimension>(i));
  }
  return out;
}

void append_question(JsonWriter& json, const ReportQuestion& question) {
  json.member("from", day_text(question.from)).member("to", day_text(question.to)).key("by").begin_array();
  if (question.by_day) json.value("day");
  if (question.by_link) json.value("link");
  for (const Dimension dimension : question.by) json.value(to_string(dimension));
  json.end_array().member("bots", kBots[static_cast<size_t>(question.bots)].second).member("limit", question.limit);
  if (!question.tag.empty()) json.member("tag", question.tag);
  if (!question.code.empty()) json.member("link", question.code);
  json.member("format", to_string(question.format));
  if (!question.mail_to.empty()) json.member("mail_to", question.mail_to);
}

void ReportSums::add(const FiguresRow& row) {
  all_.merge(row.figures);
  if (!question_.by_day) return;
  Figures totals = row.figures;
  totals.drop_dimensions();
  days_[row.number].merge(totals);
}

void ReportSums::add_to_link(const FiguresRow& row) {
  Figures totals = row.figures;
  totals.drop_dimensions();
  link_.merge(totals);
}

void ReportSums::end_link(std::string_view code) {
  if (link_.people() + link_.bots() > 0) links_.push_back(line_of(std::string(code), link_));
  link_ = Figures();
}

Report ReportSums::report() const {
  Report out{all_.people(), all_.bots(), all_.visitors(), {}};
  if (question_.by_day) {
    ReportSection& section = out.sections.emplace_back();
    section.by = "day";
    section.totals = true;
    for (const auto& [day, figures] : days_) section.lines.push_back(line_of(day_text(day), figures));
  }
  if (question_.by_link) {
    ReportSection section;
    section.by = "link";
    section.totals = true;
    section.lines = links_;
    std::sort(section.lines.begin(), section.lines.end(), [](const ReportLine& a, const ReportLine& b) {
      return std::tie(b.clicks, b.bots, a.value) < std::tie(a.clicks, a.bots, b.value);
    });
    out.sections.push_back(cut(section, question_.limit));
  }
  for (const Dimension dimension : question_.by)
    out.sections.push_back(dimension_section(all_, dimension, question_.bots, question_.limit));
  return out;
}

std::string write_report(const Report& report, const ReportQuestion& question) {
  switch (question.format) {
    case ReportFormat::csv: return write_csv(report);
    case ReportFormat::html: return report_page(report, question, kNoLimit);
    case ReportFormat::json: break;
  }
  return write_json(report, question);
}

std::string report_title(const ReportQuestion& question) {
  std::string out = "Clicks ";
  if (!question.code.empty()) out += "of " + question.code + " ";
  if (!question.tag.empty()) out += "of links tagged " + question.tag + " ";
  return out + "from " + day_text(question.from) + " to " + day_text(question.to - 1);
}

std::string report_text(const Report& report, const ReportQuestion& question, size_t lines) {
  std::string out = report_title(question) + "\n\n" + std::to_string(report.clicks) + " clicks, " +
                    std::to_string(report.visitors) + " visitors, " + std::to_string(report.bots) + " by bots\n";
  for (const ReportSection& whole : report.sections) {
    const ReportSection section = cut(whole, lines);
    out += "\n" + section.by + "\n";
    for (const ReportLine& line : section.lines) out += "  " + line.value + ": " + std::to_string(line.clicks) + "\n";
    if (section.other > 0) out += "  (other): " + std::to_string(section.other) + "\n";
    if (section.none > 0) out += "  (none): " + std::to_string(section.none) + "\n";
  }
  return out;
}

std::string report_page(const Report& report, const ReportQuestion& question, size_t lines) {
  std::string out(kPageHead);
  append_html(out, report_title(question));
  out += kPageStyle;
  out += "<h1>";
  append_html(out, report_title(question));
  out += "</h1>\n<p>" + std::to_string(report.clicks) + " clicks, " + std::to_string(report.visitors) + " visitors, " +
         std::to_string(report.bots) + " by bots</p>\n";
  for (const ReportSection& section : report.sections) append_table(out, cut(section, lines));
  out += "</body>\n</html>\n";
  return out;
}

}  // namespace trellis::services::links
