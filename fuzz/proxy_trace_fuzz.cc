// traceparent, tracestate and X-Request-Id of any client: what is taken over must survive its own formatting.
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "base/arena.h"
#include "http/handler.h"
#include "proxy/trace.h"

using namespace trellis;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const std::optional<proxy::TraceParent> parent = proxy::parse_traceparent(text)) {
    Arena arena;
    const http::TraceContext trace{.trace_id_high = parent->trace_id_high,
                                   .trace_id_low = parent->trace_id_low,
                                   .span_id = parent->span_id,
                                   .sampled = parent->sampled};
    const std::string_view again = proxy::format_traceparent(arena, trace);
    if (again.substr(2, 51) != text.substr(2, 51) || !proxy::parse_traceparent(again)) std::abort();
  }
  if (proxy::valid_tracestate(text) && text.find_first_of("\r\n") != std::string_view::npos) std::abort();
  if (proxy::valid_request_id(text) && text.find_first_of("\r\n\"\\ ") != std::string_view::npos) std::abort();
  return 0;
}
