// How many requests may be under way at an upstream, found out by measuring: as many as it works on without making them
// wait for each other. Once in a while (`window`) the recent time to an answer is compared with the shortest, and the
// limit follows their ratio:
//
//   limit = limit * gradient + headroom     gradient = shortest * (1 + tolerance) / recent, within 0.5 and 1
//                                           headroom = sqrt(limit): a small queue, so that it finds out about more room
//
// which is the gradient of Netflix' concurrency-limits and of Envoy's adaptive concurrency. The shortest time is
// measured every `probe_every`: the limit is cut to a quarter until the upstream's queue is gone, and the next requests
// are timed. Else what a standing queue costs would slowly be taken for what the upstream needs (BBR measures its
// round-trip time likewise: Cardwell et al., ACM Queue, 2016). All cores of all nodes do so at the same moment of the
// clock and for as long, since a queue is gone only when everybody makes room. It takes a quarter of a second; longer
// where that is too short for a slow upstream's answers. The first come each second, and so does the next one when much
// less was found than was believed; never when more was, as a core that probes alone would take the others' queue for
// the pace.
//
// Times are averaged by their logarithms, so that a few slow answers of many fast ones do not rule. A probe counts by
// how many requests it timed: chance would move the limit of a core with few of them up and down. Answers that say
// that the upstream is overloaded, and time-outs, take a tenth off the limit; quick errors are no measure of anything.
//
// One an upstream and core, of its Cluster, which outlives its places; places that become free wake the queue, and so
// does the end of a probe, which makes room without anybody leaving. In
// Cluster::send, once a request:
//
//   AdaptiveLimit::Place place;
//   if (limit_) while (!(place = limit_->try_enter(now))) ...   // wait in the queue; refused: upstream_limit
//   ... the tries ...
//   place.done(AdaptiveLimit::Outcome::answered, now);  // at the head of the answer; left out for what measures
//   nothing
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/time.h"
#include "config/fields.h"
#include "runtime/timer.h"

namespace trellis::upstream {

class WaitingQueue;

// `adaptive: true`, or a map. Counts are of one core.
struct AdaptiveLimitConfig {
  bool on = true;
  uint32_t min = 4;
  uint32_t max = 1000;
  uint32_t initial = 32;
  double tolerance = 0.5;
  Duration window = std::chrono::milliseconds(100);
  Duration probe_every = std::chrono::seconds(30);
  static config::Fields<AdaptiveLimitConfig> fields();
  void check(config::Checker& at) const;
  static Result<AdaptiveLimitConfig> from_text(std::string_view text);
  static constexpr std::string_view kText = "true, false";
};

class AdaptiveLimit {
 public:
  enum class Outcome : uint8_t {
    answered,    // its time is a measure
    overloaded,  // a time-out, 429 or 503: it has too much to do
    other,       // says nothing
  };

  class Place {
   public:
    Place() noexcept = default;
    Place(Place&& other) noexcept
        : limit_(std::exchange(other.limit_, nullptr)), began_(other.began_), probe_(other.probe_) {}
    Place& operator=(Place&& other) noexcept;
    ~Place() { leave(); }
    explicit operator bool() const noexcept { return limit_ != nullptr; }
    // Leaves; once. Nothing happens for an empty place.
    void done(Outcome outcome, Time now) noexcept;

   private:
    friend class AdaptiveLimit;
    Place(AdaptiveLimit* limit, Time began, uint32_t probe) noexcept : limit_(limit), began_(began), probe_(probe) {}
    void leave() noexcept;

    AdaptiveLimit* limit_ = nullptr;
    Time began_{};
    uint32_t probe_ = 0;  // the probe that it is timed for; 0: none
  };

  // `queue`: woken when there is room, on the current loop; may be null. `phase`: see phase_of().
  AdaptiveLimit(const AdaptiveLimitConfig& config, WaitingQueue* queue, Duration phase) noexcept;
  AdaptiveLimit(const AdaptiveLimit&) = delete;
  AdaptiveLimit& operator=(const AdaptiveLimit&) = delete;

  // What makes all nodes measure at once: how far the monotonic clock is behind the wall, and a shift by the name, so
  // that upstreams which share machines take turns.
  static Duration phase_of(std::string_view upstream, Duration probe_every, Time now, WallTime wall) noexcept;

  // Empty: as many as may be are under way.
  Place try_enter(Time now) noexcept;
  // What was found; while it measures, fewer are let in.
  uint32_t limit() const noexcept { return static_cast<uint32_t>(limit_); }
  uint32_t under_way() const noexcept { return under_way_; }
  Duration shortest() const noexcept;  // zero: not measured yet

 private:
  // Sums up times to their geometric mean.
  class Mean {
   public:
    void add(Duration took) noexcept;
    uint32_t count() const noexcept { return count_; }
    double value() const noexcept;  // seconds
    void clear() noexcept { *this = {}; }

   private:
    double sum_ = 0;
    uint32_t count_ = 0;
  };
  enum class Probe : uint8_t { none, draining, settling, measuring };

  uint32_t allowed() const noexcept;
  void end(const Place& place, Outcome outcome, Time now) noexcept;
  void end_window(Time now) noexcept;
  void step_probe(Time now) noexcept;
  void begin_probe(Time now) noexcept;
  void end_probe(Time now) noexcept;
  void learn(Time now) noexcept;
  void probe_soon(Time now) noexcept;
  void freed() noexcept;
  static void probe_over(Timer& timer) noexcept;
  Time next_beat(Duration every, Time now) const noexcept;

  AdaptiveLimitConfig config_;
  WaitingQueue* queue_;
  Duration phase_;
  double limit_;
  uint32_t under_way_ = 0;
  double shortest_ = 0;   // seconds
  double known_ = 0;      // so many samples it is worth
  int other_side_ = 0;    // the last probe found quite another time: a longer (1) or shorter one (-1)
  uint32_t learned_ = 0;  // probes that timed something

  Time window_end_{};
  Mean recent_;
  uint32_t most_under_way_ = 0;  // in this window
  bool overloaded_ = false;      // in this window

  Probe probe_ = Probe::none;
  Duration probe_takes_;
  uint32_t probes_ = 0;     // number of the last one
  Time probe_at_{};         // the next one begins
  Time probe_ends_{};       // this one
  Time settled_{};          // requests from then on meet no queue
  uint32_t chosen_ = 0;     // requests that are timed, so far
  uint32_t awaited_ = 0;    // of these without an end
  bool held_back_ = false;  // a request, by this probe
  Mean probed_;
  Timer probe_over_;  // for those that wait: perhaps nobody comes or goes then
};

}  // namespace trellis::upstream
