// redirect as a filter: it answers instead of the route's target (proxy/redirect_target.h says how). One instance a
// route and core.
#pragma once

#include "proxy/filter.h"
#include "proxy/redirect_target.h"

namespace trellis::proxy {

class RedirectFilter final : public Filter {
 public:
  explicit RedirectFilter(const RedirectConfig& config) : target_(config) {}
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next) override {
    return target_.handle(request, context);
  }

 private:
  RedirectTarget target_;
};

}  // namespace trellis::proxy
