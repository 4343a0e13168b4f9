#include "proxy/pipeline.h"

#include "base/log.h"
#include "http/problem.h"
#include "proxy/access_log.h"
#include "proxy/trace.h"
#include "runtime/loop.h"

namespace trellis::proxy {

RouteFigures::RouteFigures(Metrics& metrics, const std::string& route)
    : seconds_(metrics.histogram("trellis_request_seconds", "time from a request's first byte to its answer's last",
                                 {{"route", route}})),
      first_byte_(metrics.histogram("trellis_first_byte_seconds", "time from a request's first byte to its answer's first",
                                    {{"route", route}})),
      gauge_(metrics.computed("trellis_requests_in_flight", "requests being handled", {{"route", route}},
                              [this] { return static_cast<double>(in_flight()); })) {}

void RouteFigures::ended(Duration took, Duration first_byte) noexcept {
  in_flight_.fetch_sub(1, std::memory_order_relaxed);
  seconds_.record(took);
  first_byte_.record(first_byte);
}

RouteCounts::RouteCounts(Metrics& metrics, std::string listener, std::string route)
    : metrics_(metrics), listener_(std::move(listener)), route_(std::move(route)) {}

Counter& RouteCounts::counter_for(int status, Side side) {
  return metrics_.counter("trellis_requests_total", "requests answered",
                          {{"listener", listener_},
                           {"route", route_},
                           {"code", std::to_string(status)},
                           {"side", side == Side::unset ? "none" : std::string(to_string(side))}});
}

void RouteCounts::add(int status, Side side) noexcept {
  all_.add();
  if (status >= 500) failed_.add();
  if (side != Side::unset || status < 100 || status > 599) [[unlikely]] {
    counter_for(status, side).add();
    return;
  }
  std::atomic<Counter*>& slot = plain_[static_cast<size_t>(status - 100)];
  Counter* counter = slot.load(std::memory_order_acquire);
  if (!counter) [[unlikely]] {
    counter = &counter_for(status, side);
    slot.store(counter, std::memory_order_release);
  }
  counter->add();
}

uint64_t RouteCounts::total() const noexcept { return all_.value(); }
uint64_t RouteCounts::errors() const noexcept { return failed_.value(); }

Pipeline::Pipeline(PipelineParts parts, Metrics& metrics) : parts_(std::move(parts)), metrics_(metrics) {}

Task<Result<http::Response>> Pipeline::handle(http::Request& request, http::RequestContext& context) {
  Rng& rng = context.loop.rng();
  begin_trace(request, context, rng);
  begin_request_id(request, context, context.loop.wall(), rng);

  const Router::Decision decision = parts_.router->find(request);
  if (decision.route == Router::kNone) [[unlikely]] {
    parts_.unrouted.figures->began();
    context.route_index = Router::kNone;
    context.failed_side = Side::client;
    const bool known = decision.allowed != 0;
    context.outcome = known ? "method_not_allowed" : "not_found";
    http::Response response =
        known ? http::problem(context.arena, 405, context.outcome, "This method is not allowed here.", false, context.request_id)
              : http::problem(context.arena, 404, context.outcome, "Nothing is found at this address.", false, context.request_id);
    if (known) response.fields.add(http::FieldId::allow, parts_.router->allow_text(decision.allowed, context.arena));
    co_return response;
  }
  const PipelineRoute& route = parts_.routes[decision.route];
  route.figures->began();
  context.route_index = decision.route;
  context.route = route.name;
  if (route.timeout != Duration::max()) context.deadline = after(context.started, route.timeout);

  Result<http::Response> response = co_await route.chain->run(request, context);
  if (!response) {
    if (response.error().code() == Code::internal) {
      log_error("request failed", {{"route", route.name}, {"request_id", context.request_id}, {"error", response.error().to_string()}});
    }
    response = http::response_for(response.error(), context);
  }
  response->fields.set(http::FieldId::x_request_id, context.request_id);
  co_return response;
}

void Pipeline::finished(const http::Request& request, http::RequestContext& context, const http::Sent& sent) noexcept {
  const Time finished = context.loop.exact_now();
  const PipelineRoute& route =
      context.route_index == Router::kNone ? parts_.unrouted : parts_.routes[context.route_index];
  const Side side = sent.status == 499 ? Side::client : context.failed_side;
  route.figures->ended(finished - context.started, sent.first_byte - context.started);
  route.counts->add(sent.status, side);
  if (!parts_.access_log) return;
  parts_.access_log->write({.request = request,
                            .status = sent.status,
                            .context = context,
                            .bytes_in = sent.bytes_in,
                            .bytes_out = sent.bytes_out,
                            .first_byte = sent.first_byte,
                            .finished = finished,
                            .wall = context.loop.wall()});
}

void Pipeline::refused(std::string_view client, int status, http::H1Error why) noexcept {
  const std::string_view reason = why == http::H1Error::none ? "head_timeout" : http::to_string(why);
  metrics_.counter("trellis_refused_total", "bytes that were no acceptable request", {{"reason", std::string(reason)}}).add();
  log_debug("request refused", {{"client", client}, {"status", status}, {"reason", reason}});
}

}  // namespace trellis::proxy
