#include "services/links/reports/report_api.h"

#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "http/problem.h"
#include "http/target.h"
#include "queue/jobs.h"
#include "runtime/loop.h"
#include "services/links/answers.h"
#include "services/links/idempotency.h"
#include "services/links/link_book.h"
#include "services/links/reports/report.h"
#include "services/links/reports/report_config.h"
#include "services/links/reports/report_rows.h"
#include "services/links/resource.h"
#include "store/sqlite.h"

namespace trellis::services::links {

using http::FieldId;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

using store::SqliteConnection;

Response no_report(RequestContext& context) { return refuse(context, 404, "not_found", "There is no such report."); }

void append_report(std::string& out, const ReportRecord& report) {
  JsonWriter json(out);
  json.begin_object().member("id", report.id).member("state", to_string(report.state));
  json.member("progress", report.percent);
  append_question(json, report.question);
  json.member("created_at", format_time(report.created_at));
  if (report.ended_at) json.member("ended_at", format_time(*report.ended_at));
  if (report.state == ReportState::done) {
    json.member("size", report.size).member("file", "/v1/reports/" + std::to_string(report.id) + "/file");
  }
  if (!report.error.empty()) json.member("error", report.error);
  json.end_object();
}

Response report_answer(RequestContext& context, const ReportRecord& report) {
  std::string body;
  append_report(body, report);
  return json_answer(context, 200, std::move(body));
}

// `made`: its code is the report's number.
Response made_answer(RequestContext& context, Replay made) {
  Response response = json_answer(context, made.status, std::move(made.body));
  response.fields.add_copy(FieldId::location, "/v1/reports/" + made.code);
  return response;
}

struct FileFound {
  ReportRecord report;
  std::optional<std::string> bytes;
};

}  // namespace

Task<Result<Response>> ReportApi::create(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, true, false)) co_return *std::move(refused);
  if (std::optional<Response> refused = refuse_key(request, context)) co_return *std::move(refused);
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  const Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  const int64_t now = unix_millis(context.loop.wall());
  const IdempotencyKey key = key_of(request, "/v1/reports", *body);
  auto looking = first_answer(book_.store(), key, now, context.deadline);
  Result<std::optional<Replay>> first = co_await looking;
  if (!first) co_return http::response_for(first.error(), context);
  if (*first) co_return made_answer(context, **std::move(first));
  auto question = read_report_question(*body, now);
  if (!question) co_return refuse(context, question.error());
  if (!question->mail_to.empty() && !config_.may_mail(question->mail_to)) {
    co_return http::field_problem(context, 403, "recipient_not_allowed", "mail_to",
                                  "The configuration allows no mail to this address.");
  }
  int64_t link = 0;
  if (!question->code.empty()) {
    auto finding = book_.find(question->code, context.deadline);
    const Result<std::optional<Link>> found = co_await finding;
    if (!found) co_return http::response_for(found.error(), context);
    if (!*found) co_return not_found(context);
    if ((*found)->deleted) co_return gone(context);
    link = (*found)->id;
  }
  auto insert = [question = *std::move(question), link, now](SqliteConnection& db) -> Result<std::optional<Replay>> {
    TRY(const int64_t id, insert_report(db, question, link, now));
    TRY(const std::optional<ReportRecord> report, find_report(db, id));
    if (!report) return std::optional<Replay>();
    Replay answer{.request = {}, .status = 202, .code = std::to_string(id), .body = {}, .etag = {}};
    append_report(answer.body, *report);
    return std::optional<Replay>(std::move(answer));
  };
  auto write = [key, now, insert = std::move(insert)](SqliteConnection& db) { return make_once(db, key, now, insert); };
  auto writing = book_.store().write(std::move(write), context.deadline);
  Result<MadeOnce> made = co_await writing;
  if (!made) co_return http::response_for(made.error(), context);
  switch (made->kind) {
    case MadeOnce::Kind::refused:
      co_return refuse(context, 409, "too_many_reports", "There are 1,000 reports already; delete some.");
    case MadeOnce::Kind::key_reused: co_return key_reused(context);
    case MadeOnce::Kind::made:
      if (jobs_) jobs_->announce(kReportsQueue, 1);
      break;
    case MadeOnce::Kind::replayed: break;
  }
  co_return made_answer(context, std::move(made->answer));
}

Task<Result<Response>> ReportApi::list(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  size_t limit = 20;
  int64_t before = INT64_MAX;
  std::string_view query = request.query;
  while (const auto parameter = http::next_parameter(query)) {
    const std::string_view value = parameter->value;
    if (parameter->key == "limit") {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), limit);
      if (error != std::errc() || end != value.data() + value.size() || limit < 1 || limit > 100)
        co_return http::field_problem(context, 400, "invalid_argument", "limit",
                                      "The limit is a number from 1 to 100.");
    } else if (parameter->key == "cursor") {
      const std::optional<int64_t> id = id_of_cursor(value);
      if (!id)
        co_return http::field_problem(context, 400, "invalid_argument", "cursor", "This cursor was not made here.");
      before = *id;
    } else {
      co_return http::field_problem(context, 400, "unknown_parameter", parameter->key.substr(0, 64),
                                    "There is limit and cursor.");
    }
  }
  auto reading = book_.store().read(
      [before, limit](SqliteConnection& db) { return list_reports(db, before, limit + 1); }, context.deadline);
  Result<std::vector<ReportRecord>> reports = co_await reading;
  if (!reports) co_return http::response_for(reports.error(), context);
  const bool more = reports->size() > limit;
  if (more) reports->pop_back();
  std::string body = "{\"items\":[";
  for (const ReportRecord& report : *reports) {
    if (body.back() != '[') body += ',';
    append_report(body, report);
  }
  body += "],\"next\":";
  if (more) {
    append_json(body, cursor_of(reports->back().id));
  } else {
    body += "null";
  }
  body += '}';
  co_return json_answer(context, 200, std::move(body));
}

Task<Result<Response>> ReportApi::show(Request& request, RequestContext& context, std::string_view id) {
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  auto reading = book_.store().read(
      [number = number_of(id).value_or(0)](SqliteConnection& db) { return find_report(db, number); }, context.deadline);
  const Result<std::optional<ReportRecord>> report = co_await reading;
  if (!report) co_return http::response_for(report.error(), context);
  if (!*report) co_return no_report(context);
  co_return report_answer(context, **report);
}

Task<Result<Response>> ReportApi::file(RequestContext& context, std::string_view id) {
  auto read = [number = number_of(id).value_or(0)](SqliteConnection& db) -> Result<std::shared_ptr<FileFound>> {
    TRY(std::optional<ReportRecord> report, find_report(db, number));
    if (!report) return std::shared_ptr<FileFound>();
    auto found = std::make_shared<FileFound>();
    found->report = *std::move(report);
    TRY(found->bytes, report_file(db, number));
    return found;
  };
  auto reading = book_.store().read(std::move(read), context.deadline);
  const Result<std::shared_ptr<FileFound>> found = co_await reading;
  if (!found) co_return http::response_for(found.error(), context);
  if (!*found) co_return no_report(context);
  const ReportRecord& report = (*found)->report;
  if (!(*found)->bytes)
    co_return refuse(context, 409, "not_ready", "The report is not there yet; its state tells how far it is.");
  Response response(context.arena, 200);
  response.fields.add(FieldId::content_type, media_type_of(report.question.format));
  response.fields.add_copy("Content-Disposition", "attachment; filename=\"report-" + std::to_string(report.id) + "." +
                                                      std::string(to_string(report.question.format)) + "\"");
  response.fields.add(FieldId::cache_control, "private, no-store");
  // Who opens the page in a browser opens text of strangers at this service's origin.
  response.fields.add("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox");
  response.fields.add("X-Content-Type-Options", "nosniff");
  response.body = http::Body(*std::move((*found)->bytes));
  co_return response;
}

Task<Result<Response>> ReportApi::remove(RequestContext& context, std::string_view id) {
  auto writing = book_.store().write(
      [number = number_of(id).value_or(0)](SqliteConnection& db) { return remove_report(db, number); },
      context.deadline);
  const Result<bool> removed = co_await writing;
  if (!removed) co_return http::response_for(removed.error(), context);
  if (!*removed) co_return no_report(context);
  co_return Response(context.arena, 204);
}

}  // namespace trellis::services::links
