// What is done with links, without HTTP: made, changed, removed, found and listed, by their names (link_name.h). Every
// change leaves the cache before it is answered, and stays done when the one who asked has gone. The API, the imports
// and the interfaces of other shorteners are words around it. Owned by the service; called on every core; arguments are
// taken by value, for they live longer than a caller who leaves.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/time.h"
#include "cache/memory_cache.h"
#include "http/preconditions.h"
#include "runtime/task.h"
#include "services/links/access/blocklist.h"
#include "services/links/access/passwords.h"
#include "services/links/codes.h"
#include "services/links/domains/domains.h"
#include "services/links/id_allocator.h"
#include "services/links/link_json.h"
#include "services/links/rows.h"
#include "services/links/target.h"

namespace trellis::store {
class SqliteStore;
}
namespace trellis::queue {
class Outbox;
}

namespace trellis::services::links {

class LinkEvents;

// A promise to give the same answer to the same request for a day.
struct IdempotencyKey {
  std::string key;      // "": none
  std::string request;  // a digest of what is asked
};

struct Created {
  // exists: there was one that is the same, and that was wanted. key_reused: for another request. taken: somebody has
  // the alias, or had.
  enum class Kind : uint8_t { created, exists, replayed, key_reused, taken } kind = Kind::created;
  Link link;      // when created or found
  Replay answer;  // created, exists and replayed
};

struct Changed {
  // precondition: it was changed meanwhile. upside_down: it would end before it begins.
  enum class Kind : uint8_t { changed, not_found, gone, precondition, upside_down } kind = Kind::changed;
  Link link;  // as it is now; without a text of any kind when it was removed
};

class LinkBook {
 public:
  struct Options {
    std::string base_url;                                   // without a slash at its end
    int status = 302;                                       // of links that do not say
    std::string blocklist;                                  // a file of destinations; "": none
    std::shared_ptr<const queue::Outbox> outbox = nullptr;  // of the events of links; null: there is no log
  };
  // Borrows the store and the cache, which outlive it.
  LinkBook(Options options, store::SqliteStore& store, std::shared_ptr<cache::CacheSpace<Target>> targets);

  // On the home loop, before everything else.
  Task<Result<void>> start(Loop& home, Clock& clock);
  Task<Result<void>> stop(Deadline deadline);

  // `now` is milliseconds since 1970, in all of these.
  Task<Result<Created>> create(NewLink wanted, IdempotencyKey key, int64_t now, Deadline deadline);
  // `conditions` are about etag_of() the link as it is then; without any whatever the version.
  Task<Result<Changed>> change(std::string name, LinkPatch patch, http::EtagConditions conditions, int64_t now,
                               Deadline deadline);
  Task<Result<Changed>> remove(std::string name, http::EtagConditions conditions, int64_t now, Deadline deadline);
  // A removed one too, as a tombstone.
  Task<Result<std::optional<Link>>> find(std::string name, Deadline deadline);
  Task<Result<Page>> list(LinkFilter filter, int64_t before, size_t limit, Deadline deadline);

  // What a new link is before it has a number and, if it is to have one, a password; on the domain whose host it names,
  // which is one of ours.
  Link link_of(const NewLink& wanted, int64_t now) const;

  const Codes& codes() const noexcept { return *codes_; }
  IdAllocator& ids() noexcept { return *ids_; }
  store::SqliteStore& store() noexcept { return store_; }
  cache::CacheSpace<Target>& targets() noexcept { return *targets_; }
  // For operations that end after those who asked for them.
  std::shared_ptr<cache::CacheSpace<Target>> shared_targets() const { return targets_; }
  const LinkEvents& events() const noexcept { return *events_; }
  std::shared_ptr<const LinkEvents> shared_events() const { return events_; }
  Domains& domains() noexcept { return domains_; }
  DomainTablePointer domain_table() const { return domains_.table(); }
  Passwords& passwords() noexcept { return passwords_; }
  Blocklist& blocklist() noexcept { return blocklist_; }
  const Blocklist& blocklist() const noexcept { return blocklist_; }
  // Why these settings may not be a link's; whoever makes or changes a link in any way asks.
  std::optional<Fault> refuse_blocked(const LinkPatch& set) const {
    return blocklist_.refuse(set, domain_table()->own());
  }
  int status_of(const Domain& domain) const noexcept { return domain.status.value_or(options_.status); }

 private:
  Options options_;
  store::SqliteStore& store_;
  // Shared with writes under way: what they changed leaves the cache even when the one who asked for it has gone.
  std::shared_ptr<cache::CacheSpace<Target>> targets_;
  Domains domains_;
  Passwords passwords_;
  Blocklist blocklist_;
  std::shared_ptr<const LinkEvents> events_;  // likewise
  std::optional<Codes> codes_;
  std::unique_ptr<IdAllocator> ids_;
};

// How long an Idempotency-Key is remembered, in milliseconds.
inline constexpr int64_t kKeysLast = 24 * 3600 * 1000;

}  // namespace trellis::services::links
