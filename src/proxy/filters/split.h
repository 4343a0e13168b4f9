// split: leads shares of a route's requests to other targets; what the ways leave goes to the route's own. A key
// decides (the client's address, a field, a cookie, or chance), so that a client stays on its way; a header or cookie
// may force one. With `sticky` a client without a key gets one in a cookie: a number of 0 to 9999 that many clients
// share and that follows nobody. proxy/split_plan.h says what a changed share moves. One instance a route and core;
// immutable.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/rules/key.h"
#include "config/fields.h"
#include "proxy/config.h"
#include "proxy/filter.h"
#include "proxy/filter_parts.h"
#include "proxy/split_plan.h"
#include "proxy/when.h"
#include "upstream/hash_key.h"

namespace trellis {
inline namespace base {
class Counter;
}
}  // namespace trellis

namespace trellis::proxy {

struct SplitWayConfig {
  std::string name;
  double share = 0;
  TargetConfig to;
  std::optional<WhenConfig> when;
  static config::Fields<SplitWayConfig> fields();
  void check(config::Checker& at) const;
  // `name`, or that of the upstream or service.
  const std::string& label() const noexcept { return name.empty() ? to.name : name; }
};

struct SplitStickyConfig {
  std::string cookie;
  Duration lasts = std::chrono::hours(1);
  static config::Fields<SplitStickyConfig> fields();
  void check(config::Checker& at) const;
};

struct SplitConfig {
  std::string key = "client_address";
  std::optional<SplitStickyConfig> sticky;
  std::vector<SplitWayConfig> ways;
  static config::Fields<SplitConfig> fields();
  void check(config::Checker& at) const;
  // Do requests with the same key of a cache go the same way, always?
  bool is_told_by(const cache::KeyConfig& key) const;
};

class SplitFilter final : public Filter {
 public:
  // What the route's own target is called in logs and metrics.
  static constexpr std::string_view kRest = "rest";

  // The config has been checked.
  static Result<std::unique_ptr<SplitFilter>> make(const SplitConfig& config, const FilterParts& parts);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override;

 private:
  struct Way {
    std::string name;
    std::shared_ptr<http::Handler> target;  // null: the route's own
    std::optional<When> when;
    Counter* requests;
  };
  struct Sticky {
    std::string cookie;
    std::string rest;  // of the Set-Cookie line, behind the value
  };
  SplitFilter(const SplitConfig& config, std::vector<Way> ways, const SplitPlan& plan);
  std::optional<size_t> forced(const http::Request& request) const noexcept;
  Task<Result<http::Response>> go(const Way& way, http::Request& request, http::RequestContext& context, Next next);
  Task<Result<http::Response>> go_with_cookie(const Way& way, uint32_t point, http::Request& request,
                                              http::RequestContext& context, Next next);

  std::vector<Way> ways_;  // as the plan numbers them
  SplitPlan plan_;
  std::optional<upstream::HashKey> key_;  // none: chance
  std::optional<Sticky> sticky_;
};

}  // namespace trellis::proxy
