// nginx's `upstream` blocks as upstreams of Trellis. In nginx time limits and repeats belong to the location that asks,
// in Trellis to the upstream: so an upstream is written once for each set of them that is in use (app, app_2). What no
// location asks for is not written. Fills the draft; one thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "app/import/draft.h"
#include "app/import/nginx/settings.h"
#include "app/import/nginx/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

class NginxUpstreams {
 public:
  NginxUpstreams(ConfigDraft& draft, Remarks& remarks) : draft_(draft), remarks_(remarks) {}

  void declare(const NginxDirective& block);
  bool declared(std::string_view name) const { return blocks_.contains(name); }
  // The upstream for what proxy_pass names: a block, or HOST[:PORT], whose name is looked up again when it stood in
  // variables. Nothing when no host of it can be reached, which has been told.
  std::optional<std::string> use(std::string_view host, const NginxSettings& settings, bool by_variable,
                                 const NginxDirective& from);
  // The same for a relay, which has no requests and no settings but the servers that are asked for names.
  std::optional<std::string> use_plain(std::string_view host, const NginxDirective* resolver,
                                       const NginxDirective& from);

 private:
  struct Request;  // what is asked for
  std::optional<std::string> add(const Request& request);
  std::optional<UpstreamDraft> draft_of(const Request& request);
  void look_up(const NginxDirective* resolver, HostDraft& host);

  ConfigDraft& draft_;
  Remarks& remarks_;
  std::map<std::string, const NginxDirective*, std::less<>> blocks_;
  std::map<std::string, std::string> made_;  // by what was asked for
};

// What a variable of nginx is as a key of hashes and splits; nothing when it is none.
std::optional<std::string> nginx_hash_key(std::string_view variable);

}  // namespace trellis::app
