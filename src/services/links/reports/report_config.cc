#include "services/links/reports/report_config.h"

#include <algorithm>
#include <set>

#include "base/json.h"
#include "http/fields.h"
#include "queue/jobs_rows.h"
#include "queue/schedule.h"
#include "services/links/reports/report.h"
#include "services/mail/message.h"

namespace trellis::services::links {

using namespace std::chrono_literals;

namespace {

// An address, or *@domain.
bool is_recipient(std::string_view text) noexcept {
  if (text.starts_with("*@")) return mail::is_mail_address("a" + std::string(text.substr(1)));
  return mail::is_mail_address(text);
}

}  // namespace

config::Fields<RepeatedReport> RepeatedReport::fields() {
  return {
      {"name", "1 to 40 of A-Z a-z 0-9 - _ .", &RepeatedReport::name, config::kRequired},
      {"cron", "when it is made, in UTC, such as 0 6 * * mon", &RepeatedReport::cron, config::kRequired},
      {"days", "it is about so many days before the one on which it is made", &RepeatedReport::days,
       config::range(1, kMostPoints)},
      {"by", "day, link and dimensions of clicks; absent: day and all dimensions", &RepeatedReport::by},
      {"tag", "only links that carry it; absent: all", &RepeatedReport::tag},
      {"format", "csv, html or json", &RepeatedReport::format},
      {"mail_to", "who is sent it; absent: nobody", &RepeatedReport::mail_to},
  };
}

void RepeatedReport::check(config::Checker& at) const {
  if (!queue::is_job_name(name) || name.size() > 40) at.problem("name", "a name is 1 to 40 of A-Z a-z 0-9 - _ .");
  if (const auto schedule = queue::Cron::parse(cron); !schedule) at.problem("cron", schedule.error().what());
  if (const auto question = question_of(*this); !question) at.problem(question.error().field, question.error().detail);
}

config::Fields<ReportsConfig> ReportsConfig::fields() {
  return {
      {"keep", "how long a report is kept", &ReportsConfig::keep, config::range(1h, 24h * 400)},
      {"mail_to",
       "who may be sent a report by the API: addresses, or *@example.com for all of a domain; absent: nobody",
       &ReportsConfig::mail_to},
      {"repeat", "reports that are made again and again", &ReportsConfig::repeat},
  };
}

void ReportsConfig::check(config::Checker& at) const {
  for (size_t i = 0; i < mail_to.size(); ++i) {
    if (!is_recipient(mail_to[i]))
      at.problem("mail_to[" + std::to_string(i) + "]", "an address, or *@ and a domain",
                 "mail_to: [\"*@example.com\"]");
  }
  std::set<std::string> names;
  for (size_t i = 0; i < repeat.size(); ++i) {
    if (!names.insert(repeat[i].name).second)
      at.problem("repeat[" + std::to_string(i) + "].name", "another report has this name");
  }
}

// Domains are the same in any case of letters; what stands before the @ is its server's business.
bool ReportsConfig::may_mail(std::string_view address) const noexcept {
  const size_t mark = address.rfind('@');
  if (mark == address.npos) return false;
  return std::any_of(mail_to.begin(), mail_to.end(), [&](std::string_view each) {
    const size_t its_mark = each.rfind('@');
    return http::iequal(each.substr(its_mark), address.substr(mark)) &&
           (each.starts_with("*@") || each.substr(0, its_mark) == address.substr(0, mark));
  });
}

std::expected<ReportQuestion, Fault> question_of(const RepeatedReport& report) {
  std::string text;
  JsonWriter json(text);
  json.begin_object().member("from", "1970-01-01").member("format", report.format);
  if (!report.by.empty()) {
    json.key("by").begin_array();
    for (const std::string& each : report.by) json.value(each);
    json.end_array();
  }
  if (!report.tag.empty()) json.member("tag", report.tag);
  if (!report.mail_to.empty()) json.member("mail_to", report.mail_to);
  json.end_object();
  auto question = read_report_question(text, 0);
  if (question) question->to = report.days;
  return question;
}

}  // namespace trellis::services::links
