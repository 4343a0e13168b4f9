#include "proxy/route_reasons.h"

#include <vector>

#include "proxy/pipeline.h"

namespace trellis::proxy {

namespace {

constexpr size_t kMostCompared = 256;  // routes that are compiled for one question
constexpr size_t kMostNamed = 5;

std::string match_text(const Match& match) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (!match.host.empty()) add("host " + match.host);
  if (!match.path.empty()) add("path " + match.path);
  for (size_t i = 0; i < match.methods.size(); ++i) {
    if (i == 0)
      add("method " + match.methods[i]);
    else
      text += " or " + match.methods[i];
  }
  for (const Condition& one : match.headers) add("header " + one.name + (one.equals ? " is " + *one.equals : ""));
  for (const Condition& one : match.query) add("query " + one.name + (one.equals ? " is " + *one.equals : ""));
  for (const Condition& one : match.cookies) add("cookie " + one.name + (one.equals ? " is " + *one.equals : ""));
  return text.empty() ? "anything" : text;
}

bool takes(const Match& match, const http::Request& request) {
  std::vector<RouteProblem> problems;
  return Router::compile({&match, 1}, problems).find(request).route != Router::kNone;
}

}  // namespace

std::string reason_of_route(std::span<const PipelineRoute> routes, uint32_t taken, const http::Request& request) {
  const PipelineRoute& route = routes[taken];
  std::string text = route.name + ": " + match_text(route.match);
  if (!route.to.empty()) text += "; leads to " + route.to;
  size_t others = 0;
  for (size_t i = 0; i < routes.size() && i < kMostCompared; ++i) {
    // Those of other listeners have no chain.
    if (i == taken || !routes[i].chain || !takes(routes[i].match, request)) continue;
    if (++others > kMostNamed) continue;
    text += (others == 1 ? "; less specific: " : ", ") + routes[i].name + " (" + match_text(routes[i].match) + ")";
  }
  if (others > kMostNamed) text += " and " + std::to_string(others - kMostNamed) + " more";
  return text;
}

std::string reason_of_none(std::span<const PipelineRoute> routes, const http::Request& request) {
  size_t here = 0;
  std::string others;
  for (const PipelineRoute& route : routes) {
    if (!route.chain) continue;
    // All but the method, or all but headers, query and cookies: what is most often forgotten.
    if (++here > kMostCompared || others.size() > 200) continue;
    Match bare = route.match;
    bare.methods.clear();
    bare.headers.clear();
    bare.query.clear();
    bare.cookies.clear();
    if (takes(bare, request))
      others += (others.empty() ? "; near: " : ", ") + route.name + " (" + match_text(route.match) + ")";
  }
  return "no route of " + std::to_string(here) + " takes " + std::string(request.method_text) + " " +
         std::string(request.authority) + std::string(request.path) + others;
}

}  // namespace trellis::proxy
