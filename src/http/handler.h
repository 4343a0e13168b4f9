// The seam between the edge and what stands behind it: a Handler answers a request. Forwarding, services, files,
// redirects and fixed answers are Handlers; so `proxy` and `services` never meet. Called on the connection's core; many
// requests are in flight at once on a core, so a Handler keeps per-request state in its coroutine only.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/arena.h"
#include "base/time.h"
#include "http/message.h"

namespace trellis {
inline namespace runtime {
class Loop;
}
}  // namespace trellis

namespace trellis::http {

class Explain;

// W3C trace context, level 1.
struct TraceContext {
  uint64_t trace_id_high = 0;
  uint64_t trace_id_low = 0;
  uint64_t span_id = 0;         // ours
  uint64_t parent_span_id = 0;  // 0: this is the first hop
  bool sampled = false;
};

// Keeps alive what handles a request. Who goes on with it beyond the exchange holds it meanwhile: a reload may have put
// something else in its place.
class Owner {
 public:
  virtual std::shared_ptr<void> hold() noexcept = 0;

 protected:
  ~Owner() = default;
};

// What is known of one exchange beside the request itself. Outlives every frame that handles it.
struct RequestContext {
  Arena& arena;
  runtime::Loop& loop;
  Time started;  // when the first byte of the head was seen
  Deadline deadline = kNever;
  std::string_view client_address;  // numeric, without port: of the TCP peer, or what a trusted proxy said
  uint16_t client_port = 0;         // 0: unknown
  // Where trusted proxies stand between the client and this node (proxy/trusted_proxies.h): the client's address and
  // theirs, in the order of the way here, "192.0.2.7, 10.0.0.1"; and the Host that the client asked for.
  std::string_view forwarded_for;
  std::string_view forwarded_host;
  bool from_stranger = false;  // the listener names trusted proxies, and the connection is none of theirs
  std::string_view listener;
  TraceContext trace;
  std::string_view request_id;
  // Filled on the way, for the access log and metrics.
  std::string_view route;
  uint32_t route_index = UINT32_MAX;  // of the pipeline; UINT32_MAX: no route took it
  std::string_view upstream;
  std::string_view upstream_host;
  uint32_t attempts = 0;
  std::string_view outcome;  // a stable code of our own errors, "" otherwise
  std::string_view cache_status;
  std::string_view way;  // that a split took
  bool reset = false;    // the client's connection is reset, whatever the handler answers (injected faults)
  Side failed_side = Side::unset;
  Explain* explain = nullptr;  // null: nobody asks (http/explain.h)
  Owner* owner = nullptr;      // null: its maker outlives everything (tests)
};

class Handler {
 public:
  virtual ~Handler() = default;
  virtual Task<Result<Response>> handle(Request& request, RequestContext& context) = 0;
};

}  // namespace trellis::http
