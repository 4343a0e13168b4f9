#include "services/links/link_book.h"

#include <algorithm>
#include <utility>

#include "base/rng.h"
#include "runtime/loop.h"
#include "services/links/access/key_rows.h"
#include "services/links/clicks/figures_rows.h"
#include "services/links/domains/domain_rows.h"
#include "services/links/link_events.h"
#include "services/links/link_urls.h"
#include "services/links/webhooks/webhook_rows.h"
#include "store/sqlite.h"

namespace trellis::services::links {

namespace {

constexpr size_t kIndexedAtOnce = 10'000;
constexpr int kMaxAttempts = 16;  // to find a number whose code is free

}  // namespace

LinkBook::LinkBook(Options options, store::SqliteStore& store, std::shared_ptr<cache::CacheSpace<Target>> targets)
    : options_(std::move(options)),
      store_(store),
      targets_(std::move(targets)),
      domains_(options_.base_url, store),
      passwords_(random_seed()),
      blocklist_(options_.blocklist, store_),
      events_(std::make_shared<const LinkEvents>(options_.outbox)) {}

Task<Result<void>> LinkBook::start(Loop& home, Clock& clock) {
  auto migrating = blocking([store = &store_]() -> Result<void> {
    TRY_VOID(store->migrate("links", migrations()));
    TRY_VOID(store->migrate("links_figures", figures_migrations()));
    TRY_VOID(store->migrate("links_urls", url_migrations()));
    TRY_VOID(store->migrate("links_passwords", password_migrations()));
    TRY_VOID(store->migrate("links_blocklist", blocklist_migrations()));
    TRY_VOID(store->migrate("links_domains", domain_migrations()));
    TRY_VOID(store->migrate("links_access", access_migrations()));
    return store->migrate("links_webhooks", webhook_migrations());
  });
  Result<void> migrated = co_await migrating;
  if (!migrated) co_return fail(std::move(migrated).error());
  Result<void> blocking_begins = co_await blocklist_.start();
  if (!blocking_begins) co_return blocking_begins;
  // Once in the life of a file that is older than the index.
  for (bool indexed = false; !indexed;) {
    auto indexing = store_.write([](store::SqliteConnection& db) { return index_more(db, kIndexedAtOnce); });
    const Result<bool> all = co_await indexing;
    if (!all) co_return fail(all.error().clone());
    indexed = *all;
  }
  CodeKey fresh{};
  random_bytes(fresh.data(), fresh.size());
  auto keying = store_.write([fresh](store::SqliteConnection& db) { return load_key(db, fresh); });
  Result<CodeKey> key = co_await keying;
  if (!key) co_return fail(std::move(key).error());
  codes_.emplace(*key);
  Result<void> known = co_await domains_.start();
  if (!known) co_return known;
  ids_ = std::make_unique<IdAllocator>(store_, home, clock);
  Result<void> leased = co_await ids_->start();
  co_return leased;
}

Task<Result<void>> LinkBook::stop(Deadline deadline) {
  if (ids_) co_await ids_->stop(deadline);
  co_return Result<void>();
}

Link LinkBook::link_of(const NewLink& wanted, int64_t now) const {
  const DomainTablePointer domains = domains_.table();
  const Domain* domain = wanted.domain.empty() ? &domains->default_domain() : domains->find(wanted.domain);
  Link link;
  // One that was removed meanwhile is not the default one: the store will refuse the link.
  link.code = domain ? domain->name_of(wanted.alias) : link_name(wanted.domain, wanted.alias);
  link.status = domain ? status_of(*domain) : options_.status;
  link.created_at = link.updated_at = now;
  wanted.set.apply_to(link);
  return link;
}

Task<Result<Created>> LinkBook::create(NewLink wanted, IdempotencyKey key, int64_t now, Deadline deadline) {
  std::string password;
  if (wanted.set.password && !wanted.set.password->empty()) {
    auto hashing = passwords_.hash(*std::move(wanted.set.password), deadline);
    Result<std::string> hashed = co_await hashing;
    if (!hashed) co_return fail(std::move(hashed).error());
    password = *std::move(hashed);
  }
  auto taking = ids_->take(deadline);
  const Result<uint64_t> id = co_await taking;
  if (!id) co_return fail(id.error().clone());
  Link link = link_of(wanted, now);
  link.password = std::move(password);
  link.id = static_cast<int64_t>(*id);
  const DomainTablePointer domains = domains_.table();
  if (lacks_code(link.code)) link.code += codes_->code_of(*id);
  const std::optional<uint64_t> stands_for = codes_->counter_of(split_name(link.code).code);
  const bool custom = stands_for != *id;
  const std::optional<uint64_t> burns = custom ? stands_for : std::nullopt;
  const bool find = wanted.find_existing;
  const bool title_too = wanted.set.title.has_value();

  Replay answer;
  answer.request = std::move(key.request);
  answer.status = 201;
  answer.code = link.code;
  answer.etag = etag_of(link);
  append_link(answer.body, link, *domains);
  const size_t bytes = 512 + link.url.size() + link.title.size() + (key.key.empty() ? 0 : answer.body.size());

  // Somebody may have asked for the code before it was a link.
  auto remember = [targets = targets_, code = link.code, target = target_of(link, blocklist_),
                   stamp = targets_->stamp(link.code)](const Result<Created>& done) mutable {
    if (done && done->kind == Created::Kind::created && done->link.code == code)
      targets->put(code, std::move(target), Loop::current().now(), stamp);
  };
  auto insert = [link = std::move(link), custom, burns, find, title_too, codes = *codes_, key = std::move(key.key),
                 answer = std::move(answer), events = events_, domains,
                 now](store::SqliteConnection& db) mutable -> Result<Created> {
    if (!key.empty()) {
      TRY(std::optional<Replay> earlier, find_replay(db, key, now - kKeysLast));
      if (earlier && earlier->request != answer.request) return Created{Created::Kind::key_reused, {}, {}};
      if (earlier) return Created{Created::Kind::replayed, {}, *std::move(earlier)};
    }
    auto kind = Created::Kind::created;
    std::optional<Link> same;
    if (find) {
      const std::string_view host = split_name(link.code).host;
      std::string code = custom ? link.code : link_name(host, {});
      std::swap(code, link.code);
      TRY(same, find_same(db, link, title_too, now));
      std::swap(code, link.code);
    }
    if (same) {
      kind = Created::Kind::exists;
      link = *std::move(same);
    } else {
      TRY(bool inserted, insert_link(db, link, burns));
      // Imported links have codes that nobody kept out of the counter's way.
      for (int attempt = 0; !inserted && !custom && attempt < kMaxAttempts; ++attempt) {
        TRY(const Lease next, lease_ids(db, 1));
        if (!next.burned.empty()) continue;
        link.id = static_cast<int64_t>(next.begin);
        link.code = link_name(split_name(link.code).host, codes.code_of(next.begin));
        TRY(inserted, insert_link(db, link, std::nullopt));
      }
      if (!inserted) return Created{Created::Kind::taken, {}, {}};
      TRY_VOID(events->tell(db, LinkEvent::created, link, *domains, now));
    }
    if (kind == Created::Kind::exists || link.code != answer.code) {
      answer.status = kind == Created::Kind::exists ? 200 : 201;
      answer.code = link.code;
      answer.etag = etag_of(link);
      answer.body.clear();
      append_link(answer.body, link, *domains);
    }
    if (!key.empty()) {
      TRY_VOID(keep_replay(db, key, answer, now));
    }
    return Created{kind, link, answer};
  };
  auto writing = store_.write(std::move(insert), deadline, bytes, std::move(remember));
  Result<Created> written = co_await writing;
  if (written && written->kind == Created::Kind::taken && !custom) {
    co_return fail(Error(Code::internal, "a code was made twice").from(Side::self));
  }
  co_return written;
}

Task<Result<Changed>> LinkBook::change(std::string name, LinkPatch patch, http::EtagConditions conditions, int64_t now,
                                       Deadline deadline) {
  if (patch.password && !patch.password->empty()) {
    auto hashing = passwords_.hash(*std::move(patch.password), deadline);
    Result<std::string> password = co_await hashing;
    if (!password) co_return fail(std::move(password).error());
    patch.password = *std::move(password);
  }
  const size_t bytes = 512 + (patch.url ? patch.url->size() : 0) + (patch.title ? patch.title->size() : 0);
  auto forget = [targets = targets_, name](const Result<Changed>&) { targets->invalidate(name); };
  auto update = [patch = std::move(patch), name = std::move(name), conditions = std::move(conditions), events = events_,
                 domains = domains_.table(), now](store::SqliteConnection& db) -> Result<Changed> {
    TRY(std::optional<Link> link, find_link(db, name));
    if (!link) return Changed{Changed::Kind::not_found, {}};
    if (link->deleted) return Changed{Changed::Kind::gone, {}};
    if (!conditions.hold(etag_of(*link))) return Changed{Changed::Kind::precondition, {}};
    if (!patch.empty()) {
      patch.apply_to(*link);
      if (patch.password) link->password = *patch.password;
      if (link->not_before && link->expires_at && *link->not_before >= *link->expires_at)
        return Changed{Changed::Kind::upside_down, {}};
      ++link->version;
      link->updated_at = std::max(now, link->updated_at);
      TRY_VOID(update_link(db, *link));
      TRY_VOID(events->tell(db, LinkEvent::changed, *link, *domains, now));
    }
    return Changed{Changed::Kind::changed, *std::move(link)};
  };
  auto writing = store_.write(std::move(update), deadline, bytes, std::move(forget));
  Result<Changed> changed = co_await writing;
  co_return changed;
}

Task<Result<Changed>> LinkBook::remove(std::string name, http::EtagConditions conditions, int64_t now,
                                       Deadline deadline) {
  auto forget = [targets = targets_, name](const Result<Changed>&) { targets->invalidate(name); };
  auto bury = [name = std::move(name), conditions = std::move(conditions), events = events_, domains = domains_.table(),
               now](store::SqliteConnection& db) -> Result<Changed> {
    TRY(std::optional<Link> link, find_link(db, name));
    if (!link) return Changed{Changed::Kind::not_found, {}};
    if (link->deleted) return Changed{Changed::Kind::gone, {}};
    if (!conditions.hold(etag_of(*link))) return Changed{Changed::Kind::precondition, {}};
    TRY_VOID(bury_link(db, link->id, now));
    TRY_VOID(events->tell(db, LinkEvent::deleted, *link, *domains, now));
    return Changed{Changed::Kind::changed, {}};
  };
  auto writing = store_.write(std::move(bury), deadline, 512, std::move(forget));
  Result<Changed> changed = co_await writing;
  co_return changed;
}

Task<Result<std::optional<Link>>> LinkBook::find(std::string name, Deadline deadline) {
  auto reading =
      store_.read([name = std::move(name)](store::SqliteConnection& db) { return find_link(db, name); }, deadline);
  Result<std::optional<Link>> link = co_await reading;
  co_return link;
}

Task<Result<Page>> LinkBook::list(LinkFilter filter, int64_t before, size_t limit, Deadline deadline) {
  auto reading = store_.read([filter = std::move(filter), before,
                              limit](store::SqliteConnection& db) { return list_links(db, filter, before, limit); },
                             deadline);
  Result<Page> page = co_await reading;
  co_return page;
}

}  // namespace trellis::services::links
