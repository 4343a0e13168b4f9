// The part of a Cluster that holds requests back: the breaker, the adaptive limit, the retry budget, and the answers to
// who is refused (docs/resilience.md). Waiting for a connection is where hosts are picked, in cluster.cc.
#include <optional>

#include "base/metrics.h"
#include "http/busy.h"
#include "http/explain.h"
#include "runtime/loop.h"
#include "upstream/cluster.h"
#include "upstream/health/ejection.h"

namespace trellis::upstream {

namespace {

constexpr uint64_t kSmallBody = 64 * 1024;  // up to which a request's time is the upstream's and not its client's

std::string_view detail_of(std::string_view code) noexcept {
  if (code == "upstream_open") return "The upstream failed too often and is left alone for a while.";
  if (code == "upstream_limit") return "The upstream has as much to do as it can do at once.";
  return "All connections to the upstream are in use.";
}

AdaptiveLimit::Outcome outcome_of(const Result<http::Response>& answer) noexcept {
  using Outcome = AdaptiveLimit::Outcome;
  if (!answer) return answer.error().code() == Code::deadline_exceeded ? Outcome::overloaded : Outcome::other;
  if (answer->status == 429 || answer->status == 503) return Outcome::overloaded;
  return answer->status < 500 ? Outcome::answered : Outcome::other;
}

// An upload takes the time that its client takes, so a large one goes where the breaker has a place for a probe and
// holds none. A small one does for a moment: most are there at once, but a few clients that send slowly must not keep
// all others out.
class BriefPlace {
 public:
  explicit BriefPlace(Breaker::Pass& pass) noexcept : pass_(pass), timer_(&BriefPlace::over, this) {
    timer_.set(Loop::current().timers(), after(Loop::current().now(), std::chrono::seconds(1)));
  }
  BriefPlace(const BriefPlace&) = delete;
  BriefPlace& operator=(const BriefPlace&) = delete;

 private:
  static void over(Timer& timer) noexcept { static_cast<BriefPlace*>(timer.owner())->pass_.leave_place(); }

  Breaker::Pass& pass_;
  Timer timer_;
};

}  // namespace

Task<Result<http::Response>> Cluster::send(http::Request& request, http::RequestContext& context) {
  context.upstream = name();
  refresh();
  budget_.request(Loop::current().now());
  if (context.explain) [[unlikely]]
    tell_limits(context);
  if (!breaker_ && !adaptive_) return try_hosts(request, context);
  return send_within_limits(request, context);
}

Task<Result<http::Response>> Cluster::send_within_limits(http::Request& request, http::RequestContext& context) {
  Loop& loop = Loop::current();
  Breaker::Pass pass;
  const bool small = !request.body || request.body->length().value_or(UINT64_MAX) <= kSmallBody;
  if (breaker_) {
    pass = breaker_->try_pass(loop.index(), loop.now());
    if (!pass) co_return refuse(context, "upstream_open");
    if (!small) pass.leave_place();
  }
  std::optional<BriefPlace> brief;
  if (small && request.body && pass.has_place()) brief.emplace(pass);
  AdaptiveLimit::Place place;
  if (adaptive_) {
    if (entering_.may_try()) place = adaptive_->try_enter(loop.now());
    WaitingQueue::Waiter waiter(entering_, context.deadline);
    while (!place) {
      const WaitingQueue::Turn turn = co_await waiter;
      if (turn != WaitingQueue::Turn::yours) co_return refuse(context, "upstream_limit");
      place = adaptive_->try_enter(loop.now());
    }
  }
  if (!small && place) place.done(AdaptiveLimit::Outcome::other, loop.now());
  auto answer = co_await try_hosts(request, context);
  // What this node refused itself, and a client that left, say nothing of the upstream.
  const bool ours = answer ? context.failed_side == Side::self : answer.error().side() != Side::upstream;
  if (ours) co_return answer;
  const Time now = loop.exact_now();
  pass.report(!answer || is_error(upstream::outcome_of(answer->status)), now);
  if (adaptive_ && small) {
    place.done(outcome_of(answer), now);
    limit_shown_->set(adaptive_->limit());
  }
  co_return answer;
}

bool Cluster::may_retry() noexcept {
  if (budget_.may_retry(Loop::current().now())) return true;
  over_budget_.add();
  return false;
}

http::Response Cluster::refuse(http::RequestContext& context, std::string_view code) {
  metrics_
      .counter("trellis_shed_total", "what was turned away to protect the node or an upstream",
               {{"reason", std::string(code)}})
      .add();
  if (context.explain) [[unlikely]]
    context.explain->add("limit", std::string(code) + ": " + std::string(detail_of(code)));
  const Duration wait = code == "upstream_open" ? breaker_->wait(Loop::current().now()) : Duration::zero();
  return http::busy(context, code, detail_of(code), wait);
}

std::shared_ptr<void> watch_breaker(Metrics& metrics, const std::string& upstream,
                                    std::shared_ptr<const Breaker> breaker) {
  return metrics.computed("trellis_breaker_state", "of an upstream: 0 closed, 1 half open, 2 open",
                          {{"upstream", upstream}},
                          [breaker = std::move(breaker)] { return static_cast<double>(breaker->state()); });
}

}  // namespace trellis::upstream
