// Our own error answers: RFC 9457 problem+json with a stable `code`, and the one function that turns an Error into an
// answer. What a client did wrong is told in words; of what failed behind us or in us only the kind is told: no
// address, no trace. Any core; the body lies in the arena.
#pragma once

#include <string_view>

#include "base/arena.h"
#include "base/error.h"
#include "http/message.h"

namespace trellis::http {

struct RequestContext;

// An error of a client whose what() begins with this is answered by 413 and not 429: "body_too_large: more than 1 MiB".
inline constexpr std::string_view kBodyTooLarge = "body_too_large";

// `code` and `request_id` are escaped like `detail`; an empty detail or request_id is left out. `temporary`: a repeat
// may succeed.
Response problem(Arena& arena, int status, std::string_view code, std::string_view detail, bool temporary,
                 std::string_view request_id);

// Client: 400 401 403 404 408 409 412 413 429 499 501. Upstream: 504 for a deadline, 503 for resource_exhausted, 502
// else. Self and unset: 503 for deadline, unavailable (so: no healthy host) and resource_exhausted, 501, 500; and 4xx
// as for a client where the code says what the client did (not_found, permission_denied, ...; invalid_argument only
// when the side is unset).
int status_for(const Error& error) noexcept;
// A stable code of lower-case words: "not_found", "upstream_timeout", "overloaded".
std::string_view code_for(const Error& error) noexcept;

// Also fills context.outcome and context.failed_side.
Response response_for(const Error& error, RequestContext& context);
// The same with all that the error says, its causes too: for those who run the node only.
Response whole_response_for(const Error& error, RequestContext& context);

}  // namespace trellis::http
