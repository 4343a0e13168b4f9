// What a host answers to a gRPC health check: never a crash, never good without SERVING, and nothing is taken beyond
// the limit.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "upstream/health/grpc_health.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis;
  using namespace trellis::upstream;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  (void)decode_health_response(bytes).has_value();

  GrpcHealth call("host:1", "service", std::chrono::seconds(1));
  (void)call.take_output();
  const size_t piece = data[0] == 0 ? bytes.size() + 1 : data[0];  // how it comes in
  size_t taken = 0;
  while (taken < bytes.size() && !call.done()) {
    const std::string_view part = bytes.substr(taken, piece);
    if (!call.feed(part)) break;
    taken += part.size();
    (void)call.take_output();
  }
  if (taken > GrpcHealth::kMaxReceived) std::abort();
  const auto verdict = call.verdict();
  if (verdict && (!call.done() || *verdict != "answered SERVING")) std::abort();
  return 0;
}
