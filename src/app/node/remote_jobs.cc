#include "app/node/remote_jobs.h"

#include <algorithm>
#include <utility>

#include "app/config.h"
#include "app/control/job_wire.h"
#include "base/rng.h"
#include "http/client.h"
#include "http/target.h"
#include "queue/jobs_rows.h"
#include "runtime/loop.h"
#include "runtime/socket.h"

namespace trellis::app {

namespace {

constexpr Duration kConnect = std::chrono::seconds(3);
// How long the other node looks for a job before it answers that there is none. A stop waits so long at the most.
constexpr Duration kClaimWait = std::chrono::seconds(3);
constexpr Duration kAnswer = std::chrono::seconds(10);  // for what the other node does with its disk
constexpr Duration kFirstBackoff = std::chrono::milliseconds(100);
constexpr Duration kLastBackoff = std::chrono::seconds(3);

std::string millis_text(Duration span) {
  return std::to_string(std::max<int64_t>(1, std::chrono::duration_cast<std::chrono::milliseconds>(span).count()));
}

// A node's name may be any text.
std::string plain(std::string name) {
  for (char& c : name) {
    if (!queue::is_job_name({&c, 1})) c = '-';
  }
  name.resize(std::min(name.size(), queue::kMaxName));
  return name.empty() ? "worker" : name;
}

}  // namespace

Task<Result<std::string>> RemoteJobs::post(std::string path, std::string query, std::string body, size_t most,
                                           Duration wait, Deadline deadline) {
  auto resolving = owner_.addresses(std::min(deadline, after(Loop::current().now(), kAnswer)));
  const Result<std::vector<net::Address>> addresses = co_await resolving;
  if (!addresses) co_return fail(addresses.error().clone());
  const net::Address& address = addresses->front();
  Arena arena;
  http::Request request(arena);
  http::RequestContext context{
      .arena = arena, .loop = Loop::current(), .started = Loop::current().now(), .deadline = deadline};
  const std::string authority = options_.from.to_text();
  const std::string bearer = "Bearer " + options_.token;
  if (!options_.store.empty()) query += "&store=" + options_.store;
  request.method = http::Method::post;
  request.method_text = "POST";
  request.scheme = "http";
  request.authority = authority;
  request.path = path;
  request.query = query;
  request.fields.add(http::FieldId::accept, "application/json");
  request.fields.add(http::FieldId::content_type, "application/json");
  request.fields.add(http::FieldId::user_agent, "trellis");
  if (!options_.token.empty()) request.fields.add(http::FieldId::authorization, bearer);
  http::RequestHeadOptions head;
  head.keep_alive = false;
  head.body = http::BodyKind::length;
  head.length = body.size();
  request.body = std::make_unique<http::TextBody>(std::move(body));
  auto connecting =
      connect_socket(address.storage, address.length, std::min(deadline, after(Loop::current().now(), kConnect)));
  Result<Socket> socket = co_await connecting;
  if (!socket) co_return fail(std::move(socket).error());
  auto connection = std::make_unique<http::ClientConnection>(*std::move(socket), nullptr);
  const http::ClientTimeouts patience{.first_byte = wait + kAnswer, .idle = kAnswer};
  auto exchanging = http::exchange(std::move(connection), request, context, head, patience);
  Result<http::Response> response = co_await exchanging;
  if (!response) co_return fail(std::move(response).error());
  std::string text;
  if (response->body.kind() == http::Body::Kind::bytes) {
    text = response->body.bytes().view();
  } else if (response->body.kind() == http::Body::Kind::stream) {
    const std::unique_ptr<http::BodyReader> stream = response->body.take_stream();
    auto reading = http::read_all(stream.get(), most, deadline);
    Result<std::string> read = co_await reading;
    if (!read) co_return fail(std::move(read).error());
    text = *std::move(read);
  }
  if (response->status != 200) {
    // The words of the answer are the other node's, and short.
    co_return fail(Error(Code::unavailable, "the node at " + authority + " answered " +
                                                std::to_string(response->status) + ": " + text.substr(0, 300))
                       .from(Side::upstream));
  }
  co_return text;
}

Task<Result<std::vector<queue::ClaimedJob>>> RemoteJobs::claim(std::string queue, size_t max, std::string worker,
                                                               Duration lease, Deadline deadline) {
  const Duration left = deadline - Loop::current().now();
  const Duration wait = std::clamp<Duration>(left / 2, std::chrono::milliseconds(1), kClaimWait);
  std::string query = "queue=" + queue + "&max=" + std::to_string(std::min(max, kMaxClaimed));
  query += "&worker=" + plain(std::move(worker)) + "&lease_ms=" + millis_text(lease) + "&wait_ms=" + millis_text(wait);
  auto posting = post("/v1/jobs/claim", std::move(query), {}, kMaxClaimedBody, wait, deadline);
  const Result<std::string> answer = co_await posting;
  Result<std::vector<queue::ClaimedJob>> jobs;
  if (answer) {
    jobs = read_claimed(*answer);
  } else {
    jobs = fail(answer.error().clone());
  }
  if (jobs) {
    failures_.erase(queue);
    co_return jobs;
  }
  // Full jitter above a half: workers that lost the same node do not all come back at once.
  const int doublings = std::min(failures_[queue]++, 10);
  const Duration ceiling = std::min(kLastBackoff, kFirstBackoff * (1 << doublings));
  const auto jitter = static_cast<int64_t>(Loop::current().rng().next() % static_cast<uint64_t>(ceiling.count() / 2));
  co_await sleep_for(ceiling / 2 + Duration(jitter));
  co_return jobs;
}

Task<Result<std::vector<queue::Settled>>> RemoteJobs::settle(std::string queue,
                                                             std::vector<queue::Settlement> settlements, Duration lease,
                                                             Deadline deadline) {
  const size_t count = settlements.size();
  auto posting = post("/v1/jobs/settle", "queue=" + queue + "&lease_ms=" + millis_text(lease),
                      write_settlements(settlements), kMaxSettlementsBody, Duration::zero(), deadline);
  const Result<std::string> answer = co_await posting;
  if (!answer) co_return fail(answer.error().clone());
  co_return read_settled(*answer, count);
}

// --- Plans ---

Result<std::vector<queue::WorkerPlan>> plans_of_other_nodes(const NodeConfig& values,
                                                            const std::vector<queue::WorkerPlan>& before) {
  std::vector<queue::WorkerPlan> plans;
  for (const auto& [name, worker] : values.workers) {
    if (!worker.from) continue;
    RemoteJobsOptions options{.from = worker.from->at, .token = {}, .store = worker.store};
    if (!worker.token_file.empty()) {
      auto token = read_token(worker.token_file);
      if (!token)
        return fail(Error(token.error().code(), "workers." + name + ".token_file").because(std::move(token).error()));
      options.token = *std::move(token);
    }
    std::shared_ptr<queue::JobSource> remote;
    for (const auto* known : {&before, &std::as_const(plans)}) {
      for (const queue::WorkerPlan& plan : *known) {
        const auto* const jobs = dynamic_cast<const RemoteJobs*>(plan.remote.get());
        if (!remote && jobs && jobs->options() == options) remote = plan.remote;
      }
    }
    if (!remote) remote = std::make_shared<RemoteJobs>(std::move(options));
    plans.push_back({.queues = worker.queues,
                     .remote = std::move(remote),
                     .concurrency = worker.concurrency,
                     .timeout = worker.timeout});
  }
  return plans;
}

}  // namespace trellis::app
