// nginx's `upstream` blocks as upstreams of Trellis. In nginx time limits and repeats belong to the location that asks,
// in Trellis to the upstream: so an upstream is written once for each set of them that is in use (app, app_2). What no
// location asks for is not written. Fills the draft; one thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "app/import/draft.h"
#include "app/import/nginx_settings.h"
#include "app/import/nginx_syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

class NginxUpstreams {
 public:
  NginxUpstreams(ConfigDraft& draft, Remarks& remarks) : draft_(draft), remarks_(remarks) {}

  void declare(const NginxDirective& block);
  bool declared(std::string_view name) const { return blocks_.contains(name); }
  // The upstream for what proxy_pass names: a block, or HOST[:PORT]. Nothing when no host of it can be reached, which
  // has been told.
  std::optional<std::string> use(std::string_view host, const NginxSettings& settings, const NginxDirective& from);
  // The same for a relay, which has no requests: options are written as they are.
  std::optional<std::string> use_plain(std::string_view host, const FieldLines& options, const NginxDirective& from);

 private:
  std::optional<std::string> add(std::string_view host, const FieldLines& options, uint16_t port,
                                 const NginxDirective& from);
  std::optional<UpstreamDraft> of_block(const NginxDirective& block, bool needs_port);
  void eject(const NginxDirective& block, std::optional<uint64_t> max_fails, std::optional<uint64_t> fail_ms,
             UpstreamDraft& out);

  ConfigDraft& draft_;
  Remarks& remarks_;
  std::map<std::string, const NginxDirective*, std::less<>> blocks_;
  std::map<std::string, std::string> made_;  // by what was asked for
};

}  // namespace trellis::app
