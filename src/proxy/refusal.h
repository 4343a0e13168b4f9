// The one way in which filters and targets of this room refuse a request: a problem+json answer, noted in the context
// so that the access log and the metrics call it by the same code. Called on the request's core.
#pragma once

#include <string_view>

#include "http/handler.h"
#include "http/problem.h"

namespace trellis::proxy {

// `code` is static text.
inline http::Response refuse(http::RequestContext& context, int status, std::string_view code,
                             std::string_view detail = {}) {
  context.outcome = code;
  context.failed_side = Side::client;
  return http::problem(context.arena, status, code, detail, false, context.request_id);
}

}  // namespace trellis::proxy
