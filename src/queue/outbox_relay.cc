#include "queue/outbox_relay.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "base/rng.h"
#include "queue/event_log.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "store/sqlite.h"

namespace trellis::queue {

namespace {

using store::SqliteConnection;

constexpr size_t kRowsAtOnce = 1000;  // removed in a write
constexpr Duration kTimeout = std::chrono::seconds(30);
constexpr Duration kFirstWait = std::chrono::milliseconds(250);  // after a failure; doubled up to the last
constexpr Duration kLastWait = std::chrono::seconds(5);

uint32_t new_name() {
  uint32_t name = 0;
  random_bytes(&name, sizeof name);
  return name;
}

Deadline soon() { return after(Loop::current().now(), kTimeout); }

}  // namespace

Result<void> Outbox::put(SqliteConnection& db, std::span<const OutboxEvent> events, WallTime wall) const {
  TRY(const std::vector<OutboxRow> rows, outbox_rows(events));
  return put(db, rows, wall);
}

Result<void> Outbox::put(SqliteConnection& db, std::span<const OutboxRow> rows, WallTime wall) const {
  TRY_VOID(outbox_put(db, topic_, rows, max_waiting_, wall));
  mark_.store(true, std::memory_order_relaxed);
  return {};
}

OutboxRelay::OutboxRelay(std::shared_ptr<const Outbox> outbox, store::SqliteStore& store, EventLog& log,
                         Metrics& metrics, OutboxRelayOptions options)
    : outbox_(std::move(outbox)), store_(store), log_(log), options_(options), figures_(std::make_shared<Figures>()) {
  const Labels labels{{"store", store.name()}, {"topic", outbox_->topic()}};
  gauges_.push_back(metrics.computed("trellis_outbox_waiting", "Events that wait for the log.", labels,
                                     [figures = figures_] { return static_cast<double>(figures->waiting.load()); }));
  gauges_.push_back(metrics.computed(
      "trellis_outbox_oldest_seconds", "Age of the oldest event that waits for the log.", labels,
      [figures = figures_, &clock = Loop::current().clock()] {
        const int64_t since = figures->oldest_ms.load();
        return since == 0 ? 0.0 : std::max(0.0, static_cast<double>(unix_millis(clock.wall()) - since) / 1000);
      }));
}

OutboxRelay::~OutboxRelay() = default;

// What was moved since the store was told of it does not wait any more; the age of the oldest counts it until then.
void OutboxRelay::show(const OutboxState& state) noexcept {
  const int64_t waiting = std::max<int64_t>(0, state.waiting - std::max<int64_t>(0, in_log_ - state.moved));
  figures_->waiting.store(waiting);
  figures_->oldest_ms.store(waiting > 0 ? state.oldest_ms : 0);
}

// --- Life ---

Task<Result<void>> OutboxRelay::start() {
  auto opening = blocking([store = &store_, log = &log_, topic = outbox_->topic(), keep = options_.keep,
                           name = new_name()]() -> Result<uint32_t> {
    TRY_VOID(store->migrate("outbox", outbox_migrations()));
    TRY_VOID(log->open_topic({.name = topic, .partitions = 1, .keep = keep}));
    return store->write_now([&](SqliteConnection& db) { return open_outbox(db, topic, name); });
  });
  const Result<uint32_t> opened = co_await opening;
  if (!opened) co_return fail(opened.error().clone());
  name_ = *opened;
  // An outbox from a backup must go on above the numbers that the log has before it gives one again.
  auto preparing = prepare();
  Result<void> prepared = co_await preparing;
  if (!prepared) co_return prepared;
  auto forgetting = forget();
  Result<void> forgotten = co_await forgetting;
  if (!forgotten) co_return forgotten;
  group_.spawn(work());
  co_return Result<void>();
}

Task<bool> OutboxRelay::stop(Deadline deadline) {
  stopping_ = true;
  stop_.set();
  auto joining = group_.join(deadline);
  const bool ended = co_await joining;
  if (!ended) group_.cancel_all();
  co_return ended;
}

Task<> OutboxRelay::work() {
  Duration wait = kFirstWait;
  Time looked{};
  while (!stopping_) {
    const Time now = Loop::current().now();
    if (!outbox_->take_mark() && now - looked < options_.look) {
      (void)co_await stop_.wait(after(now, options_.pace));
      continue;
    }
    looked = now;
    auto moving = move_some();
    const Result<bool> all = co_await moving;
    if (!all) {
      static LogThrottle throttle(std::chrono::seconds(10));
      log_every(
          throttle, LogLevel::warn, "events wait in the outbox",
          {{"topic", outbox_->topic()}, {"waiting", figures_->waiting.load()}, {"error", all.error().to_string()}});
      certain_ = false;
      looked = Time{};
      (void)co_await stop_.wait(after(Loop::current().now(), wait));
      wait = std::min(kLastWait, wait * 2);
      continue;
    }
    wait = kFirstWait;
    if (!*all) {
      looked = Time{};  // there is more
      continue;
    }
    (void)co_await stop_.wait(after(Loop::current().now(), options_.pace));
  }
  if (certain_ && in_log_ != forgotten_) {
    auto forgetting = forget();
    (void)co_await forgetting;  // what is left the next start finds in the log
  }
}

// --- Moving ---

// Where the store says that the log goes on, and from there what the log says.
Task<Result<void>> OutboxRelay::prepare() {
  auto asking = store_.read([topic = outbox_->topic()](SqliteConnection& db) { return outbox_state(db, topic); });
  const Result<OutboxState> state = co_await asking;
  if (!state) co_return fail(state.error().clone());
  in_log_ = forgotten_ = state->moved;
  show(*state);
  CO_TRY(const uint64_t first, log_.first(outbox_->topic(), 0));
  CO_TRY(const uint64_t head, log_.head(outbox_->topic(), 0));
  // A log that was lost, or one from a backup, is shorter: whatever it has is looked at.
  if (state->next > head) {
    log_warn("the log is shorter than what was moved to it; what it lacks is not told again",
             {{"topic", outbox_->topic()}, {"moved_to", state->next}, {"head", head}});
  }
  head_ = state->next > head ? first : std::max(first, state->next);
  auto reading = read_on();
  Result<void> read = co_await reading;
  if (!read) co_return read;
  certain_ = true;
  co_return Result<void>();
}

Task<Result<void>> OutboxRelay::read_on() {
  CO_TRY(const uint64_t end, log_.head(outbox_->topic(), 0));
  while (head_ < end) {
    auto reading = log_.read(outbox_->topic(), 0, head_);
    const Result<EventSlice> slice = co_await reading;
    if (!slice && slice.error().code() == Code::data_loss) {
      auto skipping = log_.next_whole(outbox_->topic(), 0, head_ + 1);
      const Result<uint64_t> whole = co_await skipping;
      if (!whole) co_return fail(whole.error().clone());
      head_ = *whole;
      continue;
    }
    if (!slice) co_return fail(slice.error().clone());
    for (const StoredEvent& event : slice->events) {
      if (!event.value) continue;
      if (const auto number = outbox_number(name_, *event.value)) in_log_ = std::max(in_log_, *number);
    }
    if (slice->next == head_) break;
    head_ = slice->next;
  }
  co_return Result<void>();
}

// True: nothing is left.
Task<Result<bool>> OutboxRelay::move_some() {
  if (!certain_) {
    auto preparing = prepare();
    Result<void> prepared = co_await preparing;
    if (!prepared) co_return fail(std::move(prepared).error());
  }
  const size_t max = options_.max_events;
  const size_t max_bytes = options_.max_bytes;
  auto asking = store_.read([topic = outbox_->topic(), after = in_log_, max, max_bytes](
                                SqliteConnection& db) { return outbox_waiting(db, topic, after, max, max_bytes); },
                            soon());
  Result<std::vector<WaitingEvent>> waiting = co_await asking;
  if (!waiting) co_return fail(std::move(waiting).error());
  if (waiting->empty()) {
    auto forgetting = forget_when_due();
    Result<void> forgotten = co_await forgetting;
    if (!forgotten) co_return fail(std::move(forgotten).error());
    co_return true;
  }
  const int64_t last = waiting->back().number;
  std::vector<queue::Event> events;
  events.reserve(waiting->size());
  size_t bytes = 0;
  for (WaitingEvent& one : *waiting) {
    queue::Event event;
    event.key = std::move(one.event.key);
    event.value = outbox_record(name_, one.number, one.event.payload);
    bytes += event.value->size();
    events.push_back(std::move(event));
  }
  const bool all = waiting->size() < max && bytes < max_bytes;
  const size_t count = events.size();
  auto appending = log_.append_at(outbox_->topic(), head_, std::move(events), soon());
  const Result<std::vector<EventPosition>> at = co_await appending;
  if (!at && at.error().code() == Code::aborted) {
    certain_ = false;  // another relay was quicker, during a reload: see what it has moved
    co_return false;
  }
  if (!at) {
    auto counting = store_.read([topic = outbox_->topic()](SqliteConnection& db) { return outbox_state(db, topic); });
    const Result<OutboxState> state = co_await counting;
    if (state) show(*state);
    co_return fail(at.error().clone());
  }
  TRELLIS_ASSERT(at->size() == count);
  head_ = at->back().offset + 1;
  in_log_ = last;
  if (all) show({.moved = in_log_});
  auto forgetting = forget_when_due();
  Result<void> forgotten = co_await forgetting;
  if (!forgotten) co_return fail(std::move(forgotten).error());
  co_return all;
}

Task<Result<void>> OutboxRelay::forget_when_due() {
  if (in_log_ == forgotten_ || Loop::current().now() - forgot_ < options_.tidy) co_return Result<void>();
  auto forgetting = forget();
  Result<void> forgotten = co_await forgetting;
  co_return forgotten;
}

Task<Result<void>> OutboxRelay::forget() {
  while (true) {
    auto forgetting = store_.write([topic = outbox_->topic(), number = in_log_, next = head_](SqliteConnection& db) {
      return outbox_forget(db, topic, number, next, kRowsAtOnce);
    });
    const Result<Forgotten> forgotten = co_await forgetting;
    if (!forgotten) co_return fail(forgotten.error().clone());
    forgotten_ = forgotten->state.moved;
    forgot_ = Loop::current().now();
    show(forgotten->state);
    if (forgotten->rows < kRowsAtOnce || stopping_) co_return Result<void>();
  }
}

}  // namespace trellis::queue
