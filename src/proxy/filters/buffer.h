// buffer: keeps bodies of requests, of answers, or of both in memory, so that slow clients hold no connection to the
// upstream: a request goes on once its body is there, an answer is taken from the upstream as fast as it comes. What is
// larger than the limit, or finds no memory, streams on from there. A request's body that was kept whole can be sent
// once more. Answers that are event streams or gRPC, or say X-Accel-Buffering: no, are never kept. One instance a route
// and core.
#pragma once

#include <cstdint>
#include <memory>

#include "config/fields.h"
#include "proxy/filter.h"
#include "proxy/filter_parts.h"
#include "proxy/held_body.h"

namespace trellis {
inline namespace base {
class Counter;
}
}  // namespace trellis

namespace trellis::proxy {

struct BufferConfig {
  uint64_t request = 0;
  uint64_t response = 0;
  uint64_t memory = 64 * config::kMiB;
  static config::Fields<BufferConfig> fields();
  void check(config::Checker& at) const;
};

class BufferFilter final : public Filter {
 public:
  BufferFilter(const BufferConfig& config, const FilterParts& parts);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override;

 private:
  struct Outcomes {
    Outcomes(const FilterParts& parts, const char* what);
    Counter& whole;
    Counter& in_part;    // larger than the limit
    Counter& no_memory;  // ... or than what was left of `memory`
  };
  Task<Result<http::Response>> with_buffers(http::Request& request, http::RequestContext& context, Next next);
  // Takes the body out of `body` and gives what stands for it: all there, or there up to the limit.
  Task<Result<std::unique_ptr<http::BodyReader>>> hold(std::unique_ptr<http::BodyReader> body,
                                                       std::shared_ptr<HeldBytes> bytes, uint64_t limit,
                                                       Outcomes& outcomes, Deadline deadline);
  std::shared_ptr<HeldBytes> bytes_for(const http::BodyReader& body) const;

  BufferConfig config_;
  std::shared_ptr<HeldMemory> memory_;
  Outcomes requests_;
  Outcomes responses_;
};

}  // namespace trellis::proxy
