// What a server of a listener calls: finds the route, does the steps every request gets (trace, request id, deadline,
// errors to answers, metrics, access log), and runs the route's chain. The five built-in steps are plain calls in one
// coroutine and not filters of their own: each request pays for them, and nothing may come between them
// (docs/decisions/004-built-in-steps.md). One Pipeline a core and listener, rebuilt as a whole by a reload; requests in
// flight keep the one they began with.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "http/server.h"
#include "proxy/filter.h"
#include "proxy/router.h"
#include "proxy/shedder.h"
#include "proxy/trusted_proxies.h"

namespace trellis::proxy {

class AccessLog;
class MemberDoor;

// The figures of one route, shared by all cores and listeners.
class RouteFigures {
 public:
  RouteFigures(Metrics& metrics, const std::string& route);
  void began() noexcept { began_.add(); }
  void ended(Duration took, Duration first_byte) noexcept;
  void upgrade_began() noexcept { upgrades_began_.add(); }
  void upgrade_ended() noexcept { upgrades_ended_.add(); }
  const Histogram& seconds() const noexcept { return seconds_; }
  int64_t in_flight() const noexcept {
    const uint64_t ended = ended_.value();  // first: never ahead of what began
    return static_cast<int64_t>(began_.value() - ended);
  }

 private:
  Histogram& seconds_;
  Histogram& first_byte_;
  Counter began_;  // each core counts for itself
  Counter ended_;
  Counter upgrades_began_;
  Counter upgrades_ended_;
  std::shared_ptr<void> gauge_;
  std::shared_ptr<void> upgraded_gauge_;
};

// The answers of one route on one listener, by status; shared by all cores. Counters are looked up when they first
// come.
class RouteCounts {
 public:
  RouteCounts(Metrics& metrics, std::string listener, std::string route);
  void add(int status, Side side) noexcept;
  uint64_t total() const noexcept;   // of all answers
  uint64_t errors() const noexcept;  // of those with 5xx

 private:
  Counter& counter_for(int status, Side side);

  Metrics& metrics_;
  std::string listener_;
  std::string route_;
  Counter others_;  // answers that plain_ does not hold
  Counter failed_;
  std::array<std::atomic<Counter*>, 500> plain_{};  // by status - 100, side none
};

struct PipelineRoute {
  std::string name;
  std::shared_ptr<RouteFigures> figures;
  std::shared_ptr<RouteCounts> counts;
  std::unique_ptr<Chain> chain;
  Duration timeout = Duration::max();  // for the whole request
  Priority priority = Priority::normal;
  Match match = {};  // of this and `to` explanations tell
  std::string to = {};
};

struct PipelineParts {
  std::string listener;
  TrustedProxies trusted;      // before this listener
  bool merge_slashes = false;  // of paths, before anything compares them
  std::shared_ptr<const Router> router;
  std::vector<PipelineRoute> routes;                    // as the router numbers them
  PipelineRoute unrouted;                               // stands for what no route takes; has no chain
  std::vector<std::unique_ptr<http::Handler>> targets;  // owned here, used by the chains
  std::shared_ptr<AccessLog> access_log;                // null: none
  std::shared_ptr<MemberDoor> members;                  // of clusters of edges; null: none
  Shedder* shedder = nullptr;                           // of the core; null: nothing is shed
  std::string explain_key;                              // who sends it is told why; "": nobody
  std::shared_ptr<void> keeps;                          // whatever else must live as long
};

class Pipeline final : public http::Application, public http::Owner, public std::enable_shared_from_this<Pipeline> {
 public:
  explicit Pipeline(PipelineParts parts, Metrics& metrics);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;
  void finished(const http::Request& request, http::RequestContext& context, const http::Sent& sent) noexcept override;
  std::unique_ptr<http::UpgradeEnd> upgraded(http::Request& request, http::RequestContext& context,
                                             const http::Sent& sent) override;
  void refused(std::string_view client, int status, http::H1Error why) noexcept override;
  void header_refused(std::string_view address, std::string_view why) noexcept override;
  std::shared_ptr<void> hold() noexcept override { return weak_from_this().lock(); }
  void opened() noexcept override { opened_.add(); }
  void closed() noexcept override { closed_.add(); }
  void turned_away() noexcept override { turned_away_.add(); }

 private:
  bool asks_why(const http::Request& request) const noexcept;
  Task<Result<http::Response>> answer(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> explained(http::Request& request, http::RequestContext& context);

  PipelineParts parts_;
  Metrics& metrics_;
  Counter& opened_;
  Counter& closed_;
  Counter& turned_away_;
  Counter& shed_;
};

// Connections of a listener by what became of them: opened, closed.
Counter& connection_counter(Metrics& metrics, const std::string& listener, const char* event);
// A connection that should have begun with a PROXY header; counted, and logged now and then.
void tell_header_refused(Metrics& metrics, const std::string& listener, std::string_view address,
                         std::string_view why) noexcept;
// How many connections a listener has, over all cores; the token removes the gauge.
std::shared_ptr<void> watch_connections(Metrics& metrics, const std::string& listener);

}  // namespace trellis::proxy
