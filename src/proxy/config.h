// Routes as they are written in the configuration, and the step from there to running parts: matches for the router,
// filters in their order, the simple targets. Read on the thread that loads; the parts are made once a core by whoever
// builds the node.
//
//   - match: { host: api.example.com, path: /v1/**, methods: [GET], headers: { x-beta: "1" }, query: { v: "2" } }
//     filters:
//       - body_limit: { max: 1MiB }
//     to: upstream.api
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/fields.h"
#include "proxy/files/files_target.h"
#include "proxy/filter.h"
#include "proxy/filter_parts.h"
#include "proxy/fixed_target.h"
#include "proxy/redirect_target.h"
#include "proxy/router.h"
#include "proxy/shedder.h"

namespace trellis::proxy {

struct MatchConfig {
  std::vector<std::string> listeners;  // none: all
  std::string host;
  std::string path;
  std::vector<std::string> methods;
  std::vector<std::pair<std::string, std::string>> headers;  // "*": any value
  std::vector<std::pair<std::string, std::string>> query;
  std::vector<std::pair<std::string, std::string>> cookies;
  static config::Fields<MatchConfig> fields();

  Match match() const;
  bool takes(std::string_view listener) const;
  // "GET api.example.com/v1/**", the route's name where none is given.
  std::string label() const;
  // Which requests of a URI it takes: listeners, headers, query and cookies; "": all of them.
  std::string conditions() const;
};

// upstream.NAME, service.NAME, files DIRECTORY, status, page; or { files: {...} }, { redirect: {...} }, { fixed: {...}
// }.
struct TargetConfig {
  enum class Kind : uint8_t { none, upstream, service, files, redirect, fixed, status, page };

  Kind kind = Kind::none;  // of the one-line form; see which()
  std::string name;        // of the upstream or service
  std::optional<FilesConfig> files;
  std::optional<RedirectConfig> redirect;
  std::optional<FixedConfig> fixed;

  static constexpr std::string_view kText = "target: upstream.NAME, service.NAME, files DIRECTORY, status or page";
  static Result<TargetConfig> from_text(std::string_view text);
  static config::Fields<TargetConfig> fields();
  void check(config::Checker& at) const;
  Kind which() const noexcept;
  // "upstream.api", "files /srv/www", "redirect".
  std::string label() const;
};
std::string_view to_string(TargetConfig::Kind kind) noexcept;

struct RouteConfig {
  std::string name;
  MatchConfig match;
  std::vector<config::Entry> filters;  // as written; filters_of() sorts
  TargetConfig to;
  Priority priority = Priority::normal;
  static config::Fields<RouteConfig> fields();
  void check(config::Checker& at) const;
  std::string label() const { return name.empty() ? match.label() : name; }
  bool has_cache() const;
};

// What a route's `filters` may hold.
std::vector<config::KindOf> filter_kinds();

// Every target of a route, its filters' included, with its path below the route: "to", "filters[0].mirror.to".
std::vector<std::pair<std::string, const TargetConfig*>> targets_of(const RouteConfig& route);

// For the check() of the struct that has the routes under the key `child`: reports what is wrong with a match, and
// routes that can never match on any of their listeners.
void check_routes(const std::vector<RouteConfig>& routes, std::string_view child, config::Checker& at,
                  std::span<const std::string_view> listeners = {});

// The routes of one listener, or all of them. Precondition: the routes have been checked.
Router make_router(const std::vector<RouteConfig>& routes, std::string_view listener = {});

// A route's filters in the order of filter_order(). For one core.
Result<std::vector<std::unique_ptr<Filter>>> make_filters(const RouteConfig& route, const FilterParts& parts);
Result<std::unique_ptr<Filter>> make_filter(const config::Entry& entry, const FilterParts& parts);

// files, redirect or fixed, for one core; may read the disk. invalid_argument for the kinds that belong to others.
Result<std::unique_ptr<http::Handler>> make_target(const TargetConfig& config);

}  // namespace trellis::proxy
