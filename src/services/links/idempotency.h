// The Idempotency-Key of a request that makes something. On the exchange's core; LinkBook and put_links() keep the
// promise.
#pragma once

#include <optional>
#include <string>

#include "http/handler.h"
#include "services/links/link_book.h"

namespace trellis::services::links {

// 400 when there is a key and it is none, before the body is read; nothing when the request may go on.
std::optional<http::Response> refuse_key(const http::Request& request, http::RequestContext& context);
// With a digest of the body; without a key nothing is digested. If a password may be in it, which its text alone
// decides, the digest is one that is as slow to try as what is kept of the password; the key is its salt.
Task<Result<IdempotencyKey>> key_of(const http::Request& request, std::string body, Passwords& passwords,
                                    Deadline deadline);
// The first answer to this request, if there was one: to be asked before it is refused, for what was in order then may
// not be now. Times pass, hosts are blocked, domains come and go. `now` is milliseconds since 1970.
Task<Result<std::optional<Replay>>> first_answer(const http::Request& request, std::string body, LinkBook& book,
                                                 int64_t now, Deadline deadline);
// 422
http::Response key_reused(http::RequestContext& context);

}  // namespace trellis::services::links
