#include "proxy/pipeline.h"

#include <algorithm>

#include "base/hash.h"
#include "base/log.h"
#include "http/busy.h"
#include "http/explain.h"
#include "http/problem.h"
#include "http/target.h"
#include "proxy/access_log.h"
#include "proxy/cache/member_door.h"
#include "proxy/received_fields.h"
#include "proxy/route_reasons.h"
#include "proxy/trace.h"
#include "runtime/loop.h"

namespace trellis::proxy {

RouteFigures::RouteFigures(Metrics& metrics, const std::string& route)
    : seconds_(metrics.histogram("trellis_request_seconds", "time from a request's first byte to its answer's last",
                                 {{"route", route}})),
      first_byte_(metrics.histogram("trellis_first_byte_seconds",
                                    "time from a request's first byte to its answer's first", {{"route", route}})),
      gauge_(metrics.computed("trellis_requests_in_flight", "requests being handled", {{"route", route}},
                              [this] { return static_cast<double>(in_flight()); })),
      upgraded_gauge_(metrics.computed("trellis_upgraded_connections",
                                       "WebSockets and other connections that were upgraded and have not ended",
                                       {{"route", route}}, [this] {
                                         const uint64_t ended = upgrades_ended_.value();
                                         return static_cast<double>(upgrades_began_.value() - ended);
                                       })) {}

void RouteFigures::ended(Duration took, Duration first_byte) noexcept {
  ended_.add();
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
  if (status >= 500) failed_.add();
  if (side != Side::unset || status < 100 || status > 599) [[unlikely]] {
    others_.add();
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

uint64_t RouteCounts::total() const noexcept {
  uint64_t sum = others_.value();
  for (const auto& slot : plain_) {
    if (const Counter* counter = slot.load(std::memory_order_acquire)) sum += counter->value();
  }
  return sum;
}
uint64_t RouteCounts::errors() const noexcept { return failed_.value(); }

namespace {

// However late the core is, who watches over it must see that it lives.
bool is_health(std::string_view path) noexcept { return path == "/healthz" || path == "/readyz"; }

// Who asks, and which route has it.
void tell_way_here(http::Explain& explain, const PipelineParts& parts, uint32_t route, const http::Request& request,
                   const http::RequestContext& context) {
  std::string client(context.client_address);
  client += " at listener " + parts.listener;
  if (!context.forwarded_for.empty()) client += ", by trusted proxies: " + std::string(context.forwarded_for);
  explain.add("client", client);
  explain.add("route", route == Router::kNone ? reason_of_none(parts.routes, request)
                                              : reason_of_route(parts.routes, route, request));
}

Counter& shed_counter(Metrics& metrics, const char* reason) {
  return metrics.counter("trellis_shed_total", "what was turned away to protect the node or an upstream",
                         {{"reason", reason}});
}

}  // namespace

Counter& connection_counter(Metrics& metrics, const std::string& listener, const char* event) {
  return metrics.counter("trellis_connection_events_total", "connections of clients by what became of them",
                         {{"listener", listener}, {"event", event}});
}

std::shared_ptr<void> watch_connections(Metrics& metrics, const std::string& listener) {
  const Counter& opened = connection_counter(metrics, listener, "opened");
  const Counter& closed = connection_counter(metrics, listener, "closed");
  return metrics.computed("trellis_connections", "connections of clients", {{"listener", listener}},
                          [&opened, &closed] {
                            const uint64_t gone = closed.value();
                            return static_cast<double>(opened.value() - gone);
                          });
}

Pipeline::Pipeline(PipelineParts parts, Metrics& metrics)
    : parts_(std::move(parts)),
      metrics_(metrics),
      opened_(connection_counter(metrics, parts_.listener, "opened")),
      closed_(connection_counter(metrics, parts_.listener, "closed")),
      turned_away_(shed_counter(metrics, "max_connections")),
      shed_(shed_counter(metrics, "overloaded")) {}

// Not a coroutine itself: a request that nobody asks about costs no frame more.
Task<Result<http::Response>> Pipeline::handle(http::Request& request, http::RequestContext& context) {
  if (asks_why(request)) [[unlikely]]
    return explained(request, context);
  return answer(request, context);
}

bool Pipeline::asks_why(const http::Request& request) const noexcept {
  if (parts_.explain_key.empty()) return false;
  const auto key = request.fields.find(http::FieldId::x_trellis_explain);
  return key && constant_time_equal(*key, parts_.explain_key);
}

Task<Result<http::Response>> Pipeline::explained(http::Request& request, http::RequestContext& context) {
  http::Explain explain(context.loop, context.started);
  struct Asking {
    http::RequestContext& context;
    ~Asking() { context.explain = nullptr; }
  } asking{context};
  context.explain = &explain;
  CO_TRY(http::Response response, co_await answer(request, context));
  std::string text = "status " + std::to_string(response.status);
  if (!context.outcome.empty()) text += ", " + std::string(context.outcome);
  if (const auto stored = response.fields.find(http::FieldId::cache_control))
    text += "; its Cache-Control was " + std::string(*stored);
  explain.add("answer", text);
  explain.write(response.fields);
  co_return response;
}

Task<Result<http::Response>> Pipeline::answer(http::Request& request, http::RequestContext& context) {
  if (!parts_.trusted.empty()) parts_.trusted.believe(request, context);
  if (parts_.merge_slashes) request.path = http::merge_slashes(request.path, context.arena);
  Rng& rng = context.loop.rng();
  begin_trace(request, context, rng);
  begin_request_id(request, context, context.loop.wall(), rng);

  if (parts_.members && MemberDoor::is_for(request.path)) [[unlikely]] {
    parts_.unrouted.figures->began();
    context.route_index = Router::kNone;
    Result<http::Response> response = co_await parts_.members->handle(request, context);
    if (!response) response = http::response_for(response.error(), context);
    co_return response;
  }

  // CONNECT would make this a forward proxy, TRACE would show a client what the edge adds: neither passes.
  const bool refused = request.method == http::Method::connect || request.method == http::Method::trace;
  const Router::Decision decision = refused ? Router::Decision{} : parts_.router->find(request);
  if (context.explain) [[unlikely]]
    tell_way_here(*context.explain, parts_, decision.route, request, context);
  if (refused) [[unlikely]] {
    parts_.unrouted.figures->began();
    context.failed_side = Side::client;
    context.outcome = "method_not_allowed";
    http::Response response = http::problem(context.arena, 405, context.outcome, "This method is not served here.",
                                            false, context.request_id);
    response.fields.add(http::FieldId::allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    co_return response;
  }
  if (decision.route == Router::kNone) [[unlikely]] {
    parts_.unrouted.figures->began();
    context.route_index = Router::kNone;
    context.failed_side = Side::client;
    const bool known = decision.allowed != 0;
    context.outcome = known ? "method_not_allowed" : "not_found";
    http::Response response = known ? http::problem(context.arena, 405, context.outcome,
                                                    "This method is not allowed here.", false, context.request_id)
                                    : http::problem(context.arena, 404, context.outcome,
                                                    "Nothing is found at this address.", false, context.request_id);
    if (known) response.fields.add(http::FieldId::allow, parts_.router->allow_text(decision.allowed, context.arena));
    co_return response;
  }
  const PipelineRoute& route = parts_.routes[decision.route];
  route.figures->began();
  context.route_index = decision.route;
  context.route = route.name;
  context.owner = this;
  if (route.timeout != Duration::max()) context.deadline = after(context.started, route.timeout);
  if (parts_.shedder && parts_.shedder->refuses(route.priority, context.loop) && !is_health(request.path))
      [[unlikely]] {
    shed_.add();
    if (context.explain) context.explain->add("overload", "the core is late, and the route's priority is too low");
    http::Response response =
        http::busy(context, "overloaded", "This node has more to do than it can.", std::chrono::seconds(1));
    response.fields.set(http::FieldId::x_request_id, context.request_id);
    co_return response;
  }

  take_off_received(request);
  Result<http::Response> response = co_await route.chain->run(request, context);
  if (!response) {
    const bool left = response.error().code() == Code::cancelled && response.error().side() == Side::client;
    if (left) co_return response;  // there is nobody to answer
    if (response.error().code() == Code::internal) {
      log_error("request failed",
                {{"route", route.name}, {"request_id", context.request_id}, {"error", response.error().to_string()}});
    }
    response = http::response_for(response.error(), context);
  }
  response->fields.set(http::FieldId::x_request_id, context.request_id);
  co_return response;
}

namespace {

void write_line(const AccessLog& log, const http::Request& request, const http::RequestContext& context,
                const http::Sent& sent, Time finished) noexcept {
  log.write({.request = request,
             .status = sent.status,
             .context = context,
             .bytes_in = sent.bytes_in,
             .bytes_out = sent.bytes_out,
             .first_byte = sent.first_byte,
             .finished = finished,
             .wall = context.loop.wall()});
}

// Of an upgraded connection; needs no pipeline.
class UpgradeBooks final : public http::UpgradeEnd {
 public:
  UpgradeBooks(std::shared_ptr<RouteFigures> figures, std::shared_ptr<AccessLog> log) noexcept
      : figures_(std::move(figures)), log_(std::move(log)) {
    figures_->upgrade_began();
  }
  void finished(const http::Request& request, http::RequestContext& context, const http::Sent& sent) noexcept override {
    figures_->upgrade_ended();
    if (log_) write_line(*log_, request, context, sent, context.loop.now());
  }

 private:
  std::shared_ptr<RouteFigures> figures_;
  std::shared_ptr<AccessLog> log_;
};

}  // namespace

std::unique_ptr<http::UpgradeEnd> Pipeline::upgraded(http::Request& request, http::RequestContext& context,
                                                     const http::Sent& sent) {
  const PipelineRoute& route = parts_.routes[context.route_index];
  // As a request it is over: what comes now would make an answer of hours of it.
  route.figures->ended(sent.first_byte - context.started, sent.first_byte - context.started);
  route.counts->add(sent.status, context.failed_side);
  // These are names of the pipeline's and of the cluster's, which a reload may replace.
  context.route = context.arena.copy(context.route);
  context.upstream = context.arena.copy(context.upstream);
  context.upstream_host = context.arena.copy(context.upstream_host);
  context.cache_status = context.arena.copy(context.cache_status);
  context.way = context.arena.copy(context.way);
  for (http::Field& field : request.fields) {  // a configuration may have set them
    field.name = context.arena.copy(field.name);
    field.value = context.arena.copy(field.value);
  }
  return std::make_unique<UpgradeBooks>(route.figures, parts_.access_log);
}

void Pipeline::finished(const http::Request& request, http::RequestContext& context, const http::Sent& sent) noexcept {
  // The clock was read when the answer left; if that took a turn of the loop, the loop has read it again since.
  const Time finished = std::max(sent.first_byte, context.loop.now());
  const PipelineRoute& route =
      context.route_index == Router::kNone ? parts_.unrouted : parts_.routes[context.route_index];
  const Side side = sent.status == 499 ? Side::client : context.failed_side;
  route.figures->ended(finished - context.started, sent.first_byte - context.started);
  route.counts->add(sent.status, side);
  if (parts_.access_log) write_line(*parts_.access_log, request, context, sent, finished);
}

void Pipeline::refused(std::string_view client, int status, http::H1Error why) noexcept {
  const std::string_view reason = why == http::H1Error::none ? "head_timeout" : http::to_string(why);
  metrics_.counter("trellis_refused_total", "bytes that were no acceptable request", {{"reason", std::string(reason)}})
      .add();
  parts_.unrouted.counts->add(status, Side::client);
  if (!parts_.access_log) return;
  Loop& loop = Loop::current();
  Arena arena;
  http::Request unread(arena);  // nothing of it can be told
  unread.method = http::Method::other;
  http::RequestContext context{.arena = arena, .loop = loop, .started = loop.now()};
  context.client_address = client;
  context.listener = parts_.listener;
  context.failed_side = Side::client;
  context.outcome = reason;
  parts_.access_log->write({.request = unread,
                            .status = status,
                            .context = context,
                            .first_byte = {},
                            .finished = loop.now(),
                            .wall = loop.wall()});
}

void Pipeline::header_refused(std::string_view address, std::string_view why) noexcept {
  tell_header_refused(metrics_, parts_.listener, address, why);
}

void tell_header_refused(Metrics& metrics, const std::string& listener, std::string_view address,
                         std::string_view why) noexcept {
  static LogThrottle throttle(std::chrono::seconds(10));
  metrics
      .counter("trellis_header_refused_total", "connections without the PROXY header that they should begin with",
               {{"listener", listener}})
      .add();
  log_every(throttle, LogLevel::warn, "a connection was closed: no PROXY header of a trusted address",
            {{"listener", listener}, {"address", address}, {"why", why}});
}

}  // namespace trellis::proxy
