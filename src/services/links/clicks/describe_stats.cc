// The routes of statistics with their words.
#include "services/links/links.h"

namespace trellis::services::links {

using http::AnswerDoc;
using http::Method;
using http::ParameterDoc;
using http::PathParameters;
using http::Request;
using http::RequestContext;
using http::RouteDoc;

namespace {

constexpr const char* kStats =
    R"json({"type":"object","description":"Clicks in [from, to). Programs are counted apart.",
"required":["from","to","step","clicks","bots","visitors","series","by"],"properties":{
"code":{"type":"string"},
"from":{"type":"string","format":"date-time"},"to":{"type":"string","format":"date-time"},
"step":{"type":"string","enum":["minute","hour","day"]},
"clicks":{"type":"integer","description":"Of people."},"bots":{"type":"integer","description":"Clicks of programs."},
"visitors":{"type":"integer","description":"Different people, estimated (1.6 % standard error beyond some hundreds); one who comes on two days counts twice."},
"series":{"type":"array","description":"In the order of time; steps without a click are left out.","items":{"type":"object",
"properties":{"at":{"type":"string","format":"date-time"},"clicks":{"type":"integer"},"bots":{"type":"integer"},"visitors":{"type":"integer"}}}},
"by":{"type":"object","description":"One member for each dimension.","additionalProperties":{"type":"object","properties":{
"values":{"type":"array","items":{"type":"object","properties":{"value":{"type":"string"},"clicks":{"type":"integer"}}}},
"other":{"type":"integer","description":"Of values that are not listed."},
"none":{"type":"integer","description":"Without a value, such as no referrer."}}}}}})json";

std::vector<ParameterDoc> stats_parameters() {
  return {{"from", "query", "A time or a date; without it 30 days, 48 hours or 60 minutes before the end."},
          {"to", "query", "A time or a date, excluded; without it the end of the step under way."},
          {"step", "query", "Minutes are kept for two days, hours for 400 days, days for ever.",
           R"({"type":"string","enum":["minute","hour","day"],"default":"day"})"},
          {"by", "query",
           "Dimensions, parted by commas; without it all of them. A rule is told by its number, a target of its split "
           "by a letter behind it (2a)."},
          {"bots", "query", "Whose clicks the dimensions show.",
           R"({"type":"string","enum":["exclude","only","all"],"default":"exclude"})"},
          {"limit", "query", "Values of a dimension.", R"({"type":"integer","minimum":1,"maximum":500,"default":20})"}};
}

}  // namespace

void LinksService::mount_stats(http::Routes& routes) {
  routes.schema("Stats", kStats);
  RouteDoc of_link;
  of_link.id = "link_stats";
  of_link.scope = http::Scope::read;
  of_link.summary = "The clicks of a link";
  of_link.description = "Usually less than a second behind, under heavy load up to a quarter of a minute.";
  of_link.parameters = stats_parameters();
  of_link.parameters.insert(of_link.parameters.begin(), {"code", "path", "The code of the link."});
  of_link.parameters.push_back({"domain", "query", "The host of its domain; without it the default one."});
  of_link.answers = {AnswerDoc{200, "The figures.", "Stats"}, AnswerDoc{400, "A parameter is not valid.", "Problem"},
                     AnswerDoc{404, "No such link.", "Problem"}, AnswerDoc{410, "It was deleted.", "Problem"}};
  routes.add(Method::get, "/v1/links/{code}/stats", std::move(of_link),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return stats(request, context, path[0]);
             });
  RouteDoc of_all;
  of_all.id = "all_stats";
  of_all.scope = http::Scope::read;
  of_all.summary = "The clicks of all links together";
  of_all.description = "Those of links that were deleted since are among them.";
  of_all.parameters = stats_parameters();
  of_all.parameters.push_back(
      {"domain", "query", "Those on the domain with this host; they are counted since the node has more than one."});
  of_all.answers = {AnswerDoc{200, "The figures.", "Stats"}, AnswerDoc{400, "A parameter is not valid.", "Problem"}};
  routes.add(Method::get, "/v1/stats", std::move(of_all),
             [this](Request& request, RequestContext& context, PathParameters) { return stats(request, context, {}); });
  RouteDoc live;
  live.id = "click_stream";
  live.scope = http::Scope::read;
  live.summary = "Clicks as they come";
  live.description =
      "Server-sent events: click, with a JSON object; left_out, with the number of clicks that were too many to show.";
  live.parameters = {{"code", "query", "Only clicks of this link."},
                     {"domain", "query", "Only clicks on the domain with this host; with a code, where the link is."}};
  live.answers = {AnswerDoc{200, "text/event-stream, without an end.", {}},
                  AnswerDoc{503, "As many are watching as the node allows.", "Problem"}};
  routes.add(Method::get, "/v1/stream", std::move(live),
             [this](Request& request, RequestContext& context, PathParameters) { return stream(request, context); });
}

}  // namespace trellis::services::links
