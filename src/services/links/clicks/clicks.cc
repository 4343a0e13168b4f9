#include "services/links/clicks/clicks.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "base/rng.h"
#include "queue/event_log.h"
#include "runtime/blocking_pool.h"
#include "services/links/clicks/click_stream.h"
#include "services/links/clicks/figures_rows.h"
#include "services/links/rows.h"
#include "store/sqlite.h"

namespace trellis::services::links {

namespace {

constexpr int64_t kDay = 86'400'000;               // milliseconds
constexpr size_t kBatchesAtOnce = 8;               // taken out of the rings in a turn
constexpr size_t kUnsentBytes = size_t{64} << 20;  // what waits for a log that refuses
constexpr size_t kEventsAtOnce = 64;               // read from the log in a turn, in catching up

Counter& counter_of(Metrics& metrics, const char* event) {
  return metrics.counter("trellis_queue_messages_total", "Messages of a queue by what became of them.",
                         {{"topic", kClicksTopic}, {"event", event}});
}

}  // namespace

// --- The counters ---

// Rows on their way to the store, in an order that follows from the clicks alone: who has to write them again after a
// crash leaves out as many as are written.
class CountRows {
 public:
  virtual ~CountRows() = default;
  virtual size_t size() const = 0;
  virtual int64_t clicks(size_t from, size_t to) const = 0;
  virtual Result<void> write(store::SqliteConnection& db, size_t from, size_t to) const = 0;
};

namespace {

// The rows and the place that they bring the counter to, unless somebody else has brought it elsewhere meanwhile, as
// the service does that takes over from this one: aborted. `name` null: there is no log and no place.
Result<void> write_rows(store::SqliteConnection& db, const CountRows& rows, size_t from, size_t to, const char* name,
                        uint64_t counted, const CountProgress& progress) {
  if (name) {
    TRY(const CountProgress before, find_progress(db, name));
    if (before.counted != counted || before.rows != from)
      return fail(Error(Code::aborted, "somebody else has counted these clicks").from(Side::self));
  }
  TRY_VOID(rows.write(db, from, to));
  if (!name) return {};
  return keep_progress(db, name, progress);
}

}  // namespace

struct ClickCounter::Fold {
  struct Pace {
    size_t rows;       // a write; more would keep other writes waiting
    int share;         // of the time, one part in so many is spent on writing
    Duration at_most;  // how far the wait stretches
  };
  Fold(const char* counter, size_t most, Pace how) : name(counter), max(most), pace(how) {}
  virtual ~Fold() = default;
  virtual void add(const Click& click) = 0;
  virtual size_t size() const = 0;
  virtual std::shared_ptr<const CountRows> take() = 0;

  // Lets go of all that is not written; gives its clicks.
  int64_t drop() {
    const std::shared_ptr<const CountRows> gathered = take();
    int64_t clicks = gathered->clicks(0, gathered->size());
    if (rows) clicks += rows->clicks(written, rows->size());
    rows.reset();
    written = 0;
    return clicks;
  }

  bool full() const { return size() >= max; }
  bool idle() const { return !rows && size() == 0; }

  const char* name;
  size_t max;
  Pace pace;
  uint64_t next = 0;  // all before it was added
  // What is being written: [counted, upto) of the log, the first `written` rows of it.
  uint64_t counted = 0;
  uint64_t upto = 0;
  std::shared_ptr<const CountRows> rows;
  size_t written = 0;
  Time next_write{};
  int64_t lost = 0;  // found no room, and there is no log
};

struct ClickCounter::Totals final : Fold {
  struct Rows final : CountRows {
    std::vector<LinkCount> counts;
    size_t size() const override { return counts.size(); }
    int64_t clicks(size_t from, size_t to) const override {
      int64_t sum = 0;
      for (size_t i = from; i < to; ++i) sum += counts[i].clicks;
      return sum;
    }
    Result<void> write(store::SqliteConnection& db, size_t from, size_t to) const override {
      return add_clicks(db, std::span(counts).subspan(from, to - from));
    }
  };

  explicit Totals(size_t most) : Fold("totals", most, {5000, 100, std::chrono::seconds(5)}) {}
  void add(const Click& click) override { ++sums_[click.link]; }
  size_t size() const override { return sums_.size(); }
  std::shared_ptr<const CountRows> take() override {
    auto taken = std::make_shared<Rows>();
    taken->counts.reserve(sums_.size());
    for (const auto& [link, clicks] : sums_) taken->counts.push_back({link, clicks});
    sums_.clear();
    std::sort(taken->counts.begin(), taken->counts.end(),
              [](const LinkCount& a, const LinkCount& b) { return a.link < b.link; });
    return taken;
  }

 private:
  std::unordered_map<int64_t, int64_t> sums_;
};

// Gathers by link and minute; hours and days are added up of these when they are taken.
struct ClickCounter::ByTime final : Fold {
  struct Rows final : CountRows {
    std::vector<FiguresRow> figures;
    size_t size() const override { return figures.size(); }
    int64_t clicks(size_t, size_t) const override { return 0; }
    Result<void> write(store::SqliteConnection& db, size_t from, size_t to) const override {
      return add_figures(db, std::span(figures).subspan(from, to - from));
    }
  };
  struct Key {
    int64_t link;
    int64_t minute;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const noexcept {
      return (static_cast<uint64_t>(key.link) * 0x9E3779B97F4A7C15u) ^
             (static_cast<uint64_t>(key.minute) * 0xC2B2AE3D27D4EB4Fu);
    }
  };

  explicit ByTime(size_t most) : Fold("figures", most, {500, 50, std::chrono::seconds(15)}) {}
  void add(const Click& click) override {
    const int64_t minute = click.at / millis_of(Span::minute);
    minutes_[{click.link, minute}].add(click);
    minutes_[{kAllLinks, minute}].add(click);
    if (click.domain != 0) minutes_[{links_of_domain(int64_t{click.domain} - 1), minute}].add(click);
  }
  size_t size() const override { return minutes_.size(); }
  std::shared_ptr<const CountRows> take() override {
    auto taken = std::make_shared<Rows>();
    std::map<std::pair<int64_t, int64_t>, Figures> hours;
    std::map<std::pair<int64_t, int64_t>, Figures> days;
    for (auto& [key, figures] : minutes_) {
      hours[{key.minute / 60, key.link}].merge(figures);
      taken->figures.push_back({Span::minute, key.minute, key.link, std::move(figures)});
    }
    minutes_.clear();
    std::sort(taken->figures.begin(), taken->figures.end(), [](const FiguresRow& a, const FiguresRow& b) {
      return std::pair(a.number, a.link) < std::pair(b.number, b.link);
    });
    for (auto& [key, figures] : hours) {
      days[{key.first / 24, key.second}].merge(figures);
      taken->figures.push_back({Span::hour, key.first, key.second, std::move(figures)});
    }
    for (auto& [key, figures] : days) taken->figures.push_back({Span::day, key.first, key.second, std::move(figures)});
    return taken;
  }

 private:
  std::unordered_map<Key, Figures, Hash> minutes_;
};

// --- What the blocking pool touches ---

// Of the worker, which is in one place at a time: on the home loop, or in the pool while the loop waits for it. Shared,
// so that work in the pool ends well when the service does not wait for it.
struct ClickCounter::State {
  struct Batch {
    std::vector<Click> clicks;
    std::string bytes;
  };

  State(const Options& how)  // NOLINT(google-explicit-constructor): made in one place
      : reader(how.countries), stream(how.stream), log(how.log), totals(how.max_links), by_time(how.max_figures) {
    for (size_t i = 0; i < how.cores; ++i) rings.push_back(std::make_unique<ClickRing>(how.ring_bytes));
  }

  std::vector<std::unique_ptr<ClickRing>> rings;
  ClickReader reader;
  ClickStream* stream;
  queue::EventLog* log;
  std::deque<Batch> unsent;
  size_t unsent_bytes = 0;
  uint64_t next_number = 0;  // of a batch, where there is no log
  Totals totals;
  ByTime by_time;
  std::array<Fold*, 2> folds{&totals, &by_time};
  std::atomic<int64_t> waiting{0};  // clicks that were read and whose totals are not stored
  std::atomic<int64_t> drained{0};  // clicks taken from the rings, ever
  std::atomic<int64_t> since{0};    // when the oldest waiting one was read, about; nanoseconds
  uint64_t dropped = 0;

  // How many clicks.
  size_t drain() {
    size_t sum = 0;
    const bool watched = stream && stream->watched();
    std::vector<LiveClick> live;
    for (size_t i = 0; i < kBatchesAtOnce && unsent_bytes < kUnsentBytes; ++i) {
      Batch batch;
      for (const auto& ring : rings) {
        ring->drain(kMaxClicksABatch - batch.clicks.size(), [&](const RawClick& raw) {
          batch.clicks.push_back(reader.read(raw));
          if (watched && live.size() < ClickStream::kMostAtOnce)
            live.push_back({std::string(raw.code), batch.clicks.back()});
        });
      }
      if (batch.clicks.empty()) break;
      sum += batch.clicks.size();
      if (log) batch.bytes = write_clicks(batch.clicks);
      unsent_bytes += batch.bytes.size();
      unsent.push_back(std::move(batch));
    }
    drained.fetch_add(static_cast<int64_t>(sum), std::memory_order_relaxed);
    if (watched) stream->publish(live, sum - live.size());
    return sum;
  }

  void feed(Fold& fold, const std::vector<Click>& clicks, uint64_t offset, uint64_t next) {
    if (fold.next != offset || fold.full()) {
      if (!log) {
        fold.lost += static_cast<int64_t>(clicks.size());
        fold.next = next;
      }
      return;  // it catches up from the log
    }
    for (const Click& click : clicks) fold.add(click);
    fold.next = next;
    if (&fold == &totals) waiting.fetch_add(static_cast<int64_t>(clicks.size()), std::memory_order_relaxed);
  }

  // The first batch that waits, which the log has at `offset` now.
  void feed_first(uint64_t offset) {
    const Batch batch = std::move(unsent.front());
    unsent.pop_front();
    unsent_bytes -= batch.bytes.size();
    for (Fold* fold : folds) feed(*fold, batch.clicks, offset, offset + 1);
  }

  // Reads on from the log where the counter stopped, up to `end`. False: there is more, or no room.
  Result<bool> catch_up(Fold& fold, uint64_t end) {
    if (fold.next >= end) return true;
    auto slice = log->read_now(kClicksTopic, 0, fold.next, std::min<uint64_t>(kEventsAtOnce, end - fold.next));
    if (!slice) return fail(std::move(slice).error());
    for (const queue::StoredEvent& event : slice->events) {
      if (event.offset >= end) break;
      if (fold.full()) return false;
      if (event.value) {
        auto clicks = read_clicks(*event.value);
        if (clicks) {
          fold.next = event.offset;
          feed(fold, *clicks, event.offset, event.offset + 1);
        } else {
          log_error("a batch of clicks in the log is damaged and left out", {{"offset", event.offset}});
        }
      }
      fold.next = event.offset + 1;
    }
    fold.next = std::max(fold.next, std::min(slice->next, end));
    return fold.next >= end;
  }
};

// --- Life ---

ClickCounter::ClickCounter(store::SqliteStore& store, Loop& home, Metrics& metrics, Options options)
    : store_(store),
      home_(home),
      options_(options),
      state_(std::make_shared<State>(options)),
      recorded_(counter_of(metrics, "recorded")),
      counted_(counter_of(metrics, "counted")),
      dropped_(counter_of(metrics, "dropped")) {
  const Labels labels{{"topic", kClicksTopic}, {"group", "counter"}};
  gauges_.push_back(metrics.computed("trellis_queue_depth", "Messages that wait.", labels,
                                     [this] { return static_cast<double>(depth()); }));
  gauges_.push_back(
      metrics.computed("trellis_queue_oldest_seconds", "Age of the oldest message that waits.", labels, [this] {
        if (depth() == 0) return 0.0;
        const int64_t since = state_->since.load(std::memory_order_relaxed);
        return std::max(0.0, static_cast<double>(home_.clock().now().time_since_epoch().count() - since) * 1e-9);
      }));
}

ClickCounter::~ClickCounter() = default;

void ClickCounter::record(size_t core, const RawClick& click) noexcept {
  if (core >= state_->rings.size() || !state_->rings[core]->push(click)) [[unlikely]] {
    dropped_.add();
    return;
  }
  if (state_->rings[core]->half_full()) [[unlikely]] {
    home_.post([this, alive = std::weak_ptr(state_)] {
      if (!alive.expired()) wake_.set();  // made and destroyed on this loop
    });
  }
}

size_t ClickCounter::depth() const noexcept {
  size_t sum = static_cast<size_t>(std::max<int64_t>(0, state_->waiting.load(std::memory_order_relaxed)));
  for (const auto& ring : state_->rings) sum += ring->size();
  return sum;
}

Task<Result<void>> ClickCounter::set_salt() {
  const int64_t day = unix_millis(home_.wall()) / kDay;
  if (state_->reader.day() == day) co_return Result<void>();
  DaySalt fresh{};
  random_bytes(fresh.data(), fresh.size());
  auto asking = store_.write([day, fresh](store::SqliteConnection& db) { return salt_of_day(db, day, fresh); });
  Result<DaySalt> salt = co_await asking;
  if (!salt) co_return fail(std::move(salt).error());
  state_->reader.set_salt(day, *salt);
  co_return Result<void>();
}

// Where the counter stopped, and what it was writing then.
Task<Result<void>> ClickCounter::resume(Fold& fold) {
  auto asking = store_.read([name = fold.name](store::SqliteConnection& db) { return find_progress(db, name); });
  Result<CountProgress> progress = co_await asking;
  if (!progress) co_return fail(std::move(progress).error());
  fold.counted = fold.upto = fold.next = progress->counted;
  const Result<uint64_t> head = options_.log->head(kClicksTopic, 0);
  if (!head) co_return fail(head.error().clone());
  if (*head < std::max(progress->counted, progress->upto)) {
    log_warn("the log of clicks is shorter than what is counted of it; counting goes on at its end",
             {{"counter", fold.name}, {"counted", progress->counted}, {"head", *head}});
    fold.counted = fold.upto = fold.next = *head;
    auto noting = store_.write(
        [name = fold.name, at = *head](store::SqliteConnection& db) { return keep_progress(db, name, {at, at, 0}); });
    Result<void> noted = co_await noting;
    co_return noted;
  }
  if (progress->rows == 0) co_return Result<void>();
  while (fold.next < progress->upto) {
    auto reading = blocking(
        [state = state_, &fold, upto = progress->upto]() -> Result<bool> { return state->catch_up(fold, upto); });
    Result<bool> read = co_await reading;
    if (!read) co_return fail(std::move(read).error());
    if (!*read && fold.full()) fold.max *= 2;  // it all had room before
  }
  fold.rows = fold.take();
  fold.upto = progress->upto;
  fold.written = std::min<size_t>(progress->rows, fold.rows->size());
  co_return Result<void>();
}

Task<Result<void>> ClickCounter::start() {
  Result<void> salted = co_await set_salt();
  if (!salted) co_return fail(std::move(salted).error());
  if (options_.log) {
    auto opening = blocking([log = options_.log]() -> Result<void> {
      return log->open_topic({.name = kClicksTopic,
                              .partitions = 1,
                              .keep = {.retain_bytes = kClicksKeptBytes, .retain_for = kClicksKept}});
    });
    Result<void> opened = co_await opening;
    if (!opened) co_return fail(std::move(opened).error());
    for (Fold* fold : state_->folds) {
      Result<void> resumed = co_await resume(*fold);
      if (!resumed) co_return fail(std::move(resumed).error());
    }
  }
  group_.spawn(work());
  co_return Result<void>();
}

// --- The worker ---

// False: the log refuses; the rest waits.
Task<bool> ClickCounter::append_waiting(Deadline deadline) {
  while (!state_->unsent.empty()) {
    uint64_t offset = state_->next_number;
    if (options_.log) {
      std::vector<queue::Event> events(1);
      events[0].value = state_->unsent.front().bytes;
      auto appending = options_.log->append(kClicksTopic, std::move(events), deadline);
      Result<std::vector<queue::EventPosition>> at = co_await appending;
      if (!at) {
        static LogThrottle throttle(std::chrono::seconds(10));
        log_every(throttle, LogLevel::warn, "clicks wait for the log",
                  {{"batches", state_->unsent.size()}, {"error", at.error().to_string()}});
        co_return false;
      }
      offset = at->front().offset;
    } else {
      ++state_->next_number;
    }
    auto feeding = blocking([state = state_, offset]() -> Result<int> {
      state->feed_first(offset);
      return 0;
    });
    const Result<int> fed = co_await feeding;
    if (!fed) state_->feed_first(offset);  // the pool is full: here, then
  }
  co_return true;
}

// Writes what the counter has gathered. False: some could not be written and is kept.
Task<bool> ClickCounter::write_out(Fold& fold, Deadline deadline) {
  if (!fold.rows) {
    auto taking =
        blocking([state = state_, &fold]() -> Result<std::shared_ptr<const CountRows>> { return fold.take(); });
    Result<std::shared_ptr<const CountRows>> taken = co_await taking;
    fold.rows = taken ? *std::move(taken) : fold.take();
    fold.upto = fold.next;
    fold.written = 0;
  }
  const std::shared_ptr<const CountRows> rows = fold.rows;
  while (true) {
    const size_t from = fold.written;
    const size_t to = std::min(rows->size(), from + fold.pace.rows);
    const bool last = to == rows->size();
    const CountProgress progress{last ? fold.upto : fold.counted, fold.upto, last ? 0 : to};
    auto writing = store_.write(
        [rows, from, to, progress, counted = fold.counted, name = options_.log ? fold.name : nullptr](
            store::SqliteConnection& db) { return write_rows(db, *rows, from, to, name, counted, progress); },
        deadline, (to - from) * 64);
    const Result<void> written = co_await writing;
    if (!written && written.error().code() == Code::aborted) {
      const int64_t clicks = fold.drop();
      if (&fold == &state_->totals) state_->waiting.fetch_sub(clicks, std::memory_order_relaxed);
      if (stopping_) co_return true;  // the other one counts them
      Result<void> resumed = co_await resume(fold);
      co_return resumed.has_value();
    }
    if (!written) {
      static LogThrottle throttle(std::chrono::seconds(10));
      log_every(throttle, LogLevel::warn, "clicks wait for the store",
                {{"counter", fold.name}, {"rows", rows->size() - from}, {"error", written.error().to_string()}});
      co_return false;
    }
    const int64_t clicks = rows->clicks(from, to);
    counted_.add(static_cast<uint64_t>(clicks));
    if (&fold == &state_->totals) state_->waiting.fetch_sub(clicks, std::memory_order_relaxed);
    fold.written = to;
    if (last) break;
  }
  fold.rows.reset();
  fold.counted = fold.upto;
  auto telling = tell_place(fold, deadline);
  co_await telling;
  co_return true;
}

// For those who look how far it is; what holds is what stands in the store.
Task<> ClickCounter::tell_place(const Fold& fold, Deadline deadline) {
  if (!options_.log || options_.log->committed(fold.name, kClicksTopic, 0) == fold.counted) co_return;
  auto telling = options_.log->commit(fold.name, kClicksTopic, 0, fold.counted, deadline);
  const Result<void> told = co_await telling;
  if (!told) log_debug("how far clicks are counted could not be noted", {{"error", told.error().to_string()}});
}

Task<> ClickCounter::work() {
  // The log may say another: after a replay, or when it lost the groups' offsets.
  for (const Fold* fold : state_->folds) {
    auto telling = tell_place(*fold, kNever);
    co_await telling;
  }
  while (true) {
    const bool stopping = stopping_;
    const Result<void> salted = co_await set_salt();
    if (!salted) log_debug("the salt of the day could not be kept", {{"error", salted.error().to_string()}});
    const int64_t now = home_.clock().now().time_since_epoch().count();
    if (state_->waiting.load(std::memory_order_relaxed) == 0) state_->since.store(now, std::memory_order_relaxed);
    auto draining = blocking([state = state_]() -> Result<size_t> { return state->drain(); });
    Result<size_t> drained = co_await draining;
    const size_t taken = drained ? *drained : state_->drain();  // the pool is full: here, then
    recorded_.add(taken);
    const bool sent = co_await append_waiting(kNever);
    bool behind = false;
    if (options_.log) {
      const Result<uint64_t> head = options_.log->head(kClicksTopic, 0);
      for (Fold* fold : state_->folds) {
        if (!head || fold->next >= *head || fold->full()) continue;
        auto reading =
            blocking([state = state_, fold, end = *head]() -> Result<bool> { return state->catch_up(*fold, end); });
        Result<bool> read = co_await reading;
        if (!read && read.error().code() == Code::data_loss) {
          auto leading = options_.log->next_whole(kClicksTopic, 0, fold->next);
          const Result<uint64_t> whole = co_await leading;
          log_error("clicks in the log are damaged and left out", {{"offset", fold->next}});
          if (whole) fold->next = std::max(fold->next + 1, *whole);
        }
        behind = behind || (read && !*read && !fold->full());
      }
    }
    for (Fold* fold : state_->folds) {
      if (fold->lost > 0) {
        if (fold == &state_->totals) dropped_.add(static_cast<uint64_t>(std::exchange(fold->lost, 0)));
        fold->lost = 0;
      }
      if (stopping || fold->idle() || home_.now() < fold->next_write) continue;
      const Time before = home_.exact_now();
      (void)co_await write_out(*fold, kNever);
      const Time after_write = home_.exact_now();
      fold->next_write = after_write + std::clamp<Duration>((after_write - before) * fold->pace.share, Duration::zero(),
                                                            fold->pace.at_most);
    }
    if (stopping) {
      size_t left = 0;
      for (const auto& ring : state_->rings) left += ring->size();
      if (left == 0 || !sent) co_return;  // a stop writes the last ones in its own time
      continue;
    }
    if (behind || stopping_) continue;
    wake_.reset();
    (void)co_await wake_.wait(after(home_.now(), options_.every));
  }
}

Task<Result<void>> ClickCounter::stop(Deadline deadline) {
  stopping_ = true;
  group_.close();
  wake_.set();
  const bool ended = co_await group_.join(deadline);
  if (!ended)
    co_return fail(Error(Code::deadline_exceeded, "the last clicks were not written in time").from(Side::self));
  bool all = co_await append_waiting(deadline);
  for (Fold* fold : state_->folds) {
    // What it was writing, and what it gathered meanwhile.
    while (!fold->idle()) {
      const bool written = co_await write_out(*fold, deadline);
      all = all && written;
      if (!written) break;
    }
  }
  if (all) co_return Result<void>();
  uint64_t lost = 0;
  for (const State::Batch& batch : state_->unsent) lost += batch.clicks.size();
  if (!options_.log) lost += static_cast<uint64_t>(std::max<int64_t>(0, state_->waiting.exchange(0)));
  dropped_.add(lost);
  if (lost == 0) {
    log_warn("the last clicks wait in the log; they are counted after the next start", {});
    co_return Result<void>();
  }
  co_return fail(Error(Code::unavailable, "the last clicks could not be written").from(Side::self));
}

}  // namespace trellis::services::links
