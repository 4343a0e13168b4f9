// The Idempotency-Key of a request that makes something. On the exchange's core; LinkBook, put_links() and make_once()
// keep the promise.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "http/handler.h"
#include "http/routes.h"
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

// The same for resources beside links, which have keys of their own for each path. What is asked holds no password.
IdempotencyKey key_of(const http::Request& request, std::string_view path, std::string_view body);
Task<Result<std::optional<Replay>>> first_answer(store::SqliteStore& store, IdempotencyKey key, int64_t now,
                                                 Deadline deadline);
struct MadeOnce {
  // refused: nothing was made, and the key is free.
  enum class Kind : uint8_t { made, replayed, key_reused, refused } kind = Kind::refused;
  Replay answer;  // made and replayed
};
// In the store's write: what `make` makes, unless the key's request has been answered.
Result<MadeOnce> make_once(store::SqliteConnection& db, const IdempotencyKey& key, int64_t now,
                           const std::function<Result<std::optional<Replay>>(store::SqliteConnection&)>& make);
http::ParameterDoc idempotency_parameter();

// 422
http::Response key_reused(http::RequestContext& context);

}  // namespace trellis::services::links
