#include "services/links/bulk/bulk_api.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "http/problem.h"
#include "http/target.h"
#include "services/links/answers.h"
#include "services/links/bulk/batch_json.h"
#include "services/links/bulk/bulk.h"
#include "services/links/bulk/export.h"
#include "services/links/bulk/import.h"
#include "services/links/domains/domain_json.h"
#include "services/links/idempotency.h"
#include "services/links/link_json.h"

namespace trellis::services::links {

using http::FieldId;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

constexpr size_t kReadBeforeYield = 128;        // links; then others on the core have a turn
constexpr size_t kMaxPasswords = 32;            // in a batch: each takes a fifth of a second of a core
constexpr size_t kMaxFaultsToldTogether = 100;  // of a batch that was refused

struct ItemFault {
  size_t index = 0;
  int status = 400;
  Fault fault;
};

void append_problem(JsonWriter& json, const Fault& fault) {
  json.begin_object().member("code", fault.code);
  if (!fault.field.empty()) json.member("field", fault.field);
  json.member("detail", fault.detail).end_object();
}

ItemFault taken(size_t index) { return {index, 409, {"alias", "This alias is taken.", "already_exists"}}; }

// {"made":..,"exists":..,"failed":..,"results":[...]}. `places[i]`: where the ith link stood in the batch.
std::string batch_body(const BulkDone& done, const std::vector<size_t>& places, const std::vector<ItemFault>& faults,
                       const DomainTable& domains) {
  size_t made = 0;
  size_t exists = 0;
  for (const BulkOutcome& outcome : done.outcomes) {
    made += outcome.kind == BulkOutcome::Kind::made ? 1 : 0;
    exists += outcome.kind == BulkOutcome::Kind::exists ? 1 : 0;
  }
  const size_t total = places.size() + faults.size();
  std::string body;
  body.reserve(64 + total * 112);
  JsonWriter json(body);
  json.begin_object().member("made", made).member("exists", exists).member("failed", total - made - exists);
  json.key("results").begin_array();
  const auto fault = [&json](const ItemFault& wrong) {
    json.begin_object().member("status", wrong.status).key("problem");
    append_problem(json, wrong.fault);
    json.end_object();
  };
  size_t next_fault = 0;
  for (size_t i = 0; i < places.size(); ++i) {
    while (next_fault < faults.size() && faults[next_fault].index < places[i]) fault(faults[next_fault++]);
    const BulkOutcome& outcome = done.outcomes[i];
    if (outcome.kind == BulkOutcome::Kind::taken) {
      fault(taken(places[i]));
      continue;
    }
    Link link;
    link.id = outcome.id;
    link.version = outcome.version;
    json.begin_object().member("status", outcome.kind == BulkOutcome::Kind::made ? 201 : 200);
    json.member("id", outcome.id).member("code", split_name(outcome.code).code);
    json.member("domain", domains.of_link(outcome.code).host).member("short_url", domains.short_url(outcome.code));
    json.member("etag", etag_of(link)).end_object();
  }
  while (next_fault < faults.size()) fault(faults[next_fault++]);
  json.end_array().end_object();
  return body;
}

// The refusal of a batch of which all or none was wanted: with the first of those that are wrong.
Response refuse_batch(RequestContext& context, size_t total, const std::vector<ItemFault>& faults) {
  // That of all of them, if they are alike.
  const int first = faults.front().status;
  const bool alike =
      std::all_of(faults.begin(), faults.end(), [first](const ItemFault& wrong) { return wrong.status == first; });
  const int status = alike ? first : 400;
  Response response(context.arena, status);
  context.outcome = "batch_refused";
  context.failed_side = Side::client;
  std::string body;
  JsonWriter json(body);
  json.begin_object().member("type", "about:blank").member("title", http::reason_phrase(status));
  json.member("status", status).member("code", "batch_refused").member("temporary", false);
  json.member("detail",
              std::to_string(faults.size()) + " of " + std::to_string(total) + " links cannot be made, so none was.");
  if (!context.request_id.empty()) json.member("request_id", context.request_id);
  json.key("results").begin_array();
  for (size_t i = 0; i < std::min(faults.size(), kMaxFaultsToldTogether); ++i) {
    json.begin_object().member("index", faults[i].index).member("status", faults[i].status).key("problem");
    append_problem(json, faults[i].fault);
    json.end_object();
  }
  json.end_array().end_object();
  response.fields.add(FieldId::content_type, "application/problem+json");
  response.fields.add(FieldId::cache_control, "no-store");
  response.body = http::Body(std::move(body));
  return response;
}

// One parameter of a query, decoded: taken by a function that gives "" or what is wrong with the value.
struct Parameter {
  std::string_view name;
  std::string (*take)(std::string_view value, ImportOptions& options);
};

std::string take_flag(std::string_view value, bool& flag) {
  if (value != "true" && value != "false") return "The value is true or false.";
  flag = value == "true";
  return {};
}

constexpr Parameter kImportParameters[] = {
    {"format",
     [](std::string_view value, ImportOptions& options) -> std::string {
       if (value == "csv") options.shape = ImportShape::csv;
       if (value == "ndjson") options.shape = ImportShape::ndjson;
       return options.shape || value == "auto" ? "" : "The format is auto, csv or ndjson.";
     }},
    {"dry_run", [](std::string_view value, ImportOptions& options) { return take_flag(value, options.dry_run); }},
    {"on_conflict",
     [](std::string_view value, ImportOptions& options) -> std::string {
       options.skip_conflicts = value == "skip";
       return value == "skip" || value == "fail" ? "" : "On a conflict a row can fail or skip.";
     }},
    {"find_existing",
     [](std::string_view value, ImportOptions& options) { return take_flag(value, options.find_existing); }},
    {"domain",
     [](std::string_view value, ImportOptions& options) -> std::string {
       options.domain = value;  // whether it is one of ours is looked at when all are read
       return value.empty() ? "The domain is a host such as go.example.com." : "";
     }},
    {"report",
     [](std::string_view value, ImportOptions& options) -> std::string {
       options.only_problems = value == "problems";
       return value == "problems" || value == "all" ? "" : "The report is all or problems.";
     }},
};

std::optional<Response> read_parameters(const Request& request, RequestContext& context, ImportOptions& options) {
  std::string_view query = request.query;
  while (const auto parameter = http::next_parameter(query)) {
    const auto name = http::decode_component(parameter->key, context.arena, true);
    const auto value = http::decode_component(parameter->value, context.arena, true);
    if (!name || !value)
      return refuse(context, 400, "invalid_argument", "The query is not percent-encoded as it should be.");
    const auto* known = std::find_if(std::begin(kImportParameters), std::end(kImportParameters),
                                     [&](const Parameter& each) { return each.name == *name; });
    if (known == std::end(kImportParameters)) {
      return http::field_problem(context, 400, "unknown_parameter", name->substr(0, 64),
                                 "There is format, dry_run, on_conflict, find_existing, domain and report.");
    }
    const std::string wrong = known->take(*value, options);
    if (!wrong.empty()) return http::field_problem(context, 400, "invalid_argument", *name, wrong);
  }
  return std::nullopt;
}

constexpr std::string_view kNdjson = "application/x-ndjson";

Response streamed(RequestContext& context, std::string_view type, std::unique_ptr<http::BodyReader> body) {
  Response response(context.arena, 200);
  response.fields.add(FieldId::content_type, type);
  response.fields.add(FieldId::cache_control, "no-store");
  response.body = http::Body(std::move(body));
  return response;
}

}  // namespace

Task<Result<Response>> BulkApi::create_batch(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, true, false)) co_return *std::move(refused);
  if (std::optional<Response> refused = refuse_key(request, context)) co_return *std::move(refused);
  auto reading = http::read_all(request.body.get(), kMaxBatchBody, context.deadline);
  Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context, "16 MiB");
  const int64_t now = unix_millis(context.loop.wall());
  auto batch = read_batch(*body);
  if (!batch) co_return refuse(context, batch.error());

  const DomainTablePointer domains = book_.domain_table();
  const auto asked = domain_of_query(request.query, *domains, context.arena);
  if (!asked) {
    auto looking = first_answer(request, *std::move(body), book_, now, context.deadline);
    Result<std::optional<Replay>> first = co_await looking;
    if (!first) co_return http::response_for(first.error(), context);
    if (*first) co_return json_answer(context, (*first)->status, std::move((*first)->body));
    co_return refuse(context, asked.error());
  }
  auto links = std::make_shared<std::vector<BulkLink>>();
  links->reserve(batch->links.size());
  std::vector<size_t> places;
  places.reserve(batch->links.size());
  std::vector<ItemFault> faults;
  std::vector<std::pair<size_t, std::string>> passwords;  // by place in `links`
  const size_t total = batch->links.size();
  for (size_t i = 0; i < total; ++i) {
    if (i % kReadBeforeYield == kReadBeforeYield - 1) co_await yield();
    auto wanted = read_new_link(batch->links[i], domains->own(), now);
    if (wanted) {
      if (std::optional<Fault> wrong = settle_domain(*wanted, *domains, *asked))
        wanted = std::unexpected(*std::move(wrong));
    }
    if (!wanted) {
      if (wanted.error().code == "invalid_json") {
        wanted.error().detail = "links[" + std::to_string(i) + "] is not valid JSON, or nested too deeply.";
        co_return refuse(context, wanted.error());
      }
      faults.push_back({i, 400, std::move(wanted).error()});
      continue;
    }
    if (auto blocked = book_.refuse_blocked(wanted->set)) {
      faults.push_back({i, blocked->status, *std::move(blocked)});
      continue;
    }
    if (wanted->set.password && !wanted->set.password->empty()) {
      if (passwords.size() == kMaxPasswords) {
        faults.push_back({i, 400, {"password", "A batch has 32 links with a password at most."}});
        continue;
      }
      passwords.emplace_back(links->size(), *std::move(wanted->set.password));
    }
    links->push_back({book_.link_of(*wanted, now), wanted->find_existing, wanted->set.title.has_value()});
    places.push_back(i);
  }
  if (batch->atomic && !faults.empty()) {
    auto looking = first_answer(request, *std::move(body), book_, now, context.deadline);
    Result<std::optional<Replay>> first = co_await looking;
    if (!first) co_return http::response_for(first.error(), context);
    if (*first) co_return json_answer(context, (*first)->status, std::move((*first)->body));
    co_return refuse_batch(context, total, faults);
  }

  BulkOptions options;
  options.atomic = batch->atomic;
  auto keying = key_of(request, *std::move(body), book_.passwords(), context.deadline);
  Result<IdempotencyKey> key = co_await keying;
  if (!key) co_return http::response_for(key.error(), context);
  options.key = *std::move(key);
  for (auto& [place, password] : passwords) {
    auto hashing = book_.passwords().hash(std::move(password), context.deadline);
    Result<std::string> hashed = co_await hashing;
    if (!hashed) co_return http::response_for(hashed.error(), context);
    (*links)[place].link.password = *std::move(hashed);
  }
  if (!options.key.key.empty()) {
    options.answer = [places, faults, domains](const BulkDone& done) {
      return batch_body(done, places, faults, *domains);
    };
  }
  auto putting = put_links(book_, std::move(links), std::move(options), now, context.deadline);
  const Result<BulkResult> put = co_await putting;
  if (!put) co_return http::response_for(put.error(), context);
  const BulkDone& done = **put;
  switch (done.kind) {
    case BulkDone::Kind::key_reused: co_return key_reused(context);
    case BulkDone::Kind::replayed: co_return json_answer(context, done.answer.status, done.answer.body);
    case BulkDone::Kind::refused:
      for (size_t i = 0; i < done.outcomes.size(); ++i)
        if (done.outcomes[i].kind == BulkOutcome::Kind::taken) faults.push_back(taken(places[i]));
      co_return refuse_batch(context, total, faults);
    case BulkDone::Kind::done: break;
  }
  co_return json_answer(context, 200,
                        done.answer.body.empty() ? batch_body(done, places, faults, *domains) : done.answer.body);
}

Task<Result<Response>> BulkApi::take_in(Request& request, RequestContext& context) {
  ImportOptions options;
  if (std::optional<Response> refused = read_parameters(request, context, options)) co_return *std::move(refused);
  if (!options.domain.empty()) {
    const auto named = named_domain(options.domain, *book_.domain_table());
    if (!named) co_return refuse(context, named.error());
    options.domain = (*named)->host;
  }
  auto body = std::make_unique<ImportBody>(book_, context.loop, std::move(request.body), options);
  co_return streamed(context, kNdjson, std::move(body));
}

Task<Result<Response>> BulkApi::write_out(Request& request, RequestContext& context) {
  ExportFormat format = ExportFormat::csv;
  std::optional<std::string> only;
  const DomainTablePointer domains = book_.domain_table();
  std::string_view query = request.query;
  while (const auto parameter = http::next_parameter(query)) {
    const auto name = http::decode_component(parameter->key, context.arena, true);
    const auto value = http::decode_component(parameter->value, context.arena, true);
    if (name == "domain" && value) {
      const auto named = named_domain(*value, *domains);
      if (!named) co_return refuse(context, named.error());
      only = (*named)->name_host();
      continue;
    }
    const std::optional<ExportFormat> asked = export_format_of(value.value_or(""));
    if (name != "format" || !asked)
      co_return http::field_problem(context, 400, "invalid_argument", "format",
                                    "There is format=csv, ndjson or shlink, and domain.");
    format = *asked;
  }
  const bool csv = format != ExportFormat::ndjson;
  Response response = streamed(context, csv ? "text/csv; charset=utf-8" : kNdjson,
                               std::make_unique<ExportBody>(book_, format, std::move(only)));
  response.fields.add("content-disposition",
                      csv ? "attachment; filename=\"links.csv\"" : "attachment; filename=\"links.ndjson\"");
  co_return response;
}

}  // namespace trellis::services::links
