#include "upstream/cluster.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "base/metrics.h"
#include "base/time.h"
#include "http/date.h"
#include "http/explain.h"
#include "runtime/loop.h"
#include "runtime/socket.h"
#include "runtime/sync.h"

namespace trellis::upstream {

namespace {

Counter& retries(Metrics& metrics, const std::string& upstream, std::string_view outcome) {
  return metrics.counter(
      "trellis_retries_total",
      "tries beyond the first: on a fresh connection instead of a dead pooled one, or on another host",
      {{"upstream", upstream}, {"outcome", std::string(outcome)}});
}

bool by_key(Balance balance) noexcept {
  return balance == Balance::hash || balance == Balance::ip_hash || balance == Balance::maglev;
}

std::optional<RetryOn> retry_reason(int status) noexcept {
  switch (status) {
    case 500: return RetryOn::s500;
    case 502: return RetryOn::s502;
    case 503: return RetryOn::s503;
    case 504: return RetryOn::s504;
    default: return std::nullopt;
  }
}

// How long a host asks to be left alone (RFC 9110 section 10.2.3): seconds, or a date, which counts by the host's own
// clock where the answer tells it.
Duration retry_after(const Result<http::Response>& answer) noexcept {
  if (!answer) return Duration::zero();
  const std::string_view text = answer->fields.value(http::FieldId::retry_after);
  if (text.empty()) return Duration::zero();
  uint32_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (end == text.data() + text.size() && error == std::errc()) return std::chrono::seconds(seconds);
  const int64_t now = unix_seconds(Loop::current().wall());
  const std::optional<int64_t> until = http::parse_http_date(text, now);
  if (!until) return Duration::zero();
  const int64_t from = http::parse_http_date(answer->fields.value(http::FieldId::date), now).value_or(now);
  return std::chrono::seconds(std::clamp<int64_t>(*until - from, 0, std::numeric_limits<uint32_t>::max()));
}

// A time limit until the head of the answer; its body has limits of its own. So has a request's body, which takes the
// time that its client takes.
class HeadDeadline {
 public:
  HeadDeadline(http::RequestContext& context, Duration total, bool has_body) noexcept
      : context_(context), before_(context.deadline) {
    if (!has_body) context.deadline = std::min(before_, after(Loop::current().now(), total));
  }
  HeadDeadline(const HeadDeadline&) = delete;
  HeadDeadline& operator=(const HeadDeadline&) = delete;
  ~HeadDeadline() { context_.deadline = before_; }

 private:
  http::RequestContext& context_;
  const Deadline before_;
};

constexpr size_t kMostSkipped = 16;  // hosts without room that one pick looks at

}  // namespace

// Hosts that a request was sent to, or that had no room, so that another one is next. Places in the list it was made
// with: when the members change, it forgets.
class Cluster::Tried {
 public:
  void add(const Cluster& cluster, const Pool& pool) noexcept {
    if (of_ != cluster.list_.get()) size_ = 0;
    of_ = cluster.list_.get();
    if (size_ < ids_.size()) ids_[size_++] = pool.id();
  }
  std::span<const HostId> in(const Cluster& cluster) const noexcept {
    return {ids_.data(), of_ == cluster.list_.get() ? size_ : 0};
  }
  size_t size() const noexcept { return size_; }
  void clear() noexcept { size_ = 0; }

 private:
  const HostList* of_ = nullptr;
  std::array<HostId, kMostSkipped + 10> ids_;
  size_t size_ = 0;
};

Cluster::Cluster(std::shared_ptr<Hosts> hosts, const UpstreamConfig& config, Metrics& metrics,
                 std::shared_ptr<Breaker> breaker, std::shared_ptr<Ejection> ejection, std::shared_ptr<const Geo> geo)
    : hosts_(std::move(hosts)),
      ejection_(std::move(ejection)),
      config_(config),
      hash_key_(config.balance == Balance::ip_hash ? "client_address" : std::string_view(config.hash_on)),
      metrics_(metrics),
      geo_(std::move(geo)),
      retries_won_(retries(metrics, name(), "success")),
      retries_lost_(retries(metrics, name(), "failure")),
      over_budget_(retries(metrics, name(), "over_budget")),
      budget_(config.retry.budget, kRetryFloor / static_cast<double>(hosts_->cores())),
      waiting_(config.limits.waiting, config.limits.wait),
      breaker_(std::move(breaker)),
      entering_(config.limits.waiting, config.limits.wait) {
  if (const auto& adaptive = config_.limits.adaptive; adaptive && adaptive->on) {
    Loop& loop = Loop::current();
    const Duration phase = AdaptiveLimit::phase_of(name(), adaptive->probe_every, loop.now(), loop.wall());
    adaptive_ = std::make_unique<AdaptiveLimit>(*adaptive, &entering_, phase);
    limit_shown_ = &metrics.gauge("trellis_upstream_limit", "requests of a core that may be under way, as measured",
                                  {{"upstream", name()}, {"core", std::to_string(loop.index())}});
  }
  if (geo_) watch_regions();
  refresh();
}

Cluster::~Cluster() {
  for (const auto& pool : pools_) {
    pool->watch(0, nullptr);
    pool->close_idle();
  }
}

size_t Cluster::open_connections() const noexcept {
  size_t sum = 0;
  for (const auto& pool : pools_) sum += pool->open();
  return sum;
}
size_t Cluster::idle_connections() const noexcept {
  size_t sum = 0;
  for (const auto& pool : pools_) sum += pool->idle();
  return sum;
}

// --- who gets it ---

void Cluster::load_changed(HostId host, int by) noexcept {
  if (host < choice_of_.size() && choice_of_[host] < choices_.size()) {
    Choice& choice = choices_[choice_of_[host]];
    choice.active = static_cast<uint64_t>(static_cast<int64_t>(choice.active) + by);
    choice.balancer->load_changed(host);
  }
  if (by < 0) waiting_.wake_one();
}

// Follows what other cores, checks and people did to the hosts.
void Cluster::refresh() {
  const uint64_t version = hosts_->version();  // before the view: at worst it is read twice
  if (version == version_) [[likely]]
    return;
  version_ = version;
  Hosts::View view = hosts_->view();
  if (view.list != list_) {
    list_ = std::move(view.list);
    rebuild_pools();
  }
  Loop& loop = Loop::current();
  const BalanceOptions options{.slow_start = config_.slow_start, .bound = config_.bound};
  const Eligible eligible = eligible_hosts(*list_, rules(), loop.now());
  choices_.clear();
  choice_of_.assign(list_->size(), static_cast<uint32_t>(eligible.tiers.size()));
  for (const Tier& tier : eligible.tiers) {
    Choice choice{.overflows = tier.overflows};
    std::vector<BalanceHost> hosts;
    for (const HostId id : tier.hosts) {
      Pool& pool = *pools_[id];
      pool.load().joined = pool.host().joined();
      hosts.push_back({id, pool.host().facts.name, pool.host().weight(), &pool.load()});
      choice.active += pool.load().active;
      choice_of_[id] = static_cast<uint32_t>(choices_.size());
    }
    choice.balancer = geo_ ? balance_regions(std::move(hosts), options, view.keys)
                           : make_balancer(config_.balance, std::move(hosts), options, view.keys, loop.rng());
    choices_.push_back(std::move(choice));
  }
  waiting_.wake_all();
}

void Cluster::rebuild_pools() {
  choices_.clear();  // they hold loads of pools that may go
  std::vector<std::shared_ptr<Pool>> before = std::exchange(pools_, {});
  for (const std::shared_ptr<Host>& host : *list_) {
    const auto old =
        std::ranges::find_if(before, [&](const auto& pool) { return pool && &pool->host() == host.get(); });
    if (old != before.end()) {
      pools_.push_back(std::move(*old));
    } else {
      pools_.push_back(std::make_shared<Pool>(host, config_.limits, Loop::current().index(), ejection_));
    }
    pools_.back()->watch(static_cast<HostId>(pools_.size() - 1), this);
  }
  // What is under way at those that are gone ends by itself.
  for (const auto& pool : before) {
    if (!pool) continue;
    pool->watch(0, nullptr);
    pool->close_idle();
  }
  tokens_.clear();
  host_of_token_.clear();
  for (HostId id = 0; config_.sticky && id < pools_.size(); ++id) {
    tokens_.push_back(sticky_token(*config_.sticky, name(), (*list_)[id]->facts.name));
    host_of_token_.emplace(tokens_.back(), id);
  }
}

uint64_t Cluster::key_of(const http::Request& request, const http::RequestContext& context) {
  if (!by_key(config_.balance)) return 0;
  const auto key = hash_key_.of(request, context);
  return key ? *key : Loop::current().rng().next();
}

Cluster::Wish Cluster::wish_of(const http::Request& request, const http::RequestContext& context) {
  // Where trusted proxies are named, they alone may say in a field where the client is.
  const http::Fields* const told = context.from_stranger ? nullptr : &request.fields;
  return {.key = key_of(request, context), .regions = regions_for(context.client_address, told)};
}
Cluster::Wish Cluster::wish_of(std::string_view client_address) {
  return {.key = hash64(client_address), .regions = regions_for(client_address, nullptr)};
}

std::optional<HostId> Cluster::pick_id(const Choice& choice, const Wish& wish, std::span<const HostId> tried) {
  return choice.balancer->pick({.now = Loop::current().now(),
                                .key = wish.key,
                                .active = choice.active,
                                .tried = tried,
                                .regions = wish.regions});
}
std::optional<HostId> Cluster::pick_id(const Wish& wish, std::span<const HostId> tried) {
  for (const Choice& choice : choices_) {
    if (const auto id = pick_id(choice, wish, tried)) return id;
  }
  return std::nullopt;
}

// A host that was not tried and has room for one connection more. Null: there is none.
std::shared_ptr<Pool> Cluster::pick(const Wish& wish, const Tried& tried, bool beside) {
  refresh();
  for (const Choice& choice : choices_) {
    const Found found = find_room(choice, wish, tried);
    if (found.pool) {
      if (geo_) count_region(wish, found.pool->id());
      return found.pool;
    }
    if (!choice.overflows && (found.some_full || beside)) return nullptr;
  }
  return nullptr;
}

Cluster::Found Cluster::find_room(const Choice& choice, const Wish& wish, const Tried& tried) {
  Tried skip = tried;
  for (size_t i = 0; i <= kMostSkipped; ++i) {
    const auto id = pick_id(choice, wish, skip.in(*this));
    if (!id) return {.pool = nullptr, .some_full = i > 0};
    if (!pools_[*id]->full()) return {.pool = pools_[*id]};
    skip.add(*this, *pools_[*id]);
  }
  // Very many are full: then anybody who has room, whatever the policy would say.
  const auto place = static_cast<uint32_t>(&choice - choices_.data());
  const std::span<const HostId> asked = tried.in(*this);
  for (const std::shared_ptr<Pool>& pool : pools_) {
    const HostId id = pool->id();
    if (choice_of_[id] == place && !pool->full() && std::ranges::find(asked, id) == asked.end()) return {.pool = pool};
  }
  return {.pool = nullptr, .some_full = true};
}

std::shared_ptr<Host> Cluster::pick_host(std::string_view client_address) {
  refresh();
  const Wish wish = wish_of(client_address);
  const auto id = pick_id(wish, {});
  if (!id) return nullptr;
  if (geo_) count_region(wish, *id);
  return pools_[*id]->shared_host();
}

// --- requests ---

bool Cluster::may_repeat(const http::Request& request, const Result<http::Response>& answer) const noexcept {
  if (!answer && answer.error().retry() == Retry::yes) return config_.retry.covers(RetryOn::connect);
  if (!http::is_idempotent(request.method)) return false;
  if (request.body && !request.body->can_rewind()) return false;
  if (answer) {
    const auto reason = retry_reason(answer->status);
    return reason && config_.retry.covers(*reason);
  }
  if (answer.error().side() != Side::upstream) return false;
  switch (answer.error().code()) {
    case Code::deadline_exceeded: return config_.retry.covers(RetryOn::timeout);
    case Code::data_loss: return config_.retry.covers(RetryOn::malformed);
    default: return config_.retry.covers(RetryOn::reset);
  }
}

Task<Result<http::Response>> Cluster::try_hosts(http::Request& request, http::RequestContext& context) {
  const HeadDeadline limited(context, config_.timeouts.total, request.body != nullptr);
  const Wish wish = wish_of(request, context);
  const uint32_t attempts_before = context.attempts;
  Tried tried;
  std::optional<Result<http::Response>> answer;  // of the last try
  bool body_read = false;                        // by the last try
  for (uint32_t attempt = 1;; ++attempt) {
    std::shared_ptr<Pool> pool = attempt == 1 ? pick_sticky(request) : nullptr;
    std::string_view why = pool ? "its cookie" : to_string(config_.balance);
    if (!pool && (answer || waiting_.may_try())) pool = pick(wish, tried);
    if (!pool && answer) {  // all were asked: one of them again, after a pause
      const Time due = after(Loop::current().now(), pause_before(attempt, *answer));
      if (due >= context.deadline) {
        if (context.explain) [[unlikely]]
          context.explain->add("retry", "none: all were asked, and the pause before the next try ends too late");
        co_return *std::move(answer);
      }
      co_await sleep_until(due);
      tried.clear();
      pool = pick(wish, tried);
      if (!pool) {
        if (context.explain) [[unlikely]]
          context.explain->add("retry", "none: all were asked, and none has room");
        co_return *std::move(answer);
      }
    }
    WaitingQueue::Waiter waiter(waiting_, context.deadline);
    while (!pool && !choices_.empty()) {  // all connections are in use, or others wait for one
      const WaitingQueue::Turn turn = co_await waiter;
      if (turn != WaitingQueue::Turn::yours) co_return refuse(context, "upstream_busy");
      pool = pick(wish, tried);
      why = "the first that had room";
    }
    if (context.explain) [[unlikely]]
      tell_pick(*context.explain, pool.get(), wish, tried.in(*this), why);
    if (!pool) co_return fail(Error(Code::unavailable, "the upstream has no host to ask").from(Side::self));
    answer.reset();  // and with it what was still sending the body of the last try
    if (body_read && !request.body->rewind())
      co_return fail(Error(Code::unavailable, "the request's body cannot be sent again").from(Side::upstream));
    tried.add(*this, *pool);
    context.upstream_host = context.arena.copy(pool->host().facts.name);
    if (may_hedge(request)) {
      auto first = co_await ask_two(pool, wish, tried, request, context, attempts_before);
      answer.emplace(std::move(first));
      context.upstream_host = context.arena.copy(pool->host().facts.name);
    } else {
      auto one = co_await ask(pool, request, context, attempts_before);
      answer.emplace(std::move(one));
    }
    const bool sent = *answer || answer->error().retry() != Retry::yes;
    // A connect that failed was no work for anybody, so going on to another host costs nothing of the budget.
    const bool again = attempt < config_.retry.attempts && may_repeat(request, *answer) &&
                       Loop::current().now() < context.deadline && (!sent || may_retry());
    body_read = request.body && sent;
    if (again) continue;
    if (context.explain) [[unlikely]]
      tell_no_retry(*context.explain, attempt, request, *answer, context.deadline);
    if (*answer && config_.sticky) stick(request, *pool, **answer, context.arena);
    co_return *std::move(answer);
  }
}

// Full jitter (Brooker, "Exponential Backoff And Jitter", 2015), and at least what the host asked for.
Duration Cluster::pause_before(uint32_t attempt, const Result<http::Response>& answer) const {
  const config::DurationRange& range = config_.retry.backoff;
  const Duration most = std::min(range.high, range.low * (int64_t{1} << std::min<uint32_t>(attempt - 2, 10)));
  const auto drawn = std::chrono::duration_cast<Duration>(most * Loop::current().rng().unit());
  return std::max(drawn, retry_after(answer));
}

// --- clients that stay with their host ---

std::shared_ptr<Pool> Cluster::pick_sticky(const http::Request& request) {
  if (!config_.sticky) return nullptr;
  refresh();
  const auto token = cookie_of(request, config_.sticky->cookie);
  if (!token) return nullptr;
  const auto found = host_of_token_.find(*token);
  if (found == host_of_token_.end()) return nullptr;
  const std::shared_ptr<Pool>& pool = pools_[found->second];
  return pool->host().up(Loop::current().now()) && !pool->full() ? pool : nullptr;
}

void Cluster::stick(const http::Request& request, const Pool& pool, http::Response& response, Arena& arena) const {
  const HostId id = pool.id();
  if (id >= pools_.size() || pools_[id].get() != &pool) return;  // it is no member any more
  if (cookie_of(request, config_.sticky->cookie) == tokens_[id]) return;
  response.fields.add(http::FieldId::set_cookie, sticky_cookie(*config_.sticky, tokens_[id], arena));
}

// --- two hosts at once ---

// Tries of one request that run beside each other: the first good answer ends the race, and the others are cancelled.
struct Cluster::Race {
  TaskGroup tries;
  Event over;
  size_t running = 0;
  std::shared_ptr<Pool> winner;
  std::optional<Result<http::Response>> answer;

  static Task<> run(Race& race, std::shared_ptr<Pool> pool, Task<Result<http::Response>> attempt) {
    Result<http::Response> answer = co_await attempt;
    --race.running;
    const bool good = answer && !retry_reason(answer->status);
    if (race.over.is_set() || (!good && race.running > 0)) co_return;
    race.winner = std::move(pool);
    race.answer.emplace(std::move(answer));
    race.over.set();
  }
  void start(std::shared_ptr<Pool> pool, Task<Result<http::Response>> attempt) {
    ++running;
    tries.spawn(run(*this, std::move(pool), std::move(attempt)));
  }
};

bool Cluster::may_hedge(const http::Request& request) const noexcept {
  return config_.retry.hedge_after > Duration::zero() && http::is_safe(request.method) && !request.body &&
         !request.upgrade;  // a switch is not taken back
}

// `pool`: who is asked first; afterwards who answered (Dean and Barroso, "The Tail at Scale", 2013).
Task<Result<http::Response>> Cluster::ask_two(std::shared_ptr<Pool>& pool, const Wish& wish, Tried& tried,
                                              http::Request& request, http::RequestContext& context,
                                              uint32_t attempts_before) {
  Race race;
  const Time began = Loop::current().now();
  race.start(pool, ask(pool, request, context, attempts_before));
  const bool quick = co_await race.over.wait(after(began, config_.retry.hedge_after));
  if (!quick) {
    std::shared_ptr<Pool> second = pick(wish, tried, true);
    const Time second_began = Loop::current().now();
    if (second && may_retry()) {
      if (context.explain) [[unlikely]]
        tell_pick(*context.explain, second.get(), wish, tried.in(*this), "a second one, for the first is slow");
      tried.add(*this, *second);
      race.start(second, ask(second, request, context, attempts_before));
    }
    co_await race.over.wait(kNever);
    if (race.running > 0) {  // the other one is given up
      const std::shared_ptr<Pool>& other = race.winner == pool ? second : pool;
      const Time now = Loop::current().exact_now();
      if (context.explain) [[unlikely]]
        context.explain->add("try", other->host().facts.name + ": given up, as the other one has answered");
      // Nobody would hear of a host that hangs, as every request at it goes well by another.
      if (other == pool && now - second_began < config_.retry.hedge_after)
        other->count_failure(Outcome::outrun, now - began, now);
    }
  }
  pool = std::move(race.winner);
  co_return *std::move(race.answer);
}

// One host: on a pooled connection, and on a fresh one when that turns out to be dead.
Task<Result<http::Response>> Cluster::ask(std::shared_ptr<Pool> pool, http::Request& request,
                                          http::RequestContext& context, uint32_t attempts_before) {
  const Time began = Loop::current().now();
  for (bool fresh = false;; fresh = true) {
    const bool retried = context.attempts++ > attempts_before;
    auto answer = co_await try_once(pool, request, context, fresh);
    if (retried) (answer ? retries_won_ : retries_lost_).add();
    if (context.explain) [[unlikely]]
      tell_end(*context.explain, *pool, answer, Loop::current().exact_now() - began);
    if (answer) {
      const Time now = Loop::current().exact_now();
      pool->count(answer->status, now - began, now);
      co_return answer;
    }
    const Error& error = answer.error();
    const bool stale = error.retry() == Retry::if_reused && http::is_idempotent(request.method) && !fresh;
    if (stale) continue;
    if (error.side() != Side::self && error.side() != Side::client) {
      const Time now = Loop::current().exact_now();
      pool->count_failure(outcome_of(error), now - began, now);
    }
    co_return answer;
  }
}

Task<Result<std::unique_ptr<http::ClientConnection>>> Cluster::open(std::shared_ptr<Pool> pool, Deadline deadline) {
  struct Opening {
    Pool& pool;
    bool made = false;
    explicit Opening(Pool& p) : pool(p) { pool.opening(); }
    ~Opening() {
      if (!made) pool.failed_to_open();
    }
  } opening(*pool);
  const net::Address& address = pool->host().facts.address;
  const Deadline until = std::min(deadline, after(Loop::current().now(), config_.timeouts.connect));
  Result<Socket> socket = co_await connect_socket(address.storage, address.length, until);
  if (!socket) {
    Error cause = std::move(socket).error();
    const Code code = cause.code() == Code::deadline_exceeded ? Code::deadline_exceeded : Code::unavailable;
    // Out of descriptors or of memory is no fault of the host.
    const Side side = cause.code() == Code::resource_exhausted ? Side::self : Side::upstream;
    co_return fail(Error(code, "connect").because(std::move(cause)).from(side).retry(Retry::yes));
  }
  opening.made = true;
  co_return pool->adopt(*std::move(socket));
}

Task<Result<http::Response>> Cluster::try_once(std::shared_ptr<Pool> pool, http::Request& request,
                                               http::RequestContext& context, bool fresh) {
  std::unique_ptr<http::ClientConnection> connection;
  if (!fresh) connection = pool->take();
  if (context.explain) [[unlikely]]
    context.explain->add("connection", connection ? "one that was kept" : "a new one");
  if (!connection) {
    auto opened = co_await open(pool, context.deadline);
    if (!opened) co_return fail(std::move(opened).error());
    connection = *std::move(opened);
  }
  http::RequestHeadOptions head;
  head.host = request.authority.empty() ? std::string_view(pool->host().facts.authority) : request.authority;
  if (request.body) {
    const auto length = request.body->length();
    head.body = length ? http::BodyKind::length : http::BodyKind::chunked;
    head.length = length.value_or(0);
  } else if (request.method == http::Method::post || request.method == http::Method::put ||
             request.method == http::Method::patch) {
    head.body = http::BodyKind::length;
  }
  const http::ClientTimeouts timeouts{
      .first_byte = config_.timeouts.first_byte, .idle = config_.timeouts.idle, .upgraded = config_.timeouts.upgraded};
  auto answer = co_await http::exchange(std::move(connection), request, context, head, timeouts);
  co_return answer;
}

// --- one certain host ---

std::shared_ptr<Host> Cluster::host_of_key(uint64_t key, std::span<const Host* const> passed_over) {
  refresh();
  const auto is_out = [&](const std::shared_ptr<Pool>& pool) {
    return std::ranges::find(passed_over, &pool->host()) != passed_over.end();
  };
  std::vector<HostId> tried;
  if (!passed_over.empty()) {
    for (const std::shared_ptr<Pool>& pool : pools_) {
      if (is_out(pool)) tried.push_back(pool->id());
    }
  }
  const auto id = pick_id({.key = key}, tried);
  return id && !is_out(pools_[*id]) ? pools_[*id]->shared_host() : nullptr;
}

std::shared_ptr<const HostList> Cluster::hosts() {
  refresh();
  return list_;
}

Task<Result<http::Response>> Cluster::send_to(std::shared_ptr<Host> host, http::Request& request,
                                              http::RequestContext& context) {
  refresh();
  const auto at = std::ranges::find_if(pools_, [&](const auto& pool) { return &pool->host() == host.get(); });
  if (at == pools_.end()) co_return fail(Error(Code::unavailable, "the host is no member any more").from(Side::self));
  const std::shared_ptr<Pool> pool = *at;
  if (pool->full()) co_return fail(Error(Code::unavailable, "all connections are in use").from(Side::self));
  const HeadDeadline limited(context, config_.timeouts.total, request.body != nullptr);
  co_return co_await ask(pool, request, context, context.attempts);
}

// --- plain connections ---

Task<Result<Cluster::Link>> Cluster::connect(std::string_view client_address, Deadline deadline) {
  const Wish wish = wish_of(client_address);
  Breaker::Pass pass;
  if (breaker_) {
    pass = breaker_->try_pass(Loop::current().index(), Loop::current().now());
    if (!pass) co_return fail(Error(Code::unavailable, "the upstream's breaker is open").from(Side::self));
  }
  Tried tried;
  std::optional<Error> last;
  for (uint32_t attempt = 1; attempt <= std::max(config_.retry.attempts, 1U); ++attempt) {
    std::shared_ptr<Pool> pool = pick(wish, tried);
    if (!pool) break;
    tried.add(*this, *pool);
    const Time began = Loop::current().now();
    pool->make_room();  // what is idle is of requests
    auto opened = co_await open(pool, deadline);
    const Time now = Loop::current().now();
    if (opened) {
      pass.report(false, now);
      pool->count_connected(now);
      co_return Link(std::move(pool), *std::move(opened));
    }
    last = std::move(opened).error();
    if (last->side() == Side::upstream) pool->count_failure(Outcome::connect, now - began, now);
    if (now >= deadline) break;  // what is left had no chance, and no blame
  }
  if (last) {
    if (last->side() == Side::upstream) pass.report(true, Loop::current().now());
    co_return fail(*std::move(last));
  }
  co_return fail(Error(Code::unavailable, "the upstream has no host to ask").from(Side::self));
}

}  // namespace trellis::upstream
