// What people ask of clicks: the statistics of a link and of all of them, and clicks as they come.
#include <utility>

#include "http/busy.h"
#include "http/problem.h"
#include "http/target.h"
#include "services/links/answers.h"
#include "services/links/clicks/click_stream.h"
#include "services/links/clicks/figures_range.h"
#include "services/links/clicks/stats_json.h"
#include "services/links/domains/domain_json.h"
#include "services/links/links.h"
#include "store/sqlite.h"
#include "store/sqlite_connection.h"

namespace trellis::services::links {

namespace {

Result<std::string> stats_body(store::SqliteConnection& db, int64_t link, const StatsQuestion& question,
                               const std::string& code) {
  TRY_VOID(db.execute("BEGIN"));  // clicks are counted meanwhile
  const Result<FiguresRange> range = sum_figures(db, link, question.step, question.from, question.to);
  TRY_VOID(db.execute("COMMIT"));
  if (!range) return fail(range.error().clone());
  std::string body;
  append_stats(body, question, *range, code);
  return body;
}

}  // namespace

using http::FieldId;
using http::Request;
using http::RequestContext;
using http::Response;

Task<Result<Response>> LinksService::stats(Request& request, RequestContext& context, std::string_view code) {
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  auto question = read_stats_question(request.query, unix_millis(context.loop.wall()), context.arena);
  if (!question) co_return refuse(context, question.error());
  const DomainTablePointer domains = book_->domain_table();
  const Domain* domain = nullptr;
  if (!question->domain.empty()) {
    const auto named = named_domain(question->domain, *domains);
    if (!named) co_return refuse(context, named.error());
    domain = *named;
  }
  int64_t link = domain && domains->all().size() > 1 ? links_of_domain(domain->id) : kAllLinks;
  if (!code.empty()) {
    if (!is_code_text(code)) co_return not_found(context);
    auto finding = book_->find((domain ? *domain : domains->default_domain()).name_of(code), context.deadline);
    const Result<std::optional<Link>> found = co_await finding;
    if (!found) co_return http::response_for(found.error(), context);
    if (!*found) co_return not_found(context);
    if ((*found)->deleted) co_return gone(context);
    link = (*found)->id;
  }
  // Reading and adding up both take their time: off the loop.
  auto reading = store_.read([link, question = *std::move(question), code = std::string(code)](
                                 store::SqliteConnection& db) { return stats_body(db, link, question, code); },
                             context.deadline);
  Result<std::string> body = co_await reading;
  if (!body) co_return http::response_for(body.error(), context);
  co_return json_answer(context, 200, *std::move(body));
}

Task<Result<Response>> LinksService::stream(Request& request, RequestContext& context) {
  ClickStream::Wish wish;
  const DomainTablePointer domains = book_->domain_table();
  std::string_view query = request.query;
  while (const auto parameter = http::next_parameter(query)) {
    const auto name = http::decode_component(parameter->key, context.arena, true);
    const auto value = http::decode_component(parameter->value, context.arena, true);
    if (name == "domain" && value) {
      const auto named = named_domain(*value, *domains);
      if (!named) co_return refuse(context, named.error());
      wish.domain = (*named)->name_host();
      continue;
    }
    if (name != "code" || !is_code_text(value.value_or(""))) {
      co_return http::field_problem(context, 400, "invalid_argument", "code",
                                    "There is code, that of a link, and domain.");
    }
    wish.code = *value;
  }
  if (!wish.code.empty() && !wish.domain) wish.domain = "";
  auto body = stream_.watch(std::move(wish), domains->default_domain().host);
  if (!body) {
    co_return http::busy(context, "too_many_watchers", "As many are watching as this node allows.",
                         std::chrono::seconds(5));
  }
  Response response(context.arena, 200);
  response.fields.add(FieldId::content_type, "text/event-stream");
  response.fields.add(FieldId::cache_control, "no-store");
  response.body = http::Body(std::move(body));
  co_return response;
}

}  // namespace trellis::services::links
