#include "upstream/breaker.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "base/rng.h"

namespace trellis::upstream {

using namespace std::chrono_literals;

namespace {

constexpr uint32_t kMostDoublings = 3;
constexpr double kJitter = 0.2;
constexpr size_t kSlots = 10;  // of a window
constexpr uint32_t kRounds = 1U << 18;

int64_t millis(Time time) noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

}  // namespace

config::Fields<BreakerConfig> BreakerConfig::fields() {
  return {{"error_rate", "share of bad requests that opens it", &BreakerConfig::error_rate, config::percent(0.01, 1)},
          {"window", "over which they are counted", &BreakerConfig::window, config::range(100ms, 1h)},
          {"open_for", "how long all requests are refused then; longer each time that the upstream still fails",
           &BreakerConfig::open_for, config::range(10ms, 1h)},
          {"min_requests", "within the window, below which it never opens", &BreakerConfig::min_requests,
           config::range(1, 1'000'000)},
          {"probes", "requests that are let through then; all must be good to close it", &BreakerConfig::probes,
           config::range(1, 1000)}};
}

// All that decides, in one word, so that every change is one compare-and-swap:
//   state 2 bits, times opened in a row 4, round 18 (grows with each change of state), and 40 that are, while it is
//   open, the millisecond until when, and while it is half open the probes that may still go and those that were good.
struct Breaker::Word {
  State state = State::closed;
  uint32_t opens = 0;
  uint32_t round = 0;
  int64_t until = 0;
  uint32_t left = 0;
  uint32_t good = 0;

  static Word from(uint64_t bits) noexcept {
    Word word;
    word.state = static_cast<State>(bits & 3);
    word.opens = static_cast<uint32_t>(bits >> 2 & 15);
    word.round = static_cast<uint32_t>(bits >> 6 & (kRounds - 1));
    const uint64_t rest = bits >> 24;
    if (word.state == State::open) word.until = static_cast<int64_t>(rest);
    if (word.state == State::half_open) {
      word.left = static_cast<uint32_t>(rest & 0xFFFF);
      word.good = static_cast<uint32_t>(rest >> 16 & 0xFFFF);
    }
    return word;
  }
  uint64_t bits() const noexcept {
    uint64_t rest = 0;
    if (state == State::open) rest = static_cast<uint64_t>(until);
    if (state == State::half_open) rest = left | uint64_t{good} << 16;
    return static_cast<uint64_t>(state) | uint64_t{opens} << 2 | uint64_t{round} << 6 | rest << 24;
  }
  Word next(State to) const noexcept {
    Word word;
    word.state = to;
    word.opens = opens;
    word.round = (round + 1) % kRounds;
    return word;
  }
};

// Written by its core, read by all. A slot whose key is not that of its time and round is old.
struct alignas(64) Breaker::Counts {
  struct Slot {
    std::atomic<uint64_t> key{UINT64_MAX};
    std::atomic<uint32_t> requests{0};
    std::atomic<uint32_t> bad{0};
  };
  static uint64_t key(int64_t tick, uint32_t round) noexcept { return static_cast<uint64_t>(tick) << 18 | round; }
  std::array<Slot, kSlots> slots;
};

Breaker::Breaker(std::string upstream, const BreakerConfig& config, size_t cores, uint64_t seed)
    : upstream_(std::move(upstream)),
      config_(config),
      seed_(seed),
      cores_(cores),
      counts_(std::make_unique<Counts[]>(cores)) {}

Breaker::~Breaker() = default;

Breaker::State Breaker::state() const noexcept { return Word::from(word_.load(std::memory_order_acquire)).state; }

Duration Breaker::wait(Time now) const noexcept {
  const Word word = Word::from(word_.load(std::memory_order_acquire));
  if (word.state != State::open) return Duration::zero();
  return std::max(Duration(std::chrono::milliseconds(word.until - millis(now))), Duration::zero());
}

Breaker::Pass Breaker::try_pass(size_t core, Time now) noexcept {
  uint64_t seen = word_.load(std::memory_order_acquire);
  while (true) {
    const Word word = Word::from(seen);
    if (word.state == State::closed) return Pass(this, core, word.round, false);
    Word next = word;
    if (word.state == State::open) {
      if (millis(now) < word.until) return {};
      next = word.next(State::half_open);
      next.left = config_.probes;
    }
    if (next.left == 0) return {};
    --next.left;
    if (word_.compare_exchange_weak(seen, next.bits(), std::memory_order_acq_rel, std::memory_order_acquire))
      return Pass(this, core, next.round, true);
  }
}

Breaker::Pass& Breaker::Pass::operator=(Pass&& other) noexcept {
  if (this == &other) return *this;
  drop();
  breaker_ = std::exchange(other.breaker_, nullptr);
  core_ = other.core_;
  round_ = other.round_;
  probe_ = other.probe_;
  has_place_ = other.has_place_;
  return *this;
}

void Breaker::Pass::leave_place() noexcept {
  if (has_place()) breaker_->end_probe(*this, std::nullopt, Time{});
  has_place_ = false;
}

void Breaker::Pass::drop() noexcept {
  leave_place();
  breaker_ = nullptr;
}

void Breaker::Pass::report(bool bad, Time now) noexcept {
  if (!breaker_) return;
  if (probe_) {
    breaker_->end_probe(*this, bad, now);
  } else {
    breaker_->count(*this, bad, now);
  }
  breaker_ = nullptr;
}

Breaker::Word Breaker::opened(const Word& from, Time now) const noexcept {
  Word next = from.next(State::open);
  Rng rng(seed_ + next.round);
  const double factor = static_cast<double>(1U << std::min(from.opens, kMostDoublings)) * (1 + kJitter * rng.unit());
  next.until = millis(now) + static_cast<int64_t>(std::ceil(seconds(config_.open_for) * 1000 * factor));
  next.opens = std::min(from.opens + 1, kMostDoublings);
  return next;
}

void Breaker::count(const Pass& pass, bool bad, Time now) noexcept {
  uint64_t seen = word_.load(std::memory_order_acquire);
  const auto is_past = [&] {  // it opened since the request began
    const Word word = Word::from(seen);
    return word.state != State::closed || word.round != pass.round_;
  };
  if (is_past()) return;
  const int64_t tick = now.time_since_epoch() / (config_.window / kSlots);
  const uint64_t key = Counts::key(tick, pass.round_);
  Counts::Slot& slot = counts_[pass.core_].slots[static_cast<size_t>(tick) % kSlots];
  if (slot.key.load(std::memory_order_relaxed) != key) {
    slot.requests.store(0, std::memory_order_relaxed);
    slot.bad.store(0, std::memory_order_relaxed);
    slot.key.store(key, std::memory_order_release);
  }
  const auto bump = [](std::atomic<uint32_t>& value) {
    value.store(value.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  };
  bump(slot.requests);
  if (!bad) return;
  bump(slot.bad);

  uint64_t requests = 0;
  uint64_t errors = 0;
  for (size_t core = 0; core < cores_; ++core) {
    for (const Counts::Slot& one : counts_[core].slots) {
      const uint64_t of = one.key.load(std::memory_order_acquire);
      const bool counts = of >= Counts::key(tick - static_cast<int64_t>(kSlots) + 1, 0) &&
                          (of & (kRounds - 1)) == pass.round_ && of != UINT64_MAX;
      if (!counts) continue;
      requests += one.requests.load(std::memory_order_relaxed);
      errors += one.bad.load(std::memory_order_relaxed);
    }
  }
  if (requests < config_.min_requests) return;
  if (static_cast<double>(errors) < config_.error_rate * static_cast<double>(requests)) return;
  while (!word_.compare_exchange_weak(seen, opened(Word::from(seen), now).bits(), std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
    if (is_past()) return;
  }
  log_warn("an upstream's breaker opened", {{"upstream", upstream_}, {"bad", errors}, {"requests", requests}});
}

void Breaker::end_probe(const Pass& pass, std::optional<bool> bad, Time now) noexcept {
  uint64_t seen = word_.load(std::memory_order_acquire);
  Word next;
  do {
    const Word word = Word::from(seen);
    if (word.state != State::half_open || word.round != pass.round_) return;
    next = word;
    if (!bad) {
      ++next.left;
    } else if (*bad) {
      next = opened(word, now);
    } else if (++next.good == config_.probes) {
      next = word.next(State::closed);
      next.opens = 0;
    }
  } while (!word_.compare_exchange_weak(seen, next.bits(), std::memory_order_acq_rel, std::memory_order_acquire));
  if (next.state == State::open) log_warn("an upstream's breaker opened again", {{"upstream", upstream_}});
  if (next.state == State::closed) log_info("an upstream's breaker closed", {{"upstream", upstream_}});
}

}  // namespace trellis::upstream
