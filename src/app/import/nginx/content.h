// What a location of nginx does with a request, as the filters and the target of a route: return, rewrite, access,
// proxy_pass, files. What cannot be translated answers 501: its requests must not fall through to another route. One
// server, one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/import/draft.h"
#include "app/import/nginx/location.h"
#include "app/import/nginx/path.h"
#include "app/import/nginx/settings.h"
#include "app/import/nginx/upstreams.h"
#include "app/import/remark.h"

namespace trellis::app {

class NginxContent {
 public:
  NginxContent(const NginxServer& server, const std::vector<NginxLocation>& locations, NginxUpstreams& upstreams,
               Remarks& remarks)
      : server_(server),
        locations_(locations),
        danger_(danger_to_files(locations)),
        upstreams_(upstreams),
        remarks_(remarks) {}

  void fill(const NginxLocation& location, RouteDraft& route);
  // `path`: whose ending tells the type of a text, where there is one path.
  void answer(const NginxDirective& one, const NginxSettings& settings, RouteDraft& route, std::string_view path = {});
  // False: it was refused instead.
  bool redirect(const NginxDirective& one, std::string to, uint64_t status, WholePath whole,
                const NginxSettings& settings, RouteDraft& route);

  // The limit_except of the location, or of the one that its try_files goes on to. nullptr: none.
  const NginxDirective* method_limit(const NginxLocation& location) const;
  // What it says of a route of the location, for methods that it does not name.
  void limit_methods(const NginxDirective& limit, RouteDraft& route);

  // `rewrite ^/old/(.*)$ /new/$1 permanent`: the path that moves with all below it, whose route now redirects. Nothing
  // when the rewrite says something else, or no redirect says it.
  std::optional<std::string> redirect_below(const NginxDirective& rewrite, const NginxSettings& settings,
                                            RouteDraft& route);

  // `if` with one simple condition and a return, beside the locations: routes for the whole host.
  std::vector<RouteDraft> conditions_of_server();
  // Those that stood in the locations that were filled since the last call: more routes of the same path.
  std::vector<RouteDraft> take_conditions() { return std::exchange(conditions_, {}); }

 private:
  const NginxLocation* named_location(const std::string& name) const;
  bool rewritten(const NginxLocation& location, RouteDraft& route);
  bool addresses(const NginxSettings& settings, RouteDraft& route);
  void condition_within(const NginxDirective& one, const NginxLocation& location);
  bool tried(const NginxLocation& location, std::string& fallback, RouteDraft& route);
  void files(const NginxLocation& location, RouteDraft& route);

  const NginxServer& server_;
  const std::vector<NginxLocation>& locations_;
  const NginxDirective* danger_;
  NginxUpstreams& upstreams_;
  Remarks& remarks_;
  std::vector<RouteDraft> conditions_;
  std::set<const NginxDirective*> told_;
  std::set<const NginxLocation*> following_;  // named locations that try_files is being followed through
};

}  // namespace trellis::app
