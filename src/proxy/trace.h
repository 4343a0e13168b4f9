// Trace context (W3C Trace Context, level 1) and request ids. A valid traceparent of the client is taken over, anything
// else starts a new trace; our own span gets a new id either way. Pure but for the core's Rng; called once an exchange
// on its core, before the filters. Forward writes the outgoing traceparent with format_traceparent.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/time.h"

namespace trellis {
inline namespace base {
class Arena;
class Rng;
}  // namespace base
}  // namespace trellis
namespace trellis::http {
struct Request;
struct RequestContext;
struct TraceContext;
}  // namespace trellis::http

namespace trellis::proxy {

struct TraceParent {
  uint64_t trace_id_high = 0;
  uint64_t trace_id_low = 0;
  uint64_t span_id = 0;
  bool sampled = false;
};

// Version 00 exactly; a higher version by its first 55 characters, as the specification says; no upper case, no
// all-zero ids.
std::optional<TraceParent> parse_traceparent(std::string_view value) noexcept;

// Whether a tracestate list (all its fields joined) is well-formed: 1 to 32 members key=value with unique keys.
bool valid_tracestate(std::string_view value) noexcept;

// Sets context.trace. Where the parent is invalid or missing, a tracestate in the request is removed with it, and so is
// one that is malformed. `sample` is for new traces only; a parent's decision is kept.
void begin_trace(http::Request& request, http::RequestContext& context, Rng& rng, bool sample = false);

// "00-<trace id>-<our span id>-<flags>", in the arena.
std::string_view format_traceparent(Arena& arena, const http::TraceContext& trace);

// 1 to 64 characters of [A-Za-z0-9._-]: safe in logs and headers.
bool valid_request_id(std::string_view id) noexcept;
// Sets context.request_id: the client's X-Request-Id when there is one and it is valid, else a new ULID in the
// context's arena.
void begin_request_id(const http::Request& request, http::RequestContext& context, WallTime now, Rng& rng);

}  // namespace trellis::proxy
