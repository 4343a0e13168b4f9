// The routes of reports with their words, for /v1/openapi.json.
#include "services/links/idempotency.h"
#include "services/links/reports/report_api.h"
#include "services/links/resource.h"

namespace trellis::services::links {

using http::Method;
using http::PathParameters;
using http::Request;
using http::RequestContext;
using http::RouteDoc;
using http::Routes;
using http::Scope;

namespace {

constexpr const char* kNewReport = R"json({"type":"object","additionalProperties":false,"properties":{
"from":{"type":"string","description":"A time or a date, rounded down to a day; 30 days before the end unless said."},
"to":{"type":"string","description":"A time or a date, excluded, rounded up to a day; the end of today unless said."},
"by":{"type":"array","minItems":1,"description":"What clicks are parted by; day and all dimensions unless said.",
"items":{"type":"string","enum":["day","link","country","referrer","device","os","browser","language","rule","source",
"utm_source","utm_medium","utm_campaign","utm_term","utm_content"]}},
"bots":{"type":"string","enum":["exclude","only","all"],"default":"exclude","description":"Whose clicks the dimensions show."},
"limit":{"type":"integer","minimum":1,"maximum":500,"default":100,"description":"Values of a dimension, and links."},
"tag":{"type":"string","maxLength":64,"description":"Only links that carry it."},
"link":{"type":"string","description":"Only this link, by its code; not with a tag."},
"format":{"type":"string","enum":["csv","html","json"],"default":"csv"},
"mail_to":{"type":"string","description":"Who is sent it; the configuration says who may be."}}})json";

constexpr const char* kReport =
    R"json({"type":"object","required":["id","state","progress","from","to","by","bots","limit",
"format","created_at"],"properties":{
"id":{"type":"integer"},
"state":{"type":"string","enum":["waiting","running","done","failed"]},
"progress":{"type":"integer","minimum":0,"maximum":100,"description":"Percent."},
"from":{"type":"string","format":"date"},
"to":{"type":"string","format":"date","description":"Excluded."},
"by":{"type":"array","items":{"type":"string"}},
"bots":{"type":"string"},"limit":{"type":"integer"},"tag":{"type":"string"},"link":{"type":"string"},
"format":{"type":"string","enum":["csv","html","json"]},
"mail_to":{"type":"string"},
"created_at":{"type":"string","format":"date-time"},
"ended_at":{"type":"string","format":"date-time"},
"size":{"type":"integer","description":"Of the file, in bytes."},
"file":{"type":"string","description":"Where the file is."},
"error":{"type":"string","description":"Why it failed, or why it is tried again."}}})json";

constexpr const char* kReportPage = R"json({"type":"object","required":["items","next"],"properties":{
"items":{"type":"array","items":{"$ref":"#/components/schemas/Report"}},
"next":{"type":["string","null"],"description":"The cursor of the next page; null at the end."}}})json";

constexpr const char* kNumber = "The number of the report.";

}  // namespace

void ReportApi::mount(Routes& routes) {
  routes.schema("NewReport", kNewReport);
  routes.schema("Report", kReport);
  routes.schema("ReportPage", kReportPage);

  RouteDoc listing = doc_of("list_reports", Scope::read, "List reports, newest first",
                            "Those that are waited for, those that are there and those that failed.");
  listing.parameters = page_parameters("Reports a page.");
  listing.answers = {{200, "A page.", "ReportPage"}, {400, "A parameter is not valid.", "Problem"}};
  routes.add(Method::get, "/v1/reports", std::move(listing),
             [this](Request& request, RequestContext& context, PathParameters) { return list(request, context); });

  RouteDoc making = doc_of("create_report", Scope::write, "Ask for a report",
                           "It is made in the background; Location tells how far it is.");
  making.parameters = {idempotency_parameter()};
  making.body = "NewReport";
  making.answers = {{202, "It will be made.", "Report"},
                    {400, "The body or a member of it is not valid; field names the member.", "Problem"},
                    {403, "The configuration allows no mail to this address.", "Problem"},
                    {404, "No such link.", "Problem"},
                    {409, "There are 1,000 reports already.", "Problem"},
                    {410, "The link was deleted.", "Problem"},
                    {422, "The Idempotency-Key was used with another body.", "Problem"}};
  routes.add(Method::post, "/v1/reports", std::move(making),
             [this](Request& request, RequestContext& context, PathParameters) { return create(request, context); });

  RouteDoc showing = doc_of("get_report", Scope::read, "How far a report is", "And where its file is.");
  showing.parameters = {id_parameter(kNumber)};
  showing.answers = {{200, "The report.", "Report"}, {404, "No such report.", "Problem"}};
  routes.add(Method::get, "/v1/reports/{id}", std::move(showing),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return show(request, context, path[0]);
             });

  RouteDoc fetching = doc_of("get_report_file", Scope::read, "The file of a report", "As it was made.");
  fetching.parameters = {id_parameter(kNumber)};
  fetching.answers = {{200, "text/csv, text/html or application/json, as an attachment.", {}},
                      {404, "No such report.", "Problem"},
                      {409, "It is not there yet, or failed.", "Problem"}};
  routes.add(Method::get, "/v1/reports/{id}/file", std::move(fetching),
             [this](Request&, RequestContext& context, PathParameters path) { return file(context, path[0]); });

  RouteDoc removing = doc_of("delete_report", Scope::write, "Delete a report", "One that is not begun is not made.");
  removing.parameters = {id_parameter(kNumber)};
  removing.answers = {{204, "Deleted.", {}}, {404, "No such report.", "Problem"}};
  routes.add(Method::delete_, "/v1/reports/{id}", std::move(removing),
             [this](Request&, RequestContext& context, PathParameters path) { return remove(context, path[0]); });
}

}  // namespace trellis::services::links
