// Who may use the API: keys with a scope each, looked up in memory. The table of routes asks check() before every route
// that is not open (http/routes.h); an interface that carries keys in a way of its own asks judge(). Keys are few and
// change seldom: all of them are held, by the SHA-256 of their text, which is all that the store has of them too. When
// a key was last used is written every half minute, for all of them at once. Owned by the service; start() and stop()
// on its home loop, the rest on any core.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "cache/shard_lock.h"
#include "http/preconditions.h"
#include "http/routes.h"
#include "runtime/sync.h"
#include "runtime/task.h"
#include "services/links/access/key_rows.h"

namespace trellis::store {
class SqliteStore;
}

namespace trellis::services::links {

class DomainTable;
struct Domain;

class Access {
 public:
  // missing: no key came. unknown: nobody has it, or it was revoked, or has expired. too_little: its scope.
  enum class Verdict : uint8_t { allowed, missing, unknown, too_little };

  // Borrows the store, which outlives it. When keys are not required everybody may do everything.
  Access(bool required, store::SqliteStore& store);

  // After the migrations.
  Task<Result<void>> start(Loop& home);
  Task<Result<void>> stop(Deadline deadline);

  bool required() const noexcept { return required_; }

  // By X-Api-Key or Authorization: Bearer. A refusal (401, 403), or nothing when the request may go on. Of a key that
  // is limited to a domain the request is made one about this domain (?domain=), which the routes heed whoever asks; a
  // route that does not know this parameter takes no such key.
  std::optional<http::Response> check(http::Request& request, http::RequestContext& context, http::Scope wanted,
                                      const http::RouteDoc& route, const DomainTable& domains);
  // Of a key's text, "" for none. `now` in milliseconds since 1970, here and below. `domain`: the number of what the
  // key is limited to goes there; who does not ask cannot heed it, and is told too_little of such a key.
  Verdict judge(std::string_view key, http::Scope wanted, int64_t now, std::optional<int64_t>* domain = nullptr);
  // What such a number means; null: the domain was removed, or its host is that of base_url by now, and is the default
  // domain's then. The key opens nothing any more.
  static const Domain* domain_of_key(int64_t domain, const DomainTable& domains);

  // Those after this id, by id.
  std::vector<ApiKey> list(int64_t after, size_t limit) const;
  std::optional<ApiKey> find(int64_t id) const;

  struct Added {
    ApiKey key;
    std::string text;  // told once
  };
  // Nothing: there are as many as there may be.
  // `domain`: as ApiKey has it.
  Task<Result<std::optional<Added>>> add(std::string name, http::Scope scope, std::optional<KeyDomain> domain,
                                         std::optional<int64_t> expires_at, int64_t now, Deadline deadline);
  struct Changed {
    enum class Kind : uint8_t { done, not_found, precondition } kind = Kind::done;
    ApiKey key;  // as it is now; of a removal, as it was
  };
  // `conditions` are about the ETag of the key as it is then.
  Task<Result<Changed>> change(int64_t id, std::optional<std::string> name, std::optional<http::Scope> scope,
                               std::optional<std::optional<int64_t>> expires_at, http::EtagConditions conditions,
                               Deadline deadline);
  Task<Result<Changed>> remove(int64_t id, http::EtagConditions conditions, Deadline deadline);

 private:
  struct Held {
    ApiKey key;
    std::atomic<int64_t> used{0};     // at that time; 0: never
    std::atomic<int64_t> written{0};  // what of it is on disk
  };
  struct Keys {
    // WHY a lock: a key that was revoked opens nothing any more, on any core. It is held for a lookup.
    mutable cache::ShardLock lock;
    std::map<int64_t, std::shared_ptr<Held>> by_id;
    struct HashOf {
      size_t operator()(const Digest& digest) const noexcept;
    };
    std::unordered_map<Digest, std::shared_ptr<Held>, HashOf> by_digest;

    void put(ApiKey key);
    void update(const ApiKey& key);
    void drop(int64_t id);
    std::shared_ptr<Held> find(const Digest& digest) const;
  };

  Task<> write_uses();
  Task<Result<void>> write_uses_once();
  static ApiKey told(const Held& held);

  bool required_;
  store::SqliteStore& store_;
  std::shared_ptr<Keys> keys_ = std::make_shared<Keys>();  // shared with writes under way
  Loop* home_ = nullptr;
  bool stopping_ = false;
  Event stop_;
  TaskGroup background_;
};

}  // namespace trellis::services::links
