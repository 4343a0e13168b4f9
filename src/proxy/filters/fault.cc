#include "proxy/filters/fault.h"

#include <algorithm>

#include "base/metrics.h"
#include "http/explain.h"
#include "http/problem.h"
#include "proxy/paced_body.h"
#include "runtime/loop.h"

namespace trellis::proxy {

namespace {

constexpr int kNoAnswer = 444;  // never leaves: the connection is reset

Counter& faults(const FilterParts& parts, const char* kind) {
  return parts.metrics.counter("trellis_faults_total", "faults that were injected by configuration",
                               {{"route", parts.route}, {"fault", kind}});
}

}  // namespace

config::Fields<FaultConfig> FaultConfig::fields() {
  return {{"delay", "before the request goes on", &FaultConfig::delay},
          {"abort", "an error instead of the target's answer", &FaultConfig::abort},
          {"reset", "the client's connection is reset instead of an answer", &FaultConfig::reset},
          {"bandwidth", "how fast the bodies of answers leave, in bytes a second; 0: any", &FaultConfig::bandwidth,
           config::size(0, config::kTiB), config::unit("a second")},
          {"when", "only these requests; absent: all", &FaultConfig::when}};
}

void FaultConfig::check(config::Checker& at) const {
  if (!delay && !abort && !reset && bandwidth == 0)
    at.problem("", "does nothing", "give delay, abort, reset or bandwidth");
}

FaultFilter::FaultFilter(const FaultConfig& config, const FilterParts& parts)
    : plan_(config.delay, config.abort, config.reset),
      bandwidth_(config.bandwidth),
      when_(config.when ? std::optional<When>(*config.when) : std::nullopt),
      delays_(faults(parts, "delay")),
      aborts_(faults(parts, "abort")),
      resets_(faults(parts, "reset")),
      paced_(faults(parts, "bandwidth")) {}

Task<Result<http::Response>> FaultFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  if (when_ && !when_->holds(request)) return next(request, context);
  const Fault fault = plan_.draw(context.loop.rng());
  if (fault.delay == Duration::zero() && !fault.reset && fault.abort == 0 && bandwidth_ == 0)
    return next(request, context);
  return meet(fault, request, context, next);
}

Task<Result<http::Response>> FaultFilter::meet(Fault fault, http::Request& request, http::RequestContext& context,
                                               Next next) {
  if (context.explain) [[unlikely]] {
    std::string text = "fault:";
    if (fault.delay > Duration::zero())
      text += " waits " + std::to_string(fault.delay / std::chrono::milliseconds(1)) + " ms";
    if (fault.reset) text += " resets the connection";
    if (fault.abort != 0) text += " answers " + std::to_string(fault.abort);
    if (bandwidth_ > 0) text += " lets " + std::to_string(bandwidth_) + " bytes a second through";
    context.explain->add("filter", text);
  }
  if (fault.delay > Duration::zero()) {
    delays_.add();
    const Time until = after(context.loop.now(), fault.delay);
    co_await sleep_until(std::min(until, context.deadline));
    if (until > context.deadline) co_return fail(Error(Code::deadline_exceeded, "the delay").from(Side::self));
  }
  if (fault.reset) {
    resets_.add();
    context.reset = true;
    context.outcome = "fault_reset";
    context.failed_side = Side::self;
    co_return http::Response(context.arena, kNoAnswer);
  }
  if (fault.abort != 0) {
    aborts_.add();
    context.outcome = "fault_abort";
    context.failed_side = Side::self;
    co_return http::problem(context.arena, fault.abort, context.outcome, "This error was injected for a test.", true,
                            context.request_id);
  }
  CO_TRY(http::Response response, co_await next(request, context));
  if (bandwidth_ > 0 && response.status >= 200 && response.body.kind() != http::Body::Kind::none) {
    paced_.add();
    response.body = http::Body(std::make_unique<PacedBody>(std::move(response.body), bandwidth_));
  }
  co_return response;
}

}  // namespace trellis::proxy
