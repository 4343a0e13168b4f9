// fault: answers late, not at all, with an error or slowly, for a share of a route's requests: how a bad network or a
// broken server looks to clients, for drills and tests. Off without `fault` in the route. One instance a route and
// core; immutable. proxy/fault_plan.h draws.
#pragma once

#include <cstdint>
#include <optional>

#include "config/fields.h"
#include "proxy/fault_plan.h"
#include "proxy/filter.h"
#include "proxy/filter_parts.h"
#include "proxy/when.h"

namespace trellis {
inline namespace base {
class Counter;
}
}  // namespace trellis

namespace trellis::proxy {

struct FaultConfig {
  std::optional<RequestDelayConfig> delay;
  std::optional<FaultAbortConfig> abort;
  std::optional<FaultResetConfig> reset;
  uint64_t bandwidth = 0;  // bytes a second; 0: any
  std::optional<WhenConfig> when;
  static config::Fields<FaultConfig> fields();
  void check(config::Checker& at) const;
};

class FaultFilter final : public Filter {
 public:
  FaultFilter(const FaultConfig& config, const FilterParts& parts);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override;

 private:
  Task<Result<http::Response>> meet(Fault fault, http::Request& request, http::RequestContext& context, Next next);

  FaultPlan plan_;
  uint64_t bandwidth_;
  std::optional<When> when_;
  Counter& delays_;
  Counter& aborts_;
  Counter& resets_;
  Counter& paced_;
};

}  // namespace trellis::proxy
