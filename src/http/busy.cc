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
  const auto least = static_cast<uint64_t>(std::ceil(std::max(seconds(wait), 1.0)));
  const uint64_t told = least + context.loop.rng().below((least + 1) / 2 + 1);
  response.fields.add(FieldId::retry_after, context.arena.copy(std::to_string(told)));
  return response;
}

}  // namespace trellis::http
