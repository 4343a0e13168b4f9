// The answer of a node that has to refuse a request because a limit was reached: 503 with the name of the limit and
// when to come again. Nothing is wrong with the request; a repeat may succeed. Any core.
#pragma once

#include <string_view>

#include "base/time.h"
#include "http/handler.h"

namespace trellis::http {

// `code` is static text: the problem's code, and the outcome in the access log. Retry-After says `wait` in whole
// seconds, at least one, and up to half as long again (a second at least) at random, so that clients do not come back
// all at once.
Response busy(RequestContext& context, std::string_view code, std::string_view detail, Duration wait);

}  // namespace trellis::http
