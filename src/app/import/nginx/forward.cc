#include "app/import/nginx/forward.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "app/import/nginx/fields.h"
#include "app/import/nginx/path.h"
#include "proxy/field_rules.h"

namespace trellis::app {

namespace {

using How = NginxLocation::How;

constexpr uint64_t kKept = 1 << 20;
constexpr uint64_t kKeptAnswer = 64 << 10;  // proxy_buffers 8 8k

// The text with the constants of `set` put in.
std::string with_constants(std::string text, const NginxSettings& settings) {
  for (const auto& [name, value] : settings.variables) {
    for (const std::string& spelled : {"${" + name + "}", "$" + name}) {
      const size_t at = text.find(spelled);
      if (at == std::string::npos) continue;
      const size_t end = at + spelled.size();
      const bool longer = spelled.back() != '}' && end < text.size() && (std::isalnum(text[end]) || text[end] == '_');
      if (!longer) text.replace(at, spelled.size(), value);
    }
  }
  return text;
}

std::string without_slashes(std::string text) {
  while (text.ends_with('/')) text.pop_back();
  return text;
}

// The part of proxy_pass behind the host takes the place of the location's prefix. False: it cannot be said, and why.
bool change_path(const NginxDirective& pass, const NginxLocation& location, std::string uri, RouteDraft& route,
                 Remarks& remarks) {
  if (location.how == How::regex || location.how == How::named) {
    remarks.left_out(pass.at, pass.name, "a path in proxy_pass needs a location with a prefix");
    return false;
  }
  std::string strip = location.path;
  if (location.how == How::exact && strip != uri) {
    // Only whole segments in front are changed: the ends of both must be the same.
    const size_t one = strip.rfind('/');
    const size_t other = uri.rfind('/');
    if (uri.ends_with('/') && !strip.ends_with('/')) {
      route.strip_prefix = pattern_literal(strip);
      route.add_prefix = pattern_literal(without_slashes(uri));
      return true;
    }
    if (strip.substr(one) != uri.substr(other)) {
      remarks.left_out(pass.at, pass.name,
                       "only what stands before the last segment can be changed: " + strip + " to " + uri,
                       "let the application answer " + strip + " too");
      return false;
    }
    strip.resize(one);
    uri.resize(other);
  } else if (strip.ends_with('/') && !uri.ends_with('/')) {
    remarks.differs(pass.at, pass.name, "a slash stands between " + uri + " and the rest of the path");
  }
  route.strip_prefix = pattern_literal(without_slashes(strip));
  route.add_prefix = pattern_literal(without_slashes(uri));
  if (route.strip_prefix == route.add_prefix) {
    route.strip_prefix.clear();
    route.add_prefix.clear();
  }
  return true;
}

// Where proxy_pass leads.
struct Place {
  std::string host;
  std::string uri;  // what takes the place of the location's path; empty: nothing
};
std::optional<Place> place_of(const NginxDirective& pass, const NginxSettings& settings, Remarks& remarks) {
  const auto left_out = [&](std::string why, std::string instead = {}) {
    remarks.left_out(pass.at, pass.name, std::move(why), std::move(instead));
    return std::nullopt;
  };
  std::string url = with_constants(std::string(pass.word(0)), settings);
  if (url.starts_with("https://"))
    return left_out("hosts are spoken to without TLS: " + url, "use a private network, or a TLS tunnel to the host");
  if (!url.starts_with("http://")) return left_out("not http://HOST: " + url);
  url.erase(0, 7);
  if (url.starts_with("unix:"))
    return left_out("hosts are reached over TCP, not by " + url, "let it listen on 127.0.0.1 too");
  const size_t slash = url.find_first_of("/?$");
  Place out{.host = url.substr(0, slash), .uri = slash == std::string::npos ? std::string() : url.substr(slash)};
  if (out.uri == "$request_uri") out.uri.clear();
  if (out.host.empty() || out.uri.find_first_of("$?#") != std::string::npos)
    return left_out("variables in proxy_pass lead to hosts that are known only later: " + std::string(pass.word(0)),
                    "name the hosts in upstreams");
  return out;
}

// Does the host of proxy_pass stand in variables? nginx looks up its name again and again then.
bool by_variable(const NginxDirective& pass) {
  const std::string_view url = pass.word(0);
  const size_t host = url.starts_with("http://") ? 7 : 0;
  return url.substr(0, url.find('/', host)).find('$') != std::string_view::npos;
}

// The ways of a variable that is chosen for each request, each with its own value put in. False: one of them leads
// elsewhere than to hosts.
bool add_ways(const NginxDirective& pass, const NginxSettings& settings, const std::string& name,
              const NginxChoice& choice, const std::string& uri, NginxUpstreams& upstreams, Remarks& remarks,
              RouteDraft& route) {
  std::set<std::string> names;
  for (const NginxChoice::Way& way : choice.ways) {
    NginxSettings own = settings;
    own.variables[name] = way.value;
    const std::optional<Place> place = place_of(pass, own, remarks);
    if (!place || place->uri != uri) return false;
    const std::optional<std::string> upstream = upstreams.use(place->host, own, true, pass);
    WayDraft draft;
    draft.name = plain_name(way.value);
    for (int i = 2; !names.insert(draft.name).second; ++i) draft.name = plain_name(way.value) + "_" + std::to_string(i);
    draft.share = way.share;
    draft.when = way.when;
    draft.to = upstream ? "upstream." + *upstream : refused_target(way.value);
    route.ways.push_back(std::move(draft));
  }
  route.split_key = choice.key;
  if (choice.ignores_case) remarks.differs(pass.at, pass.name, "values of a map are compared with their case");
  return true;
}

}  // namespace

void forward_nginx(const NginxDirective& pass, const NginxLocation& location, const NginxServer& server,
                   NginxUpstreams& upstreams, Remarks& remarks, RouteDraft& route) {
  const bool variable = by_variable(pass);
  const auto choice = server.choices.in(pass.word(0));
  NginxSettings settings = location.settings;
  if (choice) settings.variables[choice->first] = choice->second.rest;
  const std::optional<Place> place = place_of(pass, settings, remarks);
  std::optional<std::string> upstream;
  if (place && (place->uri.empty() || change_path(pass, location, place->uri, route, remarks))) {
    upstream = upstreams.use(place->host, settings, variable, pass);
    if (variable && !place->uri.empty())
      remarks.differs(pass.at, pass.name,
                      "nginx asks for " + place->uri + " alone when a host stands in variables; here the rest follows");
  }
  if (upstream && choice &&
      !add_ways(pass, settings, choice->first, choice->second, place->uri, upstreams, remarks, route))
    upstream.reset();
  if (!upstream) {
    route = refused_route(route, directive_text(pass));
    return;
  }
  if (settings.max_body > 0) route.body_limit = settings.max_body;
  // nginx keeps bodies in memory and then on disk; Trellis in memory, and lets the rest stream.
  if (settings.buffers_requests)
    route.buffer_request = settings.max_body > 0 ? std::min(settings.max_body, kKept) : kKept;
  if (settings.buffers_answers) route.buffer_response = kKeptAnswer;
  const bool host_told = add_request_fields(server, settings, route, remarks);
  const bool name = place->host.find_first_not_of("0123456789.:[]") != std::string::npos;
  if (!host_told && name && !upstreams.declared(place->host))
    remarks.left_out(pass.at, pass.name, "hosts hear the client's own Host, not " + place->host,
                     "make them answer to it");
  route.response_remove = settings.hide_header;
  std::erase_if(route.response_remove, [](const std::string& field) { return proxy::field_refusal(field) != nullptr; });
  add_answer_fields(AnswerOf::anything, server, settings, route, remarks);
  route.to = "upstream." + *upstream;
}

}  // namespace trellis::app
