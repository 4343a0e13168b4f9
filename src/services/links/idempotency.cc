#include "services/links/idempotency.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/hash.h"
#include "http/target.h"
#include "services/links/access/passwords.h"
#include "services/links/answers.h"
#include "services/links/domains/host_name.h"
#include "store/sqlite.h"

namespace trellis::services::links {

using http::FieldId;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

constexpr size_t kMaxKey = 255;

// Both halves of a 128-bit digest of what was asked.
std::string digest_of(std::string_view body) {
  const uint64_t halves[2] = {hash64(body, 0x6c696e6b73), hash64(body, 0x7265706c6179)};
  return std::string(reinterpret_cast<const char*>(halves), sizeof(halves));
}

bool is_key(std::string_view key) noexcept {
  return !key.empty() && key.size() <= kMaxKey &&
         std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

// In its name, too, letters can be escaped: those of "password" begin with \u006 and \u007.
bool may_hold_password(std::string_view body) noexcept {
  return body.find("password") != std::string_view::npos || body.find("\\u006") != std::string_view::npos ||
         body.find("\\u007") != std::string_view::npos;
}

// Each domain has keys of its own: whoever has an API key for one can neither take nor learn those of another.
std::string name_of_key(const Request& request) {
  std::string key(request.fields.value(FieldId::idempotency_key));
  Arena arena;
  const auto domain = http::query_value(request.query, "domain", arena);
  if (!domain) return key;
  return normal_host(*domain) + " " + key;
}

}  // namespace

std::optional<Response> refuse_key(const Request& request, RequestContext& context) {
  if (!request.fields.has(FieldId::idempotency_key)) return std::nullopt;
  if (is_key(request.fields.value(FieldId::idempotency_key)) && request.fields.count(FieldId::idempotency_key) == 1)
    return std::nullopt;
  return refuse(context, 400, "invalid_idempotency_key", "An Idempotency-Key is 1 to 255 visible characters, once.");
}

Task<Result<IdempotencyKey>> key_of(const Request& request, std::string body, Passwords& passwords, Deadline deadline) {
  if (!request.fields.has(FieldId::idempotency_key)) co_return IdempotencyKey();
  const bool secret = may_hold_password(body);
  IdempotencyKey key;
  key.key = name_of_key(request);
  // What the query says, such as the domain, is asked, too.
  if (!request.query.empty()) body.insert(0, std::string(request.query) + "\n");
  if (!secret) {
    key.request = digest_of(body);
    co_return key;
  }
  auto digesting = passwords.digest(std::move(body), "idempotency-key:" + key.key, deadline);
  Result<std::string> digest = co_await digesting;
  if (!digest) co_return fail(std::move(digest).error());
  key.request = *std::move(digest);
  co_return key;
}

Task<Result<std::optional<Replay>>> first_answer(const Request& request, std::string body, LinkBook& book, int64_t now,
                                                 Deadline deadline) {
  if (!request.fields.has(FieldId::idempotency_key)) co_return std::optional<Replay>();
  auto look = [key = name_of_key(request), now](store::SqliteConnection& db) {
    return find_replay(db, key, now - kKeysLast);
  };
  auto reading = book.store().read(std::move(look), deadline);
  Result<std::optional<Replay>> earlier = co_await reading;
  if (!earlier || !*earlier) co_return earlier;
  auto keying = key_of(request, std::move(body), book.passwords(), deadline);
  Result<IdempotencyKey> key = co_await keying;
  if (!key) co_return fail(std::move(key).error());
  if ((*earlier)->request != key->request) co_return std::optional<Replay>();
  co_return earlier;
}

IdempotencyKey key_of(const Request& request, std::string_view path, std::string_view body) {
  if (!request.fields.has(FieldId::idempotency_key)) return {};
  std::string asked(path);
  asked.append("\n").append(request.query).append("\n").append(body);
  IdempotencyKey key;
  // No host begins with a slash, so these are no domain's.
  key.key.append(path).append(" ").append(request.fields.value(FieldId::idempotency_key));
  key.request = digest_of(asked);
  return key;
}

Task<Result<std::optional<Replay>>> first_answer(store::SqliteStore& store, IdempotencyKey key, int64_t now,
                                                 Deadline deadline) {
  if (key.key.empty()) co_return std::optional<Replay>();
  auto look = [name = std::move(key.key), now](store::SqliteConnection& db) {
    return find_replay(db, name, now - kKeysLast);
  };
  auto reading = store.read(std::move(look), deadline);
  Result<std::optional<Replay>> earlier = co_await reading;
  if (earlier && *earlier && (*earlier)->request != key.request) earlier->reset();
  co_return earlier;
}

Result<MadeOnce> make_once(store::SqliteConnection& db, const IdempotencyKey& key, int64_t now,
                           const std::function<Result<std::optional<Replay>>(store::SqliteConnection&)>& make) {
  if (!key.key.empty()) {
    TRY(std::optional<Replay> earlier, find_replay(db, key.key, now - kKeysLast));
    if (earlier && earlier->request != key.request) return MadeOnce{MadeOnce::Kind::key_reused, {}};
    if (earlier) return MadeOnce{MadeOnce::Kind::replayed, *std::move(earlier)};
  }
  TRY(std::optional<Replay> made, make(db));
  if (!made) return MadeOnce{MadeOnce::Kind::refused, {}};
  if (!key.key.empty()) {
    made->request = key.request;
    TRY_VOID(keep_replay(db, key.key, *made, now));
  }
  return MadeOnce{MadeOnce::Kind::made, *std::move(made)};
}

http::ParameterDoc idempotency_parameter() {
  return {
      "Idempotency-Key", "header",
      "1 to 255 visible characters; a repeat with the same key and body within 24 hours gets the first answer again.",
      R"({"type":"string","maxLength":255})"};
}

Response key_reused(RequestContext& context) {
  return refuse(context, 422, "idempotency_key_reused", "This Idempotency-Key was used with another body.");
}

}  // namespace trellis::services::links
