// body_limit: refuses request bodies above a size: at once by 413 when the length is announced, else when the bytes
// have come. One instance a route and core.
#pragma once

#include <cstdint>

#include "config/fields.h"
#include "proxy/filter.h"

namespace trellis::proxy {

struct BodyLimitConfig {
  uint64_t max = uint64_t{1} << 20;
  static config::Fields<BodyLimitConfig> fields();
};

class BodyLimitFilter final : public Filter {
 public:
  explicit BodyLimitFilter(const BodyLimitConfig& config) noexcept : max_(config.max) {}
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override;

 private:
  uint64_t max_;
};

}  // namespace trellis::proxy
