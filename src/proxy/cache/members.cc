#include "proxy/cache/members.h"

#include <algorithm>
#include <map>
#include <new>
#include <utility>

#include "base/hash.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/varint.h"
#include "cache/edge/purge_wire.h"
#include "http/explain.h"
#include "http/h1_writer.h"
#include "http/problem.h"
#include "proxy/cache/mac.h"
#include "proxy/cache/member_mark.h"
#include "proxy/forward.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "upstream/cluster.h"

namespace trellis::proxy {

using namespace std::chrono_literals;

namespace {

constexpr Duration kPatience = 1s;  // for a message
constexpr Duration kInterval = 1s;  // between two rounds of questions
constexpr Duration kLook = 250ms;   // whether the owner that is asked has fallen silent
constexpr int kRoundsOfDoubt = 5;   // after the start: then what cannot be asked is not waited for
constexpr std::string_view kRules = "rules";
constexpr std::string_view kMissing = "missing";
constexpr std::string_view kForget = "forget";
constexpr size_t kMaxForgotten = 16;  // keys of a message: a request has three at most
constexpr std::string_view kAccepted = "ok";
constexpr std::string_view kStale = "stale";
constexpr std::string_view kBehind = "behind";

Counter& event_counter(Metrics& metrics, const std::string& cache, std::string_view event) {
  return metrics.counter("trellis_cache_member_total",
                         "what passed between the members of a cluster of edges: purges told and not told, objects had "
                         "from their owner, not had, and refused because the owner lacked a purge",
                         {{"cache", cache}, {"event", std::string(event)}});
}

Error not_kept(const Error& why) {
  return Error(Code::internal, "the purge is in effect, but not kept over a restart")
      .because(why.clone())
      .from(Side::self);
}

}  // namespace

Members::Members(std::shared_ptr<const MembersOptions> options, std::shared_ptr<upstream::Cluster> cluster,
                 std::shared_ptr<cache::PurgeBook> book, Metrics& metrics)
    : options_(std::move(options)),
      number_(number_of(options_->node)),
      cluster_(std::move(cluster)),
      book_(std::move(book)),
      silence_(options_->silence ? options_->silence : std::make_shared<Silence>()),
      told_(event_counter(metrics, options_->cache, "told")),
      not_told_(event_counter(metrics, options_->cache, "not_told")),
      fetched_(event_counter(metrics, options_->cache, "fetched")),
      not_fetched_(event_counter(metrics, options_->cache, "not_fetched")),
      behind_(event_counter(metrics, options_->cache, "behind")) {}

Members::~Members() = default;

uint64_t Members::number_of(std::string_view node) noexcept { return hash64(node); }

bool Members::is_self(const upstream::Host& host) const {
  const std::string address = host.facts.address.to_string();
  return std::ranges::any_of(self_, [&](const std::string& self) {
    return self == host.facts.name || self == host.facts.authority || self == address;
  });
}

std::vector<std::shared_ptr<upstream::Host>> Members::others() {
  std::vector<std::shared_ptr<upstream::Host>> others;
  for (const std::shared_ptr<upstream::Host>& host : *cluster_->hosts()) {
    if (!is_self(*host)) others.push_back(host);
  }
  return others;
}

// --- messages ---

// The text of a good answer. A member whose checks fail is asked all the same: it may hear what it can do nothing with
// just now.
Task<Result<std::string>> Members::send(std::shared_ptr<upstream::Host> host, std::string_view what, std::string body,
                                        Deadline deadline) {
  Loop& loop = Loop::current();
  Arena arena;
  http::Request request(arena);
  http::RequestContext context{.arena = arena, .loop = loop, .started = loop.now(), .deadline = deadline};
  request.method = http::Method::put;  // it may be repeated, so it goes over a connection that was kept
  request.method_text = http::to_string(request.method);
  request.scheme = "http";
  request.authority = host->facts.authority;
  request.path = arena.concat({kPath, options_->cache, "/", what});
  request.target = request.path;
  const std::string mark =
      make_member_mark(options_->key, MemberPurpose::message, request, number_, digest(body), loop.wall());
  request.fields.add(kMemberField, mark);
  request.body = std::make_unique<http::TextBody>(std::move(body));
  CO_TRY(http::Response answer, co_await cluster_->send_to(host, request, context));
  std::string text;
  if (answer.body.kind() == http::Body::Kind::bytes) text = answer.body.bytes().view();
  if (answer.body.kind() == http::Body::Kind::stream) {
    const std::unique_ptr<http::BodyReader> stream = answer.body.take_stream();
    CO_TRY(text, co_await http::read_all(stream.get(), cache::kMaxPurgeMessage, deadline));
  }
  if (answer.status >= 200 && answer.status < 300) co_return text;
  if (answer.status == 404) {
    co_return fail(Code::failed_precondition, "it has no cache of this name with the same key, or its clock is off");
  }
  co_return fail(Code::unavailable, "it answered " + std::to_string(answer.status));
}

Task<> Members::tell_one(Members& self, std::shared_ptr<upstream::Host> host, std::string body, Deadline deadline,
                         MemberAck& ack) {
  const Result<std::string> answer = co_await self.send(std::move(host), kRules, std::move(body), deadline);
  ack.error = answer ? "" : answer.error().to_string();
}

Task<std::vector<MemberAck>> Members::tell(cache::PurgeBatch batch) {
  const std::vector<std::shared_ptr<upstream::Host>> hosts = others();
  std::vector<MemberAck> acks(hosts.size());
  const std::string body = cache::encode_purge_batch(batch);
  const Deadline deadline = after(Loop::current().now(), kPatience);
  TaskGroup telling;  // cut at the deadline, wherever it waits
  for (size_t i = 0; i < hosts.size(); ++i) {
    acks[i] = {.member = hosts[i]->facts.name, .error = "no answer within a second"};
    telling.spawn(tell_one(*this, hosts[i], body, deadline, acks[i]));
  }
  co_await telling.join(deadline);
  telling.cancel_all();
  for (const MemberAck& ack : acks) {
    (ack.error.empty() ? told_ : not_told_).add();
    if (!ack.error.empty()) {
      static LogThrottle throttle(10s);
      log_every(throttle, LogLevel::warn,
                "a member of the cluster was not told of a purge; it hears of it when it can be reached",
                {{"cache", options_->cache}, {"member", ack.member}, {"error", ack.error}});
    }
  }
  co_return acks;
}

void Members::follow() { following_.spawn(follow_members(*this)); }

Task<> Members::follow_members(Members& self) {
  for (int round = 1;; ++round) {
    const std::vector<std::shared_ptr<upstream::Host>> hosts = self.others();
    // No vector<bool>: each task has a place of its own.
    std::vector<std::unique_ptr<bool>> answered;
    {
      const Deadline deadline = after(Loop::current().now(), kPatience);
      TaskGroup asking;
      for (const auto& host : hosts) {
        answered.push_back(std::make_unique<bool>(false));
        asking.spawn(ask_one(self, host, *answered.back()));
      }
      co_await asking.join(deadline);
      asking.cancel_all();
    }
    Silence::Hosts silent;
    for (size_t i = 0; i < hosts.size(); ++i) {
      if (!*answered[i]) silent.push_back(hosts[i].get());
    }
    const bool all = silent.empty();
    self.silence_->set(std::move(silent));
    if (all || round >= kRoundsOfDoubt) self.book_->trust();
    const double share = 0.9 + 0.2 * Loop::current().rng().unit();  // so that they do not go in step
    co_await sleep_for(std::chrono::duration_cast<Duration>(kInterval * share));
  }
}

Task<> Members::ask_one(Members& self, std::shared_ptr<upstream::Host> host, bool& answered) {
  const Result<bool> done = co_await self.ask_for_missing(std::move(host));
  answered = done.has_value();
}

// Beside the rounds: a gap was seen just now.
void Members::begin_asking() {
  if (!std::exchange(asking_, true)) background_.spawn(ask_soon(*this));
}
Task<> Members::ask_soon(Members& self) {
  co_await yield();
  TaskGroup asking;
  std::vector<std::unique_ptr<bool>> answered;
  for (const auto& host : self.others()) {
    answered.push_back(std::make_unique<bool>(false));
    asking.spawn(ask_one(self, host, *answered.back()));
  }
  co_await asking.join(after(Loop::current().now(), kPatience));
  asking.cancel_all();
  self.asking_ = false;
}

Task<Result<bool>> Members::ask_for_missing(std::shared_ptr<upstream::Host> host) {
  while (true) {
    const Deadline deadline = after(Loop::current().now(), kPatience);
    CO_TRY(const std::string answer,
           co_await send(host, kMissing, cache::encode_purge_marks(*book_->marks()), deadline));
    CO_TRY(cache::PurgeBatch batch, cache::decode_purge_batch(answer));
    const bool more = batch.more;
    if (batch.extents.empty()) co_return true;
    const size_t rules = batch.records.size();
    auto merge = [book = book_, batch = std::move(batch)]() -> Result<bool> {
      const cache::PurgeBook::Merged merged = book->merge(batch, true);
      if (!merged.kept) return fail(not_kept(merged.kept.error()));
      return true;
    };
    CO_TRY(const bool done, co_await blocking(std::move(merge)));
    log_info("purges that this node did not know yet came from another member",
             {{"cache", options_->cache}, {"member", host->facts.name}, {"rules", rules}});
    if (!more) co_return done;
  }
}

std::string_view Members::cache_of_path(std::string_view path) noexcept {
  if (!path.starts_with(kPath)) return {};
  path.remove_prefix(kPath.size());
  return path.substr(0, path.find('/'));
}

Task<Result<http::Response>> Members::answer(http::Request& request, http::RequestContext& context) {
  const auto not_found = [&] {
    context.outcome = "not_found";
    context.failed_side = Side::client;
    return http::problem(context.arena, 404, "not_found", "Nothing is found at this address.", false,
                         context.request_id);
  };
  // The mark first: nobody else may send us a long body, or learn what is here.
  const auto mark = member_mark_of(request, options_->key, MemberPurpose::message, context.loop.wall());
  if (!mark || request.method != http::Method::put) co_return not_found();
  const std::string expected(mark->extra);
  const Deadline deadline = std::min(context.deadline, after(context.loop.now(), kPatience));
  CO_TRY(std::string body, co_await http::read_all(request.body.get(), cache::kMaxPurgeMessage, deadline));
  if (!constant_time_equal(digest(body), expected)) co_return not_found();
  if (mark->sender == number_) {
    static LogThrottle throttle(60s);  // it asks each second
    log_every(throttle, LogLevel::error, "two members of a cluster have the same name: purges do not pass between them",
              {{"cache", options_->cache}, {"node", options_->node}, {"from", context.client_address}});
    context.outcome = "same_name";
    context.failed_side = Side::client;
    co_return http::problem(context.arena, 409, "same_name", "Both nodes have the same name.", false,
                            context.request_id);
  }
  const std::string_view what = request.path.substr(request.path.rfind('/') + 1);
  if (what == kRules) co_return co_await take_rules(std::move(body), context);
  if (what == kForget) co_return co_await take_forgotten(body, context);
  if (what == kMissing) co_return co_await give_missing(std::move(body), context);
  co_return not_found();
}

Task<Result<http::Response>> Members::take_rules(std::string body, http::RequestContext& context) {
  CO_TRY(cache::PurgeBatch batch, cache::decode_purge_batch(body));
  auto merge = [book = book_, batch = std::move(batch)]() -> Result<cache::PurgeBook::Merged> {
    return book->merge(batch, false);
  };
  CO_TRY(const cache::PurgeBook::Merged merged, co_await blocking(std::move(merge)));
  if (merged.gap) begin_asking();
  if (!merged.kept) co_return fail(not_kept(merged.kept.error()));
  co_return http::Response(context.arena, 204);
}

Task<Result<http::Response>> Members::give_missing(std::string body, http::RequestContext& context) {
  CO_TRY(std::vector<cache::PurgeMark> marks, cache::decode_purge_marks(body));
  // WHY a pointer: with a string, GCC 12 sees an error freed that was never made.
  auto find = [book = book_, marks = std::move(marks)]() -> Result<std::unique_ptr<std::string>> {
    return std::make_unique<std::string>(cache::encode_purge_batch(book->missing(marks, cache::kMaxPurgeBatch)));
  };
  CO_TRY(const std::unique_ptr<std::string> batch, co_await blocking(std::move(find)));
  http::Response response(context.arena, 200);
  response.fields.add(http::FieldId::content_type, "application/octet-stream");
  response.body = http::Body(std::move(*batch));
  co_return response;
}

Task<> Members::tell_forgotten(Members& self, std::shared_ptr<upstream::Host> host, std::string body,
                               Deadline deadline) {
  // One that cannot be told cannot be asked either.
  const Result<std::string> told = co_await self.send(std::move(host), kForget, std::move(body), deadline);
  (void)told;
}

Task<> Members::forget(std::vector<std::string> keys) {
  std::map<std::shared_ptr<upstream::Host>, std::string> bodies;
  for (const std::string& key : keys) {
    std::shared_ptr<upstream::Host> owner = owner_of(hash64(key));
    if (!owner) continue;
    std::string& body = bodies[std::move(owner)];
    append_varint(body, key.size());
    body += key;
  }
  const Deadline deadline = after(Loop::current().now(), kPatience);
  TaskGroup telling;  // cut at the deadline, wherever it waits
  for (auto& [host, body] : bodies) telling.spawn(tell_forgotten(*this, host, std::move(body), deadline));
  co_await telling.join(deadline);
  telling.cancel_all();
}

Task<Result<http::Response>> Members::take_forgotten(const std::string& body, http::RequestContext& context) {
  ByteReader reader(body);
  for (size_t count = 0; !reader.at_end() && count < kMaxForgotten; ++count) {
    const std::string_view key = reader.bytes(reader.varint());
    if (reader.failed()) break;
    if (options_->forget) options_->forget(key);
  }
  if (reader.failed() || !reader.at_end())
    co_return fail(Error(Code::invalid_argument, "keys that are not whole, or too many").from(Side::client));
  co_return http::Response(context.arena, 204);
}

// --- objects ---

Members::Sender Members::sender_of(http::Request& request, const http::RequestContext& context) {
  const auto mark = member_mark_of(request, options_->key, MemberPurpose::fetch, context.loop.wall());
  const std::optional<Hop> hop = mark ? parse_hop_extra(mark->extra) : std::nullopt;
  request.fields.remove(kMemberField);
  if (!hop) return {};
  const std::string_view scheme = hop->scheme == "https" ? "https" : "http";
  if (book_->covers(hop->marks)) return {.kind = Sender::Kind::member, .scheme = scheme};
  begin_asking();
  return {.kind = Sender::Kind::ahead, .scheme = scheme};
}

http::Response Members::refuse_ahead(http::RequestContext& context) {
  context.outcome = "cache_behind";
  http::Response response =
      http::problem(context.arena, 503, "cache_behind", "This node does not know of a purge that you know.", true,
                    context.request_id);
  response.fields.add(kMemberField, kBehind);
  return response;
}

void Members::mark_answer(http::Response& response, bool stale) {
  response.fields.set(kMemberField, stale ? kStale : kAccepted);
}

std::shared_ptr<upstream::Host> Members::owner_of(uint64_t key) {
  std::shared_ptr<upstream::Host> owner = cluster_->host_of_key(key, *silence_->hosts());
  return owner && !is_self(*owner) ? owner : nullptr;
}

bool Members::owns_another(uint64_t key) { return owner_of(key) != nullptr; }

struct Members::Asked {
  std::optional<Result<http::Response>> answer;
  Event answered;
  TaskGroup asking;  // last: its task uses the others
};

Task<> Members::ask_owner(Members& self, std::shared_ptr<upstream::Host> owner, http::Request& request,
                          http::RequestContext& context, Asked& asked) {
  Result<http::Response> answer = co_await self.cluster_->send_to(std::move(owner), request, context);
  asked.answer.emplace(std::move(answer));
  asked.answered.set();
}

Task<std::optional<Members::Owned>> Members::fetch(uint64_t key, const http::Request& request,
                                                   http::RequestContext& context) {
  const std::shared_ptr<upstream::Host> owner = owner_of(key);
  if (!owner || book_->has_gap()) co_return std::nullopt;
  // In the arena: the answer's body may look at its request, and is read later. Nothing in it wants a destructor.
  http::Request& to_owner =
      *new (context.arena.alloc(sizeof(http::Request), alignof(http::Request))) http::Request(context.arena);
  to_owner.method = request.method;
  to_owner.version_minor = request.version_minor;
  to_owner.method_text = request.method_text;
  to_owner.target = request.target;
  to_owner.scheme = request.scheme;
  to_owner.authority = request.authority;
  to_owner.path = request.path;
  to_owner.query = request.query;
  to_owner.interim = request.interim;
  for (const http::Field& field : request.fields) to_owner.fields.add(field);
  const std::string mark = make_member_mark(options_->key, MemberPurpose::fetch, to_owner, number_,
                                            hop_extra(request.scheme, *book_->marks()), context.loop.wall());
  to_owner.fields.set(kMemberField, context.arena.copy(mark));
  prepare_for_upstream(to_owner, context, context.arena.concat({"1.1 ", options_->node}));
  // WHY beside this one: whoever waits when the owner falls silent goes on to the origin.
  Asked asked;
  asked.asking.spawn(ask_owner(*this, owner, to_owner, context, asked));
  while (!co_await asked.answered.wait(after(context.loop.now(), kLook))) {
    if (!silence_->has(*owner)) continue;
    asked.asking.cancel_all();
    if (context.explain) [[unlikely]]
      context.explain->add("owner", owner->facts.name + ": is silent");
    not_fetched_.add();
    co_return std::nullopt;
  }
  Result<http::Response> answer = *std::move(asked.answer);
  const std::string_view verdict = answer ? answer->fields.find(kMemberField).value_or("") : "";
  if (context.explain) [[unlikely]] {
    context.explain->add(
        "owner", owner->facts.name + (answer ? ": " + std::to_string(answer->status) + " " + std::string(verdict)
                                             : ": " + answer.error().to_string()));
  }
  if (verdict == kAccepted || verdict == kStale) {
    const bool stale = verdict == kStale;  // `verdict` lies in the field
    fetched_.add();
    answer->fields.remove(kMemberField);
    http::remove_hop_by_hop(answer->fields, false);
    co_return Owned{*std::move(answer), stale};
  }
  (verdict == kBehind ? behind_ : not_fetched_).add();
  co_return std::nullopt;
}

}  // namespace trellis::proxy
