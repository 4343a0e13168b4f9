#include "services/links/bulk/bulk.h"

#include <algorithm>
#include <future>
#include <optional>
#include <utility>

#include "runtime/loop.h"
#include "services/links/link_events.h"
#include "services/links/link_urls.h"
#include "store/sqlite.h"

namespace trellis::services::links {

namespace {

using Kind = BulkOutcome::Kind;

constexpr int kMaxAttempts = 16;      // to find a number whose code is free
constexpr size_t kAtLeast = 4096;     // links before an operation gives way
constexpr size_t kToldAtOnce = 1024;  // events in memory, twice
constexpr size_t kForgottenATurn = 512;

// Numbers for the links of one operation, without those that aliases have taken. Leased in pieces: one that gives way
// leaves few unused.
class Numbers {
 public:
  Numbers(store::SqliteConnection& db, size_t wanted) : db_(db), wanted_(wanted) {}

  Result<uint64_t> next() {
    while (true) {
      if (next_ == lease_.end) {
        const size_t piece = std::clamp<size_t>(wanted_, 1, kAtLeast);
        TRY(lease_, lease_ids(db_, piece));
        next_ = lease_.begin;
        burned_ = 0;
        wanted_ -= std::min(wanted_, piece);
      }
      const uint64_t number = next_++;
      // Both rise.
      while (burned_ < lease_.burned.size() && lease_.burned[burned_] < number) ++burned_;
      if (burned_ == lease_.burned.size() || lease_.burned[burned_] != number) return number;
    }
  }

 private:
  store::SqliteConnection& db_;
  size_t wanted_;
  Lease lease_;
  uint64_t next_ = 0;
  size_t burned_ = 0;
};

// Tells that links were made, in their order. WHY with a thread: writing an event out and packing it takes as long as
// half of what is left to the writer, of which there is one; it goes on with the next links meanwhile.
class Telling {
 public:
  // Borrows all.
  Telling(store::SqliteConnection& db, const LinkEvents& events, const DomainTable& domains, int64_t now)
      : db_(db), events_(events), domains_(domains), now_(now) {}

  // `link` stays as it is until end().
  Result<void> add(const Link& link) {
    made_.push_back(&link);
    if (made_.size() < kToldAtOnce) return {};
    TRY_VOID(end_written());
    writing_ = std::exchange(made_, {});
    made_.reserve(kToldAtOnce);
    // Where there is no thread to be had, it is written out when it is asked for.
    written_ = std::async([this] { return events_.written(LinkEvent::created, writing_, domains_, now_); });
    return {};
  }

  Result<void> end() {
    TRY_VOID(end_written());
    return events_.tell(db_, LinkEvent::created, std::exchange(made_, {}), domains_, now_);
  }

 private:
  Result<void> end_written() {
    if (!written_.valid()) return {};
    return events_.tell(db_, LinkEvent::created, writing_, written_.get(), domains_, now_);
  }

  store::SqliteConnection& db_;
  const LinkEvents& events_;
  const DomainTable& domains_;
  int64_t now_;
  std::vector<const Link*> made_;             // of which the events are not written out
  std::vector<const Link*> writing_;          // of which they are under way
  std::future<LinkEvents::Written> written_;  // last: its end is waited for
};

BulkOutcome outcome_of(Kind kind, const Link& link) { return {kind, link.id, link.version, link.code}; }

// The outcome of a link whose code somebody has.
Result<BulkOutcome> conflict(store::SqliteConnection& db, const Link& wanted, const BulkOptions& options) {
  if (options.same_code_exists) {
    TRY(const std::optional<Link> other, find_link(db, std::string_view(wanted.code)));
    if (other && !other->deleted && same_settings(*other, wanted) && other->title == wanted.title)
      return outcome_of(Kind::exists, *other);
  }
  return outcome_of(Kind::taken, wanted);
}

// Under a code of its number.
Result<bool> insert_made(store::SqliteConnection& db, Link& link, Numbers& numbers, const Codes& codes) {
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    link.code = link_name(split_name(link.code).host, codes.code_of(static_cast<uint64_t>(link.id)));
    TRY(const bool inserted, insert_unindexed_link(db, link));
    if (inserted) return true;
    TRY(const uint64_t next, numbers.next());
    link.id = static_cast<int64_t>(next);
  }
  return fail(Error(Code::internal, "no code of a link is free").from(Side::self));
}

Result<void> put_all(store::SqliteConnection& db, std::vector<BulkLink>& links, const BulkOptions& options,
                     const Codes& codes, const LinkEvents& events, const DomainTable& domains,
                     const store::SqliteStore& writer, int64_t now, BulkDone& done) {
  Numbers numbers(db, links.size());
  Telling telling(db, events, domains, now);
  bool taken = false;
  std::vector<UrlEntry> urls;  // of those that were put in, for the index
  done.outcomes.reserve(links.size());
  for (BulkLink& each : links) {
    const size_t count = done.outcomes.size();
    if (options.gives_way && count > 0 && count % kAtLeast == 0 && writer.queued() > 0) break;
    Link& link = each.link;
    if (each.find_existing) {
      // It may be one of those before it.
      TRY_VOID(index_urls(db, std::exchange(urls, {})));
      TRY(const std::optional<Link> other, find_same(db, link, each.title_too, now));
      if (other) {
        done.outcomes.push_back(outcome_of(Kind::exists, *other));
        continue;
      }
    }
    TRY(const uint64_t number, numbers.next());
    link.id = static_cast<int64_t>(number);
    // A code that was brought keeps no number free: who makes one that is taken goes on to the next number.
    TRY(const bool inserted,
        lacks_code(link.code) ? insert_made(db, link, numbers, codes) : insert_unindexed_link(db, link));
    if (inserted) {
      urls.push_back(url_entry(link));
      TRY_VOID(bring_counts(db, link.id, link.clicks, link.visits));
      TRY_VOID(telling.add(link));
      done.outcomes.push_back(outcome_of(Kind::made, link));
      continue;
    }
    TRY(BulkOutcome outcome, conflict(db, link, options));
    taken = taken || outcome.kind == Kind::taken;
    done.outcomes.push_back(std::move(outcome));
  }
  TRY_VOID(index_urls(db, std::move(urls)));
  if (options.atomic && taken) {
    done.kind = BulkDone::Kind::refused;
    return {};
  }
  return telling.end();
}

// Somebody may have asked for a code before it was a link: the cache forgets that there was none, a part in each turn
// of the loop, whether the one who made them waits for it or has gone.
struct Forgetting {
  Forgetting(std::shared_ptr<cache::CacheSpace<Target>> cache, std::shared_ptr<const BulkDone> what)
      : targets(std::move(cache)), done(std::move(what)) {}
  bool ended() const noexcept { return next == done->outcomes.size(); }

  std::shared_ptr<cache::CacheSpace<Target>> targets;
  std::shared_ptr<const BulkDone> done;
  size_t next = 0;
};

void forget_some(const std::shared_ptr<Forgetting>& forgetting) {
  const std::vector<BulkOutcome>& outcomes = forgetting->done->outcomes;
  const size_t end = std::min(outcomes.size(), forgetting->next + kForgottenATurn);
  for (size_t& i = forgetting->next; i < end; ++i)
    if (outcomes[i].kind == Kind::made) forgetting->targets->invalidate(outcomes[i].code);
  if (!forgetting->ended()) Loop::current().post([forgetting] { forget_some(forgetting); });
}

}  // namespace

size_t bytes_of(const Link& link) noexcept {
  size_t bytes = sizeof(BulkLink) + link.code.size() + link.url.size() + link.title.size() + link.rules.size() +
                 link.password.size();
  for (const std::string& tag : link.tags) bytes += sizeof tag + tag.size();
  return bytes;
}

Task<Result<BulkResult>> put_links(LinkBook& book, BulkLinks links, BulkOptions options, int64_t now,
                                   Deadline deadline) {
  size_t bytes = 0;
  for (const BulkLink& each : *links) bytes += bytes_of(each.link);
  auto done = std::make_shared<BulkDone>();
  auto forgetting = std::make_shared<Forgetting>(book.shared_targets(), done);
  auto forget = [forgetting, links](const Result<void>& written) {
    if (written && forgetting->done->kind == BulkDone::Kind::done) forget_some(forgetting);
  };
  auto put = [links, options = std::move(options), codes = book.codes(), events = book.shared_events(),
              domains = book.domain_table(), &writer = book.store(), now,
              done](store::SqliteConnection& db) -> Result<void> {
    const std::string& key = options.key.key;
    if (!key.empty()) {
      TRY(std::optional<Replay> earlier, find_replay(db, key, now - kKeysLast));
      if (earlier) {
        const bool same = earlier->request == options.key.request;
        done->kind = same ? BulkDone::Kind::replayed : BulkDone::Kind::key_reused;
        if (same) done->answer = *std::move(earlier);
        return {};
      }
    }
    TRY_VOID(put_all(db, *links, options, codes, *events, *domains, writer, now, *done));
    if (done->kind == BulkDone::Kind::refused) return fail(Code::aborted, "some codes are taken");
    if (!key.empty()) {
      done->answer = {
          .request = options.key.request, .status = 200, .code = {}, .body = options.answer(*done), .etag = {}};
      TRY_VOID(keep_replay(db, key, done->answer, now));
    }
    return {};
  };
  auto writing = book.store().write(std::move(put), deadline, bytes, std::move(forget));
  Result<void> written = co_await writing;
  const bool refused = !written && written.error().code() == Code::aborted && done->kind == BulkDone::Kind::refused;
  if (!written && !refused) co_return fail(std::move(written).error());
  if (written && done->kind == BulkDone::Kind::done) {
    while (!forgetting->ended()) co_await yield();
  }
  // Lists go by number: what is made from now on is newer.
  int64_t highest = 0;
  for (const BulkOutcome& outcome : done->outcomes)
    if (outcome.kind == Kind::made) highest = std::max(highest, outcome.id);
  if (!refused && highest > 0) book.ids().skip_to(static_cast<uint64_t>(highest) + 1);
  co_return BulkResult(done);
}

Task<Result<BulkResult>> try_links(LinkBook& book, BulkLinks links, BulkOptions options, int64_t now,
                                   Deadline deadline) {
  auto look = [links, options = std::move(options), now](store::SqliteConnection& db) -> Result<BulkResult> {
    auto done = std::make_shared<BulkDone>();
    done->outcomes.reserve(links->size());
    for (const BulkLink& each : *links) {
      std::optional<Link> other;
      if (each.find_existing) {
        TRY(other, find_same(db, each.link, each.title_too, now));
      }
      if (other) {
        done->outcomes.push_back(outcome_of(Kind::exists, *other));
        continue;
      }
      bool taken = false;
      if (!lacks_code(each.link.code)) {
        TRY(const std::optional<Link> holder, find_link(db, std::string_view(each.link.code)));
        taken = holder.has_value();
      }
      if (!taken) {
        done->outcomes.push_back(outcome_of(Kind::made, each.link));
        continue;
      }
      TRY(BulkOutcome outcome, conflict(db, each.link, options));
      done->outcomes.push_back(std::move(outcome));
    }
    return BulkResult(done);
  };
  auto reading = book.store().read(std::move(look), deadline);
  Result<BulkResult> done = co_await reading;
  co_return done;
}

}  // namespace trellis::services::links
