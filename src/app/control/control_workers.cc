// The control API for worker nodes: POST /v1/jobs/claim and /v1/jobs/settle (docs/jobs.md#a-worker-node). These are
// what a node elsewhere may ask for, with the token of `control`.
#include <algorithm>
#include <array>

#include "app/control/control_area.h"
#include "app/control/job_wire.h"
#include "app/node/node.h"
#include "app/node/open_store.h"
#include "queue/jobs_rows.h"
#include "queue/jobs_sqlite.h"
#include "runtime/loop.h"
#include "runtime/sync.h"

namespace trellis::app {

namespace {

using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;

constexpr int64_t kMinLeaseMillis = 1000;
constexpr int64_t kMaxLeaseMillis = 3'600'000;
// A delayed job that becomes ready rings no bell.
constexpr Duration kLookAgain = std::chrono::seconds(1);

Result<std::string> name_parameter(Request& request, RequestContext& context, std::string_view name) {
  TRY(std::optional<std::string> text, text_parameter(request, context, name));
  if (!text || !queue::is_job_name(*text))
    return fail(refused(Code::invalid_argument, std::string(name) + " must be 1 to 64 of A-Z a-z 0-9 - _ ."));
  return *std::move(text);
}

Result<Duration> lease_parameter(Request& request, RequestContext& context) {
  TRY(const std::optional<int64_t> millis,
      number_parameter(request, context, "lease_ms", kMinLeaseMillis, kMaxLeaseMillis));
  return std::chrono::milliseconds(millis.value_or(30'000));
}

// Jobs as soon as there are some, none when the time is over.
Task<Result<Response>> claim(Node& node, Request& request, RequestContext& context) {
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  CO_TRY(const std::string queue, name_parameter(request, context, "queue"));
  CO_TRY(const std::string worker, name_parameter(request, context, "worker"));
  CO_TRY(const Duration lease, lease_parameter(request, context));
  CO_TRY(const std::optional<int64_t> max, number_parameter(request, context, "max", 1, kMaxClaimed));
  constexpr int64_t kMaxWaitMillis = std::chrono::duration_cast<std::chrono::milliseconds>(kMaxClaimWait).count();
  CO_TRY(const std::optional<int64_t> wait, number_parameter(request, context, "wait_ms", 0, kMaxWaitMillis));
  const Time until = after(context.loop.now(), std::chrono::milliseconds(wait.value_or(0)));
  Event came;
  const std::shared_ptr<void> listening = store->jobs->listen(queue, came);
  while (true) {
    came.reset();
    const Deadline deadline = after(context.loop.now(), kControlTimeout);
    auto claiming = store->jobs->claim(queue, static_cast<size_t>(max.value_or(1)), worker, lease, deadline);
    const Result<std::vector<queue::ClaimedJob>> jobs = co_await claiming;
    if (!jobs) co_return fail(jobs.error().clone());
    const Time now = context.loop.now();
    if (!jobs->empty() || now >= until || !node.ready()) co_return json_answer(context, 200, write_claimed(*jobs));
    (void)co_await came.wait(std::min(until, after(now, kLookAgain)));
  }
}

Task<Result<Response>> settle(Node& node, Request& request, RequestContext& context) {
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  CO_TRY(const std::string queue, name_parameter(request, context, "queue"));
  CO_TRY(const Duration lease, lease_parameter(request, context));
  const Deadline deadline = after(context.loop.now(), kControlTimeout);
  auto reading = http::read_all(request.body.get(), kMaxSettlementsBody, deadline);
  const Result<std::string> body = co_await reading;
  if (!body) co_return fail(body.error().clone());
  CO_TRY(std::vector<queue::Settlement> settlements, read_settlements(*body));
  if (settlements.empty()) co_return json_answer(context, 200, write_settled({}));
  auto settling = store->jobs->settle(queue, std::move(settlements), lease, deadline);
  const Result<std::vector<queue::Settled>> outcomes = co_await settling;
  if (!outcomes) co_return fail(outcomes.error().clone());
  co_return json_answer(context, 200, write_settled(*outcomes));
}

constexpr std::array<ControlEndpoint, 2> kEndpoints = {
    {{"/v1/jobs/claim", Method::post, &claim}, {"/v1/jobs/settle", Method::post, &settle}}};

}  // namespace

std::span<const ControlEndpoint> worker_endpoints() noexcept { return kEndpoints; }

}  // namespace trellis::app
