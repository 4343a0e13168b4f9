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
// With a digest of the body; without a key nothing is digested. `secret`: a password is in it, so the digest is one
// that is as slow to try as what is kept of the password; the key is its salt.
Task<Result<IdempotencyKey>> key_of(const http::Request& request, std::string body, bool secret, Passwords& passwords,
                                    Deadline deadline);
// 422
http::Response key_reused(http::RequestContext& context);

}  // namespace trellis::services::links
