// rewrite: the path the target sees. A prefix of whole segments is taken off (/api is of /api and /api/x, not of
// /apix), then one is put in front. The route was chosen before, by the path as it came; log and metrics show that one
// too. One instance a route and core.
#pragma once

#include <string>

#include "config/fields.h"
#include "proxy/filter.h"

namespace trellis::proxy {

struct RewriteConfig {
  std::string strip_prefix;
  std::string add_prefix;
  static config::Fields<RewriteConfig> fields();
  void check(config::Checker& at) const;
};

class RewriteFilter final : public Filter {
 public:
  explicit RewriteFilter(const RewriteConfig& config);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override;

 private:
  std::string strip_;  // without a '/' at the end
  std::string add_;
};

}  // namespace trellis::proxy
