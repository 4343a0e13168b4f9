#include "queue/write_behind.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "queue/event_log.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "store/sqlite.h"

namespace trellis::queue {

namespace {

using store::Query;
using store::SqliteConnection;

constexpr std::array<store::Migration, 1> kMigrations = {{{1, "write behind", R"sql(
CREATE TABLE write_behind(topic TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;
)sql"}}};

constexpr Duration kTimeout = std::chrono::seconds(30);
constexpr Duration kFirstWait = std::chrono::milliseconds(250);  // after a failure; doubled up to the last
constexpr Duration kLastWait = std::chrono::seconds(5);

// Where the store says that the topic goes on.
Result<uint64_t> stored_up_to(SqliteConnection& db, std::string_view topic) {
  TRY(Query row, db.query("SELECT next FROM write_behind WHERE topic = ?1", topic));
  TRY(const bool there, row.next());
  return there ? static_cast<uint64_t>(row.integer(0)) : 0;
}

// What a reader of the topic gathers: of each key the last, in the order of their first.
struct Batch {
  std::vector<LateWrite> writes;
  uint64_t from = 0;
  uint64_t next = 0;
};

void gather(Batch& batch, std::unordered_map<std::string, size_t, StringHash, std::equal_to<>>& places,
            StoredEvent& event) {
  const auto [place, added] = places.try_emplace(event.key, batch.writes.size());
  if (added) {
    batch.writes.push_back({std::move(event.key), std::move(event.value)});
  } else {
    batch.writes[place->second].value = std::move(event.value);
  }
}

}  // namespace

WriteBehind::WriteBehind(EventLog& log, store::SqliteStore& store, Metrics& metrics, WriteBehindOptions options,
                         Apply apply)
    : log_(log),
      store_(store),
      options_(std::move(options)),
      apply_(std::make_shared<const Apply>(std::move(apply))),
      shared_(std::make_shared<Shared>()) {
  gauge_ =
      metrics.computed("trellis_write_behind_waiting", "Keys whose last value is in the log and not yet in the store.",
                       {{"store", store.name()}, {"topic", options_.topic}}, [shared = shared_] {
                         const std::lock_guard lock(shared->mutex);
                         return static_cast<double>(shared->pending.size());
                       });
}

WriteBehind::~WriteBehind() = default;

// --- Life ---

Task<Result<void>> WriteBehind::start() {
  auto opening = blocking([store = &store_, log = &log_, topic = options_.topic]() -> Result<uint64_t> {
    TRY_VOID(store->migrate("write_behind", kMigrations));
    TopicOptions how;
    how.name = topic;
    how.keep.compact = true;
    TRY_VOID(log->open_topic(std::move(how)));
    return store->write_now([&](SqliteConnection& db) { return stored_up_to(db, topic); });
  });
  const Result<uint64_t> stored = co_await opening;
  if (!stored) co_return fail(stored.error().clone());
  CO_TRY(const uint64_t head, log_.head(options_.topic, 0));
  if (*stored > head) {
    co_return fail(Error(Code::data_loss, "the log's topic " + options_.topic +
                                              " is shorter than what the store has of it: is it another log?")
                       .from(Side::self));
  }
  shared_->stored.store(*stored);
  auto reading = read_on();
  Result<void> read = co_await reading;
  if (!read) co_return read;
  group_.spawn(work());
  co_return Result<void>();
}

Task<bool> WriteBehind::stop(Deadline deadline) {
  stopping_ = true;
  stop_.set();
  auto joining = group_.join(deadline);
  const bool ended = co_await joining;
  if (!ended) group_.cancel_all();
  co_return ended&& waiting() == 0;
}

// What was acknowledged and is not in the store is found from the start on.
Task<Result<void>> WriteBehind::read_on() {
  CO_TRY(const uint64_t head, log_.head(options_.topic, 0));
  uint64_t from = shared_->stored.load();
  while (from < head) {
    auto reading = read(from, options_.max_batch);
    Result<EventSlice> slice = co_await reading;
    if (!slice) co_return fail(std::move(slice).error());
    for (StoredEvent& event : slice->events) note(std::move(event.key), std::move(event.value), event.offset);
    if (slice->next == from) break;
    from = slice->next;
  }
  co_return Result<void>();
}

// Past what is damaged, which is lost and said to be.
Task<Result<EventSlice>> WriteBehind::read(uint64_t from, size_t max) {
  auto reading = log_.read(options_.topic, 0, from, max);
  Result<EventSlice> slice = co_await reading;
  if (slice || slice.error().code() != Code::data_loss) co_return slice;
  log_error("late writes are damaged and left out",
            {{"topic", options_.topic}, {"offset", from}, {"error", slice.error().to_string()}});
  auto skipping = log_.next_whole(options_.topic, 0, from + 1);
  const Result<uint64_t> whole = co_await skipping;
  if (!whole) co_return fail(whole.error().clone());
  EventSlice nothing;
  nothing.next = *whole;
  co_return nothing;
}

Task<> WriteBehind::work() {
  Duration wait = kFirstWait;
  while (true) {
    const bool last = stopping_;
    auto writing = write_some();
    const Result<bool> all = co_await writing;
    if (all && *all && last) co_return;
    if (all && !*all) continue;  // there is more
    if (all) {
      wait = kFirstWait;
      (void)co_await stop_.wait(after(Loop::current().now(), options_.pace));
      continue;
    }
    static LogThrottle throttle(std::chrono::seconds(10));
    log_every(throttle, LogLevel::warn, "late writes wait for the store",
              {{"topic", options_.topic}, {"waiting", waiting()}, {"error", all.error().to_string()}});
    if (last) co_return;
    (void)co_await stop_.wait(after(Loop::current().now(), wait));
    wait = std::min(kLastWait, wait * 2);
  }
}

// --- Writing ---

Task<Result<void>> WriteBehind::write(std::string key, std::optional<std::string> value, Deadline deadline) {
  if (key.empty()) co_return fail(Code::invalid_argument, "a late write has a key");
  CO_TRY(const uint64_t head, log_.head(options_.topic, 0));
  if (head - std::min(head, shared_->stored.load()) >= options_.max_waiting) {
    co_return fail(Error(Code::resource_exhausted, "too many late writes of " + options_.topic +
                                                       " wait for the store (limit " +
                                                       std::to_string(options_.max_waiting) + ")")
                       .from(Side::self));
  }
  std::vector<queue::Event> events;
  events.push_back({key, value});
  auto appending = log_.append(options_.topic, std::move(events), deadline);
  const Result<std::vector<EventPosition>> position = co_await appending;
  if (!position) co_return fail(position.error().clone());
  note(std::move(key), std::move(value), position->front().offset);
  co_return Result<void>();
}

// True: all that the log had is in the store.
Task<Result<bool>> WriteBehind::write_some() {
  Batch batch;
  batch.from = batch.next = shared_->stored.load();
  CO_TRY(const uint64_t head, log_.head(options_.topic, 0));
  std::unordered_map<std::string, size_t, StringHash, std::equal_to<>> places;
  while (batch.next < head && batch.writes.size() < options_.max_batch) {
    auto reading = read(batch.next, options_.max_batch - batch.writes.size());
    Result<EventSlice> slice = co_await reading;
    if (!slice) co_return fail(std::move(slice).error());
    for (StoredEvent& event : slice->events) {
      note(event.key, event.value, event.offset);  // another instance may have written it
      gather(batch, places, event);
    }
    if (slice->next == batch.next) break;
    batch.next = slice->next;
  }
  if (batch.next == batch.from) co_return true;
  auto shared_batch = std::make_shared<const Batch>(std::move(batch));
  auto put = [apply = apply_, topic = options_.topic, batch = shared_batch](SqliteConnection& db) -> Result<uint64_t> {
    TRY(const uint64_t stored, stored_up_to(db, topic));
    // Another instance may have been here: it goes on from where that one is.
    if (stored != batch->from) return stored;
    TRY_VOID((*apply)(db, batch->writes));
    TRY_VOID(
        db.execute("INSERT INTO write_behind(topic, next) VALUES(?1, ?2) "
                   "ON CONFLICT(topic) DO UPDATE SET next = excluded.next",
                   topic, batch->next));
    return batch->next;
  };
  auto writing =
      store_.write(std::move(put), after(Loop::current().now(), kTimeout), 512 * shared_batch->writes.size());
  const Result<uint64_t> stored = co_await writing;
  if (!stored) co_return fail(stored.error().clone());
  forget(*stored == shared_batch->next ? &shared_batch->writes : nullptr, *stored);
  co_return *stored >= head;
}

// --- What waits ---

void WriteBehind::note(std::string key, std::optional<std::string> value, uint64_t offset) {
  const std::lock_guard lock(shared_->mutex);
  // It may be in the store before its writer heard that it is in the log, and two writers may hear in any order.
  if (offset < shared_->stored.load()) return;
  Pending& pending = shared_->pending[std::move(key)];
  if (pending.offset > offset) return;
  pending = {std::move(value), offset};
}

// `writes` null: whatever is below, for another instance has written it.
void WriteBehind::forget(const std::vector<LateWrite>* writes, uint64_t stored) {
  const std::lock_guard lock(shared_->mutex);
  shared_->stored.store(std::max(stored, shared_->stored.load()));
  if (!writes) {
    std::erase_if(shared_->pending, [&](const auto& one) { return one.second.offset < stored; });
    return;
  }
  for (const LateWrite& write : *writes) {
    const auto found = shared_->pending.find(write.key);
    if (found != shared_->pending.end() && found->second.offset < stored) shared_->pending.erase(found);
  }
}

std::optional<std::optional<std::string>> WriteBehind::find(std::string_view key) const {
  const std::lock_guard lock(shared_->mutex);
  const auto found = shared_->pending.find(key);
  if (found == shared_->pending.end()) return std::nullopt;
  return found->second.value;
}

size_t WriteBehind::waiting() const noexcept {
  const std::lock_guard lock(shared_->mutex);
  return shared_->pending.size();
}

}  // namespace trellis::queue
