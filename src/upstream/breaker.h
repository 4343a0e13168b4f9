// A breaker stops sending to an upstream that fails, so that its clients hear at once and it can recover. Closed: all
// requests pass, and their ends are counted. Open, from the moment that `error_rate` of at least `min_requests` within
// `window` were bad: every request is refused. Half open, `open_for` later: `probes` requests pass, and no other; if
// all are good it closes, the first bad one opens it again for twice as long, up to eight times `open_for`. Each span
// is up to a fifth longer at random, so that the nodes of a site do not probe in step. Nygard, "Release It!" (2007).
//
// Bad is what became of a request after all its retries: no connection, no answer, a time-out, 5xx. What this node
// refused, and a client that left, say nothing of the upstream.
//
// One an upstream, shared by all cores: whether it is open is one atomic word; each core counts for itself, and sums up
// only when a request was bad. Any thread. Outlives its passes. In Cluster::send:
//
//   Breaker::Pass pass;
//   if (breaker_ && !(pass = breaker_->try_pass(core, now))) ...  // refused: upstream_open, again in
//   breaker_->wait(now)
//   ... the tries ...
//   pass.report(bad, now);  // left out for what says nothing
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/time.h"
#include "config/fields.h"

namespace trellis::upstream {

struct BreakerConfig {
  double error_rate = 0.5;
  Duration window = std::chrono::seconds(10);
  Duration open_for = std::chrono::seconds(5);
  uint32_t min_requests = 20;
  uint32_t probes = 3;
  static config::Fields<BreakerConfig> fields();
};

class Breaker {
 public:
  enum class State : uint8_t { closed, half_open, open };  // as trellis_breaker_state shows it

  class Pass {
   public:
    Pass() noexcept = default;
    Pass(Pass&& other) noexcept
        : breaker_(std::exchange(other.breaker_, nullptr)),
          core_(other.core_),
          round_(other.round_),
          probe_(other.probe_),
          has_place_(other.has_place_) {}
    Pass& operator=(Pass&& other) noexcept;
    ~Pass() { drop(); }  // without a report: a probe may go once more
    explicit operator bool() const noexcept { return breaker_ != nullptr; }
    // One of the probes, and no other may go in its place.
    bool has_place() const noexcept { return breaker_ && has_place_; }
    // Another may. How this one ends counts all the same.
    void leave_place() noexcept;
    // How the request ended; once. Nothing happens for an empty pass.
    void report(bool bad, Time now) noexcept;

   private:
    friend class Breaker;
    Pass(Breaker* breaker, size_t core, uint32_t round, bool probe) noexcept
        : breaker_(breaker), core_(static_cast<uint32_t>(core)), round_(round), probe_(probe), has_place_(probe) {}
    void drop() noexcept;

    Breaker* breaker_ = nullptr;
    uint32_t core_ = 0;
    uint32_t round_ = 0;
    bool probe_ = false;
    bool has_place_ = false;
  };

  Breaker(std::string upstream, const BreakerConfig& config, size_t cores, uint64_t seed);
  ~Breaker();

  // Empty: refused.
  Pass try_pass(size_t core, Time now) noexcept;
  State state() const noexcept;
  // Until it will let somebody through; zero when it does or may do so at any moment.
  Duration wait(Time now) const noexcept;

 private:
  struct Word;
  struct Counts;

  void count(const Pass& pass, bool bad, Time now) noexcept;
  void end_probe(const Pass& pass, std::optional<bool> bad, Time now) noexcept;
  Word opened(const Word& from, Time now) const noexcept;

  std::string upstream_;
  BreakerConfig config_;
  uint64_t seed_;
  size_t cores_;
  std::atomic<uint64_t> word_{0};
  std::unique_ptr<Counts[]> counts_;  // a core each
};

}  // namespace trellis::upstream
