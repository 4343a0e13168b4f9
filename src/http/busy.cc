#include "http/busy.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "http/problem.h"
#include "runtime/loop.h"

namespace trellis::http {

Response busy(RequestContext& context, std::string_view code, std::string_view detail, Duration wait) {
  context.outcome = code;
  context.failed_side = Side::self;
  Response response = problem(context.arena, 503, code, detail, true, context.request_id);
  const double least = std::max(seconds(wait), 1.0);
  const auto whole = static_cast<int64_t>(std::ceil(least * (1 + 0.5 * context.loop.rng().unit())));
  response.fields.add(FieldId::retry_after, context.arena.copy(std::to_string(whole)));
  return response;
}

}  // namespace trellis::http
