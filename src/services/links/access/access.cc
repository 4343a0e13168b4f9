#include "services/links/access/access.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "http/problem.h"
#include "http/target.h"
#include "runtime/loop.h"
#include "services/links/answers.h"
#include "services/links/domains/domains.h"
#include "services/links/resource.h"
#include "store/sqlite.h"

namespace trellis::services::links {

using http::FieldId;
using http::Request;
using http::RequestContext;
using http::Response;
using http::Scope;

namespace {

constexpr Duration kWriteUsesEvery = std::chrono::seconds(30);
constexpr int64_t kUseGrain = 1000;  // milliseconds: a busy key is noted once a second
constexpr size_t kMaxKeyText = 256;

// "" when there is none.
std::string_view key_text_of(const Request& request) {
  const std::optional<std::string_view> own = request.fields.find("X-Api-Key");
  if (own) return *own;
  const std::string_view credentials = request.fields.value(FieldId::authorization);
  const size_t space = credentials.find(' ');
  if (space == std::string_view::npos || !http::iequal(credentials.substr(0, space), "Bearer")) return {};
  std::string_view key = credentials.substr(space);
  key.remove_prefix(std::min(key.find_first_not_of(' '), key.size()));
  return key;
}

// Makes the request one about this domain, or refuses it.
std::optional<Response> confine(Request& request, RequestContext& context, const http::RouteDoc& route,
                                const Domain* domain, const DomainTable& domains) {
  const bool heeds = std::any_of(route.parameters.begin(), route.parameters.end(), [](const http::ParameterDoc& each) {
    return each.in == "query" && each.name == "domain";
  });
  if (!heeds || !domain)
    return refuse(context, 403, "permission_denied", "The key is limited to a domain and does not allow this.");
  bool said = false;
  std::string_view query = request.query;
  while (const auto parameter = http::next_parameter(query)) {
    const auto name = http::decode_component(parameter->key, context.arena, true);
    const auto value = http::decode_component(parameter->value, context.arena, true);
    if (!name || !value)
      return refuse(context, 400, "invalid_argument", "The query is not percent-encoded as it should be.");
    if (*name != "domain") continue;
    if (domains.find(*value) != domain)
      return refuse(context, 403, "permission_denied",
                    context.arena.concat({"The key is limited to the domain ", domain->host, "."}));
    said = true;
  }
  if (!said) {
    const std::string_view rest = request.query;
    request.query = context.arena.concat({"domain=", domain->host, rest.empty() ? "" : "&", rest});
  }
  return std::nullopt;
}

}  // namespace

// --- The keys in memory ---

// The digest of something random is as good a hash as any.
size_t Access::Keys::HashOf::operator()(const Digest& digest) const noexcept {
  size_t hash = 0;
  std::memcpy(&hash, digest.data(), sizeof(hash));
  return hash;
}

void Access::Keys::put(ApiKey key) {
  auto held = std::make_shared<Held>();
  held->used = key.last_used_at.value_or(0);
  held->written = held->used.load();
  held->key = std::move(key);
  const std::lock_guard guard(lock);
  by_digest[held->key.digest] = held;
  by_id[held->key.id] = std::move(held);
}

// Of two changes under way at once the later one stays, whichever is told first; a key that is gone stays gone.
void Access::Keys::update(const ApiKey& key) {
  const std::lock_guard guard(lock);
  const auto at = by_id.find(key.id);
  if (at == by_id.end() || at->second->key.version >= key.version) return;
  auto held = std::make_shared<Held>();
  held->key = key;
  held->used = at->second->used.load();
  held->written = at->second->written.load();
  by_digest[key.digest] = held;
  at->second = std::move(held);
}

void Access::Keys::drop(int64_t id) {
  const std::lock_guard guard(lock);
  const auto at = by_id.find(id);
  if (at == by_id.end()) return;
  by_digest.erase(at->second->key.digest);
  by_id.erase(at);
}

std::shared_ptr<Access::Held> Access::Keys::find(const Digest& digest) const {
  const std::lock_guard guard(lock);
  const auto at = by_digest.find(digest);
  return at == by_digest.end() ? nullptr : at->second;
}

// --- Life ---

Access::Access(bool required, store::SqliteStore& store) : required_(required), store_(store) {}

Task<Result<void>> Access::start(Loop& home) {
  home_ = &home;
  auto reading = store_.read([](store::SqliteConnection& db) { return all_keys(db); });
  Result<std::vector<ApiKey>> keys = co_await reading;
  if (!keys) co_return fail(std::move(keys).error());
  for (ApiKey& key : *keys) keys_->put(std::move(key));
  if (required_ && keys->empty())
    log_warn("keys are required and there is none: stop the node and make one with trellis key add --store", {});
  background_.spawn(write_uses());
  co_return Result<void>();
}

Task<Result<void>> Access::stop(Deadline deadline) {
  stopping_ = true;
  stop_.set();
  background_.close();
  const bool ended = co_await background_.join(deadline);
  if (!ended) background_.cancel_all();
  Result<void> written;
  if (home_) written = co_await write_uses_once();
  co_return written;
}

Task<> Access::write_uses() {
  while (!stopping_) {
    (void)co_await stop_.wait(after(home_->now(), kWriteUsesEvery));
    if (stopping_) co_return;
    const Result<void> written = co_await write_uses_once();
    if (!written) log_debug("the last uses of keys could not be written", {{"error", written.error().to_string()}});
  }
}

Task<Result<void>> Access::write_uses_once() {
  std::vector<std::pair<std::shared_ptr<Held>, KeyUse>> waiting;
  {
    const std::lock_guard guard(keys_->lock);
    for (const auto& [id, held] : keys_->by_id) {
      const int64_t used = held->used.load(std::memory_order_relaxed);
      if (used != held->written) waiting.emplace_back(held, KeyUse{id, used});
    }
  }
  if (waiting.empty()) co_return Result<void>();
  std::vector<KeyUse> uses;
  uses.reserve(waiting.size());
  for (const auto& [held, use] : waiting) uses.push_back(use);
  const size_t bytes = 32 * uses.size();
  auto writing = store_.write([uses = std::move(uses)](store::SqliteConnection& db) { return note_uses(db, uses); },
                              kNever, bytes);
  Result<void> written = co_await writing;
  if (written) {
    for (const auto& [held, use] : waiting) held->written = use.at;
  }
  co_return written;
}

// --- What is asked of it ---

Access::Verdict Access::judge(std::string_view key, Scope wanted, int64_t now, std::optional<int64_t>* domain) {
  if (!required_ || wanted == Scope::open) return Verdict::allowed;
  if (key.empty()) return Verdict::missing;
  if (key.size() > kMaxKeyText) return Verdict::unknown;
  const Digest digest = sha256(key);
  const std::shared_ptr<Held> held = keys_->find(digest);
  const auto text = [](const Digest& bytes) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  if (!held || !equal_secrets(text(held->key.digest), text(digest))) return Verdict::unknown;
  if (held->key.expires_at && *held->key.expires_at <= now) return Verdict::unknown;
  if (now - held->used.load(std::memory_order_relaxed) >= kUseGrain) held->used.store(now, std::memory_order_relaxed);
  if (held->key.domain && !domain) return Verdict::too_little;
  if (domain) *domain = held->key.domain ? std::optional(held->key.domain->id) : std::nullopt;
  return held->key.scope >= wanted ? Verdict::allowed : Verdict::too_little;
}

const Domain* Access::domain_of_key(int64_t domain, const DomainTable& domains) {
  const Domain* found = domains.find(domain);
  return found && domains.find(found->host) == found ? found : nullptr;
}

std::optional<Response> Access::check(Request& request, RequestContext& context, Scope wanted,
                                      const http::RouteDoc& route, const DomainTable& domains) {
  if (!required_) return std::nullopt;
  std::optional<int64_t> domain;
  switch (judge(key_text_of(request), wanted, unix_millis(context.loop.wall()), &domain)) {
    case Verdict::allowed:
      if (!domain) return std::nullopt;
      return confine(request, context, route, domain_of_key(*domain, domains), domains);
    case Verdict::too_little: {
      const std::string_view detail =
          context.arena.concat({"The key does not have the scope ", http::to_string(wanted), "."});
      return refuse(context, 403, "permission_denied", detail);
    }
    case Verdict::missing:
    case Verdict::unknown: break;
  }
  Response response =
      refuse(context, 401, "unauthenticated", "A valid key is needed, as X-Api-Key or as Authorization: Bearer.");
  response.fields.add(FieldId::www_authenticate, "Bearer realm=\"links\"");
  response.fields.add(FieldId::cache_control, "no-store");
  return response;
}

ApiKey Access::told(const Held& held) {
  ApiKey key = held.key;
  const int64_t used = held.used.load(std::memory_order_relaxed);
  key.last_used_at = used == 0 ? std::nullopt : std::optional(used);
  return key;
}

std::vector<ApiKey> Access::list(int64_t after, size_t limit) const {
  std::vector<ApiKey> keys;
  keys.reserve(limit);
  const std::lock_guard guard(keys_->lock);
  for (auto at = keys_->by_id.upper_bound(after); at != keys_->by_id.end() && keys.size() < limit; ++at)
    keys.push_back(told(*at->second));
  return keys;
}

std::optional<ApiKey> Access::find(int64_t id) const {
  const std::lock_guard guard(keys_->lock);
  const auto at = keys_->by_id.find(id);
  return at == keys_->by_id.end() ? std::nullopt : std::optional(told(*at->second));
}

Task<Result<std::optional<Access::Added>>> Access::add(std::string name, Scope scope, std::optional<KeyDomain> domain,
                                                       std::optional<int64_t> expires_at, int64_t now,
                                                       Deadline deadline) {
  std::string text = make_key_text();
  ApiKey key = key_of(text, std::move(name), scope, expires_at, now);
  key.domain = std::move(domain);
  auto insert = [key](store::SqliteConnection& db) -> Result<std::optional<ApiKey>> {
    TRY(const std::optional<int64_t> id, insert_key(db, key));
    if (!id) return std::optional<ApiKey>();
    ApiKey made = key;
    made.id = *id;
    return std::optional<ApiKey>(std::move(made));
  };
  auto remember = [keys = keys_](const Result<std::optional<ApiKey>>& made) {
    if (made && *made) keys->put(**made);
  };
  auto writing = store_.write(std::move(insert), deadline, 512, std::move(remember));
  Result<std::optional<ApiKey>> made = co_await writing;
  if (!made) co_return fail(std::move(made).error());
  if (!*made) co_return std::optional<Added>();
  co_return std::optional<Added>(Added{**std::move(made), std::move(text)});
}

namespace {

// The key, if it is there and in the version that the request is about.
Result<Access::Changed> find_for_change(store::SqliteConnection& db, int64_t id,
                                        const http::EtagConditions& conditions) {
  TRY(std::optional<ApiKey> key, find_key(db, id));
  if (!key) return Access::Changed{Access::Changed::Kind::not_found, {}};
  if (!conditions.hold(etag_of(id, key->version))) return Access::Changed{Access::Changed::Kind::precondition, {}};
  return Access::Changed{Access::Changed::Kind::done, *std::move(key)};
}

}  // namespace

Task<Result<Access::Changed>> Access::change(int64_t id, std::optional<std::string> name, std::optional<Scope> scope,
                                             std::optional<std::optional<int64_t>> expires_at,
                                             http::EtagConditions conditions, Deadline deadline) {
  auto update = [id, name = std::move(name), scope, expires_at,
                 conditions = std::move(conditions)](store::SqliteConnection& db) -> Result<Changed> {
    TRY(Changed changed, find_for_change(db, id, conditions));
    if (changed.kind != Changed::Kind::done) return changed;
    if (name) changed.key.name = *name;
    if (scope) changed.key.scope = *scope;
    if (expires_at) changed.key.expires_at = *expires_at;
    ++changed.key.version;
    TRY_VOID(update_key(db, changed.key));
    return changed;
  };
  auto remember = [keys = keys_](const Result<Changed>& changed) {
    if (changed && changed->kind == Changed::Kind::done) keys->update(changed->key);
  };
  auto writing = store_.write(std::move(update), deadline, 512, std::move(remember));
  Result<Changed> changed = co_await writing;
  co_return changed;
}

Task<Result<Access::Changed>> Access::remove(int64_t id, http::EtagConditions conditions, Deadline deadline) {
  auto erase = [id, conditions = std::move(conditions)](store::SqliteConnection& db) -> Result<Changed> {
    TRY(Changed removed, find_for_change(db, id, conditions));
    if (removed.kind == Changed::Kind::done) {
      TRY_VOID(delete_key(db, id));
    }
    return removed;
  };
  auto forget = [keys = keys_, id](const Result<Changed>& removed) {
    if (removed && removed->kind != Changed::Kind::precondition) keys->drop(id);
  };
  auto writing = store_.write(std::move(erase), deadline, 512, std::move(forget));
  Result<Changed> removed = co_await writing;
  co_return removed;
}

}  // namespace trellis::services::links
