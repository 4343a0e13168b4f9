// One call of grpc.health.v1.Health/Check over HTTP/2 with prior knowledge, as bytes in and bytes out: no I/O, so that
// tests and fuzzers feed it anything. HTTP/2 is nghttp2's; the two messages have one field each and are written and
// read here by hand. Limits: what comes is read up to kMaxReceived bytes, a message up to kMaxMessage. One call an
// object; its core. Sources: RFC 9113, gRPC over HTTP/2 (PROTOCOL-HTTP2.md), GRPC Health Checking Protocol.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"

namespace trellis::upstream {

// HealthCheckRequest { string service = 1; } and HealthCheckResponse { ServingStatus status = 1; }, as protobuf.
std::string encode_health_request(std::string_view service);
inline constexpr uint64_t kServing = 1;
// The status, 0 (UNKNOWN) where it is left out; fields that are not known are passed over. data_loss: no such message.
Result<uint64_t> decode_health_response(std::string_view message);

class GrpcHealth {
 public:
  static constexpr size_t kMaxReceived = 64 * 1024;
  static constexpr size_t kMaxMessage = 1024;

  // `patience` is told to the server (grpc-timeout).
  GrpcHealth(std::string_view authority, std::string_view service, Duration patience);
  ~GrpcHealth();
  GrpcHealth(const GrpcHealth&) = delete;
  GrpcHealth& operator=(const GrpcHealth&) = delete;

  // What is to be sent now; empty: nothing.
  std::string take_output();
  // Bytes that came; after an error, or once done(), no more are taken.
  Result<> feed(std::string_view bytes);
  // The call has ended: verdict() says how.
  bool done() const noexcept;
  // What the server says, "SERVING" where all is well, else an error with what it said. Not done(): that it said
  // nothing.
  Result<std::string> verdict() const;

 private:
  struct Call;
  std::unique_ptr<Call> call_;
};

}  // namespace trellis::upstream
