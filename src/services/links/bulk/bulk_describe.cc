// The routes of many links at once with their words, for /v1/openapi.json.
#include "services/links/bulk/bulk_api.h"
#include "services/links/idempotency.h"

namespace trellis::services::links {

using http::AnswerDoc;
using http::Method;
using http::PathParameters;
using http::Request;
using http::RequestContext;
using http::RouteDoc;
using http::Routes;

namespace {

constexpr const char* kNewBatch =
    R"json({"type":"object","required":["links"],"additionalProperties":false,"properties":{
"links":{"type":"array","maxItems":10000,"items":{"$ref":"#/components/schemas/NewLink"}},
"atomic":{"type":"boolean","default":true,"description":"All or none; false: each by itself."}}})json";

constexpr const char* kBatchDone =
    R"json({"type":"object","required":["made","exists","failed","results"],"properties":{
"made":{"type":"integer"},"exists":{"type":"integer"},"failed":{"type":"integer"},
"results":{"type":"array","description":"One for each link of the request, in its order.","items":{"type":"object",
"required":["status"],"properties":{
"status":{"type":"integer","description":"201 made, 200 there was one that is the same, 400 not valid, 409 the alias is taken, 422 the destination is blocked."},
"id":{"type":"integer"},"code":{"type":"string"},"domain":{"type":"string"},"short_url":{"type":"string","format":"uri"},"etag":{"type":"string"},
"problem":{"type":"object","required":["code","detail"],"properties":{
"code":{"type":"string"},"field":{"type":"string"},"detail":{"type":"string"}}}}}}}})json";

AnswerDoc answer(int status, std::string description, std::string schema) {
  return {status, std::move(description), std::move(schema)};
}
AnswerDoc trouble(int status, std::string description) { return {status, std::move(description), "Problem"}; }

RouteDoc batch_doc() {
  RouteDoc doc;
  doc.id = "create_links";
  doc.scope = http::Scope::write;
  doc.summary = "Make up to 10,000 links at once";
  doc.description =
      "Answers when they are on disk. With atomic (the default) all are made or none; without, each has its own "
      "result. "
      "A problem of a refused batch has results with the index of the first 100 links that are wrong.";
  doc.parameters = {
      idempotency_parameter(),
      {"domain", "query", "The host of the domain for links that do not name one; they must name no other."}};
  doc.body = "NewBatch";
  doc.answers = {
      answer(200, "What became of each.", "BatchDone"),
      trouble(400, "The body is not valid, or a link of an atomic batch is not; none was made."),
      trouble(406, "The client does not take application/json."),
      trouble(409, "An alias of an atomic batch is taken; none was made."),
      trouble(413, "The body is larger than 16 MiB."),
      trouble(415, "The body is not application/json."),
      trouble(422, "The Idempotency-Key was used with another body, or destinations of an atomic batch are blocked."),
      trouble(503, "The store takes no writes now.")};
  return doc;
}

RouteDoc import_doc() {
  RouteDoc doc;
  doc.id = "import_links";
  doc.scope = http::Scope::write;
  doc.summary = "Import links from a file";
  doc.description =
      "The body is CSV or NDJSON of any length, as this service, Shlink, YOURLS, Kutt or Bitly export it; which one is "
      "seen by its names. The answer is NDJSON and begins while the body is still read, so read it while you send: "
      "{\"line\",\"result\",\"code\"} a row, where result is made, exists, skipped or problem (with column, code, "
      "field "
      "and detail), {\"progress\":{...}} now and then and {\"total\":{...}} at the end. Rows are written some "
      "thousands "
      "at a time; what was told is on disk. The same file again goes on where it broke off: rows that are there "
      "already "
      "are told as exists.";
  doc.parameters = {
      {"format", "query", "auto: by the first byte.",
       R"({"type":"string","enum":["auto","csv","ndjson"],"default":"auto"})"},
      {"dry_run", "query", "Checks everything and writes nothing.", R"({"type":"boolean","default":false})"},
      {"on_conflict", "query", "Of a row whose code another link has: a problem, or passed over.",
       R"({"type":"string","enum":["fail","skip"],"default":"fail"})"},
      {"find_existing", "query", "A row whose URL and settings a link has already makes none.",
       R"({"type":"boolean","default":false})"},
      {"domain", "query", "All rows go to the domain with this host; one that says another is a problem."},
      {"report", "query", "problems: tells no rows that went well.",
       R"({"type":"string","enum":["all","problems"],"default":"all"})"}};
  doc.answers = {{200, "What becomes of each row.", ""}, trouble(400, "A parameter is not valid.")};
  return doc;
}

RouteDoc export_doc() {
  RouteDoc doc;
  doc.id = "export_links";
  doc.scope = http::Scope::read;
  doc.summary = "Export all links";
  doc.description =
      "Oldest first, without removed ones. csv and ndjson read back to the same links with their clicks, and have what "
      "is "
      "kept of passwords (password_hash); shlink is CSV for Shlink's importer, without links that have a password.";
  doc.parameters = {
      {"format", "query", "The form.", R"({"type":"string","enum":["csv","ndjson","shlink"],"default":"csv"})"},
      {"domain", "query", "Only links on the domain with this host."}};
  doc.answers = {{200, "The file.", ""}, trouble(400, "There is no such format.")};
  return doc;
}

}  // namespace

void BulkApi::mount(Routes& routes) {
  routes.schema("NewBatch", kNewBatch);
  routes.schema("BatchDone", kBatchDone);
  routes.add(
      Method::post, "/v1/links:batch", batch_doc(),
      [this](Request& request, RequestContext& context, PathParameters) { return create_batch(request, context); });
  routes.add(Method::post, "/v1/imports", import_doc(),
             [this](Request& request, RequestContext& context, PathParameters) { return take_in(request, context); });
  routes.add(Method::get, "/v1/exports", export_doc(),
             [this](Request& request, RequestContext& context, PathParameters) { return write_out(request, context); });
}

}  // namespace trellis::services::links
