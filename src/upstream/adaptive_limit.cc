#include "upstream/adaptive_limit.h"

#include <algorithm>
#include <cmath>

#include "base/hash.h"
#include "runtime/loop.h"
#include "upstream/waiting_queue.h"

namespace trellis::upstream {

using namespace std::chrono_literals;

namespace {

constexpr uint32_t kSamples = 50;  // of a window at least
constexpr double kLowest = 0.5;    // gradient: no window takes more than half off
constexpr double kBackOff = 0.9;

constexpr double kProbeShare = 0.25;  // of the limit, while it probes
constexpr Duration kShortestProbe = 250ms;
constexpr int kLongestProbeShare = 8;   // the longest is this part of the time between them
constexpr double kNeedlesslyLong = 32;  // times what was found
constexpr Duration kSoon = 1s;          // until the next one, instead of probe_every:
constexpr uint32_t kFirst = 10;         // after so many at the beginning,
constexpr double kLower = 0.75;         // and when they find so much less than was believed

constexpr double kKnown = 100;        // samples that the belief is worth at most
constexpr double kKept = 0.75;        // of them, at the next probe
constexpr double kKeptOfOther = 0.2;  // when two in a row found another pace:
constexpr double kOther = 2;          // so many times longer or shorter

double clamped(double value, const AdaptiveLimitConfig& config) noexcept {
  return std::clamp(value, static_cast<double>(config.min), static_cast<double>(config.max));
}

}  // namespace

config::Fields<AdaptiveLimitConfig> AdaptiveLimitConfig::fields() {
  return {{"min", "the limit of a core is never below", &AdaptiveLimitConfig::min, config::range(1, 100'000)},
          {"max", "nor above", &AdaptiveLimitConfig::max, config::range(1, 100'000)},
          {"initial", "with which it begins", &AdaptiveLimitConfig::initial, config::range(1, 100'000)},
          {"tolerance", "how much longer than the shortest time an answer may take before the limit goes down",
           &AdaptiveLimitConfig::tolerance, config::percent(0, 10)},
          {"window", "how often the limit follows", &AdaptiveLimitConfig::window, config::range(10ms, 1min)},
          {"probe_every",
           "how often the limit is cut to a quarter for a moment, to see how fast the upstream is without a queue",
           &AdaptiveLimitConfig::probe_every, config::range(1s, 1h)}};
}

void AdaptiveLimitConfig::check(config::Checker& at) const {
  if (max < min) at.problem("max", "is less than min");
  if (initial < min || initial > max) at.problem("initial", "lies between min and max");
}

Result<AdaptiveLimitConfig> AdaptiveLimitConfig::from_text(std::string_view text) {
  AdaptiveLimitConfig config;
  if (text != "true" && text != "false") return fail(Code::invalid_argument, "true, false or a map");
  config.on = text == "true";
  return config;
}

void AdaptiveLimit::Mean::add(Duration took) noexcept {
  sum_ += std::log(std::max(seconds(took), 1e-6));
  ++count_;
}
double AdaptiveLimit::Mean::value() const noexcept { return count_ == 0 ? 0 : std::exp(sum_ / count_); }

AdaptiveLimit::Place& AdaptiveLimit::Place::operator=(Place&& other) noexcept {
  if (this == &other) return *this;
  leave();
  limit_ = std::exchange(other.limit_, nullptr);
  began_ = other.began_;
  probe_ = other.probe_;
  return *this;
}

void AdaptiveLimit::Place::leave() noexcept {
  if (limit_) std::exchange(limit_, nullptr)->end(*this, Outcome::other, Time::min());
}

void AdaptiveLimit::Place::done(Outcome outcome, Time now) noexcept {
  if (limit_) std::exchange(limit_, nullptr)->end(*this, outcome, now);
}

AdaptiveLimit::AdaptiveLimit(const AdaptiveLimitConfig& config, WaitingQueue* queue, Duration phase) noexcept
    : config_(config),
      queue_(queue),
      phase_(phase),
      limit_(config.initial),
      probe_takes_(kShortestProbe),
      probe_over_(&AdaptiveLimit::probe_over, this) {}

Duration AdaptiveLimit::phase_of(std::string_view upstream, Duration probe_every, Time now, WallTime wall) noexcept {
  const Duration shift(static_cast<int64_t>(hash64(upstream) % static_cast<uint64_t>(probe_every.count())));
  const Duration behind = wall.time_since_epoch() - now.time_since_epoch();
  return (behind % probe_every + probe_every + shift) % probe_every;
}

// The next moment at which the shifted clock is a multiple of `every`.
Time AdaptiveLimit::next_beat(Duration every, Time now) const noexcept {
  return now + (every - (now.time_since_epoch() + phase_) % every);
}

// Just now.
uint32_t AdaptiveLimit::allowed() const noexcept {
  const double share = probe_ == Probe::none ? 1 : kProbeShare;
  return static_cast<uint32_t>(std::max(limit_ * share, 1.0));
}

Duration AdaptiveLimit::shortest() const noexcept {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(shortest_));
}

AdaptiveLimit::Place AdaptiveLimit::try_enter(Time now) noexcept {
  if (probe_at_ == Time{}) probe_at_ = next_beat(kSoon, now);
  step_probe(now);
  if (under_way_ >= allowed()) {
    most_under_way_ = under_way_;
    held_back_ = true;
    return {};
  }
  ++under_way_;
  most_under_way_ = std::max(most_under_way_, under_way_);
  if (probe_ != Probe::measuring) return Place(this, now, 0);
  ++chosen_;
  ++awaited_;
  return Place(this, now, probes_);
}

// `now` is not known when the place is only left.
void AdaptiveLimit::end(const Place& place, Outcome outcome, Time now) noexcept {
  --under_way_;
  const bool timed = awaited_ > 0 && place.probe_ == probes_;
  if (timed) --awaited_;
  if (outcome != Outcome::other) {
    recent_.add(now - place.began_);
    if (timed) probed_.add(now - place.began_);
  }
  overloaded_ |= outcome == Outcome::overloaded;
  if (now != Time::min()) {
    step_probe(now);
    if (timed && awaited_ == 0 && probe_ == Probe::none) learn(now);
    if (now >= window_end_) end_window(now);
  }
  freed();
}

// none -> draining, until as few are under way as now may be -> settling, until the upstream has worked off what was
// under way -> measuring -> none, when the time of the probe is over.
void AdaptiveLimit::step_probe(Time now) noexcept {
  if (probe_ == Probe::none) {
    if (now < probe_at_ || probe_at_ == Time{}) return;
    begin_probe(now);
  }
  if (probe_ == Probe::draining && under_way_ <= allowed()) {
    probe_ = Probe::settling;
    settled_ = std::min(now + shortest(), probe_ends_ - probe_takes_ / 2);
  }
  if (probe_ == Probe::settling && now >= settled_) probe_ = Probe::measuring;
  if (now >= probe_ends_) end_probe(now);
}

// Ends at the same moment everywhere, whenever a core came to begin it.
void AdaptiveLimit::begin_probe(Time now) noexcept {
  learn(now);
  probe_ = Probe::draining;
  ++probes_;
  probe_ends_ = probe_at_ + probe_takes_;
  probe_at_ = next_beat(config_.probe_every, now);
  chosen_ = 0;
  held_back_ = false;
  if (queue_) probe_over_.set(Loop::current().timers(), probe_ends_);
}

void AdaptiveLimit::probe_over(Timer& timer) noexcept {
  auto& self = *static_cast<AdaptiveLimit*>(timer.owner());
  self.step_probe(Loop::current().now());
  self.freed();
}

void AdaptiveLimit::end_probe(Time now) noexcept {
  probe_ = Probe::none;
  recent_.clear();  // was measured with a part of the load
  window_end_ = now + config_.window;
  const Duration longest = std::max(config_.probe_every / kLongestProbeShare, kShortestProbe);
  if (chosen_ == 0 && held_back_ && probe_takes_ < longest) {
    probe_takes_ = std::min(probe_takes_ * 2, longest);
    probe_soon(now);
  }
  if (awaited_ == 0) learn(now);
}

// Once all requests that were chosen have ended: the slow ones do so when the probe is over already. Those that have
// not when the next one begins are left out. Few samples change the belief little, many as much as it is worth; one
// that was wrong twice is worth less.
void AdaptiveLimit::learn(Time now) noexcept {
  awaited_ = 0;
  if (probed_.count() == 0) return;
  const double found = probed_.value();
  if (known_ == 0) shortest_ = found;
  const bool lower = found < shortest_ * kLower && probed_.count() >= kSamples / 2;
  const int side = found > shortest_ * kOther ? 1 : found * kOther < shortest_ ? -1 : 0;
  const bool other = side != 0 && side == other_side_;
  other_side_ = side;
  if (learned_ >= kFirst) known_ *= other ? kKeptOfOther : kKept;
  const double samples = std::min(static_cast<double>(probed_.count()), kKnown);
  probed_.clear();
  shortest_ *= std::pow(found / shortest_, samples / (samples + known_));
  known_ = std::min(known_ + samples, kKnown);
  ++learned_;
  if (seconds(probe_takes_) > kNeedlesslyLong * found) probe_takes_ = std::max(probe_takes_ / 2, kShortestProbe);
  if (lower || learned_ < kFirst) probe_soon(now);
}

// Not when they find more than was believed: a core that probes alone finds the queue of the others, and would believe
// in it.
void AdaptiveLimit::probe_soon(Time now) noexcept {
  probe_at_ = std::min(probe_at_, next_beat(kSoon, std::max(probe_ends_ + probe_takes_, now)));
}

void AdaptiveLimit::end_window(Time now) noexcept {
  if (recent_.count() < kSamples || probe_ != Probe::none) return;
  const double recent = recent_.value();
  if (shortest_ == 0) shortest_ = recent;
  if (overloaded_) {
    limit_ = clamped(limit_ * kBackOff, config_);
  } else {
    const double gradient = std::clamp(shortest_ * (1 + config_.tolerance) / recent, kLowest, 1.0);
    const double next = clamped(limit_ * gradient + std::sqrt(limit_), config_);
    // With so little to do that the limit does not matter, nothing is learned about more.
    const bool used = 2 * most_under_way_ >= allowed();
    if (used || next < limit_) limit_ = next;
  }
  recent_.clear();
  most_under_way_ = under_way_;
  overloaded_ = false;
  window_end_ = now + config_.window;
}

void AdaptiveLimit::freed() noexcept {
  if (queue_ && under_way_ < allowed()) queue_->wake(allowed() - under_way_);
}

}  // namespace trellis::upstream
