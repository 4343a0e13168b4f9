// mirror: sends copies of a share of a route's requests to an upstream that shadows the real one. The original is never
// slowed and never fails by it: a copy is taken while the body streams, sent from the core's background once the body
// was read in full, and dropped where too many are under way; its answer is read and thrown away. What became of each
// is counted. A copy holds `body` bytes at most and ends by `timeout`. One instance a route and core.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "config/fields.h"
#include "proxy/config.h"
#include "proxy/filter.h"
#include "proxy/filter_parts.h"

namespace trellis::proxy {

struct MirrorConfig {
  TargetConfig to;
  double share = 1;
  uint32_t max_in_flight = 64;
  uint64_t body = 64 * config::kKiB;
  Duration timeout = std::chrono::seconds(5);
  static config::Fields<MirrorConfig> fields();
  void check(config::Checker& at) const;
};

enum class MirrorOutcome : uint8_t {
  answered,    // whatever the answer was
  failed,      // no connection, no answer or a broken one
  late,        // cut at `timeout`
  dropped,     // not sent: max_in_flight were under way
  too_large,   // not sent: the body is larger than `body`
  incomplete,  // not sent: the original's body was not read to its end
};
std::string_view to_string(MirrorOutcome outcome) noexcept;

class MirrorFilter final : public Filter {
 public:
  // The config has been checked.
  static Result<std::unique_ptr<MirrorFilter>> make(const MirrorConfig& config, const FilterParts& parts);
  ~MirrorFilter() override;
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override;

 private:
  struct Shadow;
  struct Copy;
  class CopiedBody;
  explicit MirrorFilter(std::shared_ptr<Shadow> shadow, double share) noexcept;
  void copy(http::Request& request, const http::RequestContext& context);
  static void begin(std::unique_ptr<Copy> copy);
  static Task<> send(std::unique_ptr<Copy> copy);
  static Task<> ask(Copy& copy, MirrorOutcome& outcome);

  std::shared_ptr<Shadow> shadow_;  // copies under way outlive the filter
  double share_;
};

}  // namespace trellis::proxy
