#include "proxy/cache/fetch.h"

#include <algorithm>
#include <utility>

#include "base/hash.h"
#include "cache/rules/conditions.h"
#include "cache/rules/reuse.h"
#include "cache/rules/update.h"
#include "cache/rules/vary.h"
#include "http/put_back.h"
#include "proxy/cache/members.h"
#include "runtime/loop.h"

namespace trellis::proxy {

namespace {

using cache::ObjectBody;
using cache::ObjectHead;
using cache::ObjectPart;
using cache::ObjectRef;
using http::FieldId;

constexpr uint64_t kPassWindow = uint64_t{1} << 20;  // what may lie between a passing body's end and its slowest reader
constexpr Duration kUnshared = std::chrono::seconds(10);

// A body on its way to the one who asked, with the exchange it belongs to.
class PassedBody final : public http::BodyReader {
 public:
  PassedBody(std::unique_ptr<http::BodyReader> body, std::shared_ptr<void> keeps) noexcept
      : keeps_(std::move(keeps)), body_(std::move(body)) {}
  Task<Result<Chunk>> read(Deadline deadline) override { return body_->read(deadline); }
  std::optional<uint64_t> length() const noexcept override { return body_->length(); }
  const http::Fields* trailers() const noexcept override { return body_->trailers(); }

 private:
  std::shared_ptr<void> keeps_;
  std::unique_ptr<http::BodyReader> body_;
};

// Does one of the parts hold all of it?
bool is_within(const ObjectPart& part, const std::vector<ObjectPart>& parts) noexcept {
  return std::any_of(parts.begin(), parts.end(),
                     [&part](const ObjectPart& each) { return each.first <= part.first && each.end() >= part.end(); });
}

}  // namespace

Fetch::Fetch(CacheRoute& its_route, const http::Request& from, const http::RequestContext& its, Next rest,
             std::string key)
    : http::Detached(from, its),
      keeps_(its.owner ? its.owner->hold() : nullptr),
      route_(its_route),
      next_(rest),
      key_(std::move(key)),
      own_explain_(its.loop, its.started) {
  request.interim = this;
  // What the key leaves out must not change the answer.
  request.query = route_.key.keyed_query(request.query, arena);
  // What this cache heeds of Surrogate-Control, and by which name. What a client says of itself must not change an
  // answer that others get.
  request.fields.set("Surrogate-Capability", cache::kSurrogateCapability);
  request.takes_trailers = from.takes_trailers;
  // Others may wait for it who came later: it has as long as the request it was made from had at first.
  if (its.deadline != kNever) context.deadline = after(its.loop.now(), its.deadline - its.started);
  context.owner = its.owner;
  take_numbers();
}

// Of purges and invalidations: those that come from now on are newer than what this fetch brings.
void Fetch::take_numbers() {
  filled_ = leader ? leader->filled() : route_.cache->book().newest();
  stamp_ = leader ? leader->stamp() : route_.cache->stamp(key_);
}

void Fetch::send_interim(http::Response& response) noexcept {
  if (sink) sink->send_interim(response);
}

void Fetch::start(std::shared_ptr<Fetch> fetch) {
  if (fetch->explained) fetch->context.explain = &fetch->own_explain_;
  const bool runs = fetch->route_.background.spawn(run(fetch));
  if (!runs) fetch->fail_with(Error(Code::unavailable, "the node is stopping").from(Side::self));
}

Task<> Fetch::run(std::shared_ptr<Fetch> fetch) {
  // Whatever ends this task, nobody is left waiting.
  struct Ending {
    Fetch& fetch;
    ~Ending() {
      if (fetch.end == End::running) fetch.fail_with(Error(Code::unavailable, "the node is stopping").from(Side::self));
    }
  } ending{*fetch};
  Task<> asking = fetch->ask();
  co_await asking;
}

Task<> Fetch::ask() {
  if (leader) take_numbers();
  for (int tries = 0;; ++tries) {
    asked_ = context.loop.now();
    asked_wall_ = context.loop.wall();
    Task<Result<http::Response>> asking = ask_next();
    Result<http::Response> response = co_await asking;
    if (!response) {
      if (!serve_stale()) fail_with(std::move(response).error());
      co_return;
    }
    status = response->status;
    cache::ensure_date(response->fields, context.loop.wall());
    if (status == 304 && validates) {
      if (confirm(*response)) co_return;
      // It speaks of another answer than the one that is stored.
      if (tries == 0) {
        ask_for_all();
        continue;
      }
    }
    if (route_.is_failure(status) && serve_stale()) co_return;
    std::unique_ptr<http::BodyReader> body = judge(*std::move(response));
    if (std::exchange(again_, false)) {
      ask_for_all();
      continue;
    }
    if (body) {
      Task<> pumping = pump(std::move(body));
      co_await pumping;
    }
    co_return;
  }
}

void Fetch::ask_for_all() {
  cache::remove_conditions(request.fields, true);
  validates = completes = fills_gap = false;
  stored = ObjectRef();
  part.reset();
}

// The object's owner first, where it is another node; what only one client may have is no matter of its.
Task<Result<http::Response>> Fetch::ask_next() {
  stale_at_owner = false;
  if (route_.members && leader) {
    Task<std::optional<Members::Owned>> asking = route_.members->fetch(hash64(key_), request, context);
    std::optional<Members::Owned> owned = co_await asking;
    if (owned) {
      stale_at_owner = owned->stale;
      co_return std::move(owned->response);
    }
  }
  Task<Result<http::Response>> asking = next_(request, context);
  co_return co_await asking;
}

// --- what came ---

std::unique_ptr<http::BodyReader> Fetch::judge(http::Response response) {
  // What never changes may still be for those only who have credentials (RFC 9111 §3.5): then the origin has to say.
  if (response.status == 200 && route_.never_changes(request.path, response.fields) &&
      !request.fields.has(FieldId::authorization) && !cache::is_kept_from_caches(response.fields))
    cache::set_cache_control(response.fields, "public, max-age=31536000, immutable");
  const cache::ResponseDirectives directives = cache::response_directives(response.fields);
  cache::StoreVerdict verdict = cache::may_store(request, response, route_.policy, asked_wall_, context.loop.wall());
  shorten(verdict.freshness);
  reason = verdict.reason;
  const auto no = [&](std::string_view why) {
    verdict.store = false;
    reason = why;
  };
  const bool ranged = request.fields.has(FieldId::range);
  if (verdict.store && cache::varies_on_everything(response.fields.joined(FieldId::vary))) no("vary-star");
  if (response.status == 206) {
    part = cache::storable_part(response);
    if (verdict.store && (!ranged || !part || !is_what_was_asked_for(*part))) no("part");
    if (verdict.store && fills_gap && !joins(stored, response.fields)) no("part");
  } else if (response.status == 416 || (response.status == 304)) {
    no(response.status == 416 ? "range" : "not-modified");
  }
  if (verdict.store && response.body.kind() == http::Body::Kind::file) no("local-file");
  if (verdict.store && context.failed_side == Side::self) no("own-refusal");
  const std::optional<uint64_t> bytes = part ? std::optional<uint64_t>(part->range.size()) : response.body.length();
  if (verdict.store && !route_.cache->has_room(bytes))
    no(bytes.value_or(0) > route_.cache->max_object() ? "too-large" : "no-room");
  if (verdict.store && !route_.cache->unchanged(key_, stamp_)) no("invalidated");
  // Nobody asked for a range.
  again_ = !verdict.store && fills_gap && (response.status == 206 || response.status == 416);
  if (again_) return nullptr;
  if (!verdict.store) {
    // What was stored under the key is no longer what the origin says to all; who asks too often is told nothing of it.
    if (stored && !completes && response.status < 500 && response.status != 429 &&
        !route_.is_failure(response.status) && !cache::is_of_request(reason) && reason != "invalidated")
      route_.cache->remove(stored->key());
    pass(std::move(response), reason);
    return nullptr;
  }
  return keep(response, verdict, directives);
}

// An origin may answer a range with another one; the one who asked gets it as it is.
bool Fetch::is_what_was_asked_for(const cache::ContentRange& got) const {
  const http::RangePlan plan = http::plan_ranges(request.fields.value(FieldId::range), got.size.value_or(0));
  return plan.kind == http::RangePlan::Kind::partial && plan.ranges.size() == 1 &&
         plan.ranges[0].first >= got.range.first && plan.ranges[0].last <= got.range.last;
}

// Parts of the same representation are put together. Precondition: `fields` are a 206's, and `part` is its range.
bool Fetch::joins(const ObjectRef& have, const http::Fields& fields) const {
  if (!have || have->kind() != cache::Object::Kind::answer || have->head().status != 200) return false;
  if (have->total() != part->size) return false;
  Arena memory;
  http::Fields old(memory);
  have->head().fields.view_in(old);
  return cache::may_combine(old, fields, unix_seconds(context.loop.wall()));
}

// What is to be stored of a part that has come: with what came under its key meanwhile. Null: that is better.
ObjectRef Fetch::with_other_parts() const {
  const ObjectRef have = route_.cache->find(object->key(), context.loop.now());
  if (!have || have->kind() != cache::Object::Kind::answer || have->broken()) return object;
  Arena memory;
  http::Fields fields(memory);
  object->head().fields.view_in(fields);
  if (!joins(have, fields)) return have->head().answered > object->head().answered ? ObjectRef() : object;
  if (have->whole()) return ObjectRef();
  std::vector<ObjectPart> parts = object->parts();
  const size_t mine = parts.size();
  for (const ObjectPart& one : have->parts()) {
    if (!is_within(one, parts) && one.body->state() == ObjectBody::State::whole && parts.size() < cache::Parts::kMax)
      parts.push_back(one);
  }
  if (parts.size() == mine) return object;
  ObjectHead head = object->head();
  head.filled = std::min(head.filled, have->head().filled);
  ObjectRef joined = route_.cache->make_object(std::string(object->key()), std::move(head), std::move(parts));
  // As much as both were compared with the purges.
  joined->checked.store(std::min(object->checked.load(), have->checked.load()), std::memory_order_relaxed);
  joined->expired.store(object->expired.load() || have->expired.load(), std::memory_order_relaxed);
  return joined;
}

bool Fetch::confirm(const http::Response& response) {
  Arena& memory = arena;
  http::Fields old(memory);
  stored->head().fields.view_in(old);
  if (!cache::confirms(old, response.fields)) return false;
  const std::vector<std::string> varied = cache::vary_names(old.joined(FieldId::vary));
  cache::freshen(old, response.fields);
  const cache::ResponseDirectives directives = cache::response_directives(old);
  http::Fields fields(memory);
  http::Response judged(memory, stored->head().status);
  for (const http::Field& field : old) {
    if (!cache::is_stored_field(field, directives, route_.policy)) continue;
    fields.add(field);
    judged.fields.add(field);
  }
  for (const http::Field& field : response.fields) {
    if (field.id != FieldId::age && !cache::is_stored_field(field, directives, route_.policy)) extra.add(field);
  }
  if (const auto age = response.fields.find(FieldId::age)) judged.fields.add(FieldId::age, *age);
  // What the origin says to this client now may be for this one only.
  cache::StoreVerdict verdict = cache::may_store(request, judged, route_.policy, asked_wall_, context.loop.wall());
  shorten(verdict.freshness);
  ObjectHead head;
  head.status = judged.status;
  head.freshness = verdict.freshness;
  head.answered = context.loop.now();
  head.took = head.answered - asked_;
  head.purge_url = stored->head().purge_url;
  head.tags = cache::tag_hashes(fields);
  head.filled = filled_;
  head.fields = cache::StoredFields(fields);
  head.total = stored->head().total;
  std::string key(stored->key());
  const bool is_part = !stored->whole();
  ObjectRef marker;
  // What varies by other fields now is no answer for those who differ in them (§4.1).
  if (verdict.store && cache::vary_names(fields.joined(FieldId::vary)) != varied) {
    key = is_part || undivided_key.empty() ? key_ : undivided_key;
    marker = place_variant(key, fields);
  }
  object = route_.cache->make_object(std::move(key), std::move(head), stored->parts());
  take_over_staleness();
  validated = true;
  reason = "validated";
  if (verdict.store) {
    if (object->growing()) {
      route_.background.spawn(route_.cache->insert_head_at_end(keeps_, object, stamp_));
    } else {
      route_.cache->insert_head(object, stamp_);
    }
    stored_now = true;
    if (leader) leader->give(object, marker);
  } else {
    reason = verdict.reason;
    if (!cache::is_of_request(reason)) route_.cache->remove(object->key());
    release(reason);
  }
  leader.reset();
  finish(End::object);
  return true;
}

// So that what came together does not end together. What never changes is asked for in vain whenever it is.
void Fetch::shorten(cache::Freshness& freshness) const noexcept {
  if (route_.jitter <= 0 || freshness.has(cache::Freshness::kImmutable)) return;
  const double most = static_cast<double>(freshness.lifetime) * route_.jitter;
  freshness.lifetime -= static_cast<int64_t>(most * context.loop.rng().unit());
}

// A soft purge that met it at its owner shows in no age; and this fetch's own number is newer than the purge.
void Fetch::take_over_staleness() {
  if (stale_at_owner && cache::came_fresh(object->head().freshness))
    object->expired.store(true, std::memory_order_relaxed);
}

// To those who wait: there is nothing for them in this.
void Fetch::release(std::string_view why) {
  if (!leader) return;
  if (cache::is_of_request(why)) {
    leader->own();
  } else {
    leader->unshared();
  }
}

bool Fetch::serve_stale() {
  if (!stored || stored->broken() || completes || !route_.cache->alive(*stored)) return false;
  if (!cache::may_serve_on_error(wanted, stored->head().freshness, stored->since_response(context.loop.now())))
    return false;
  object = stored;
  stale = true;
  reason = "stale-if-error";
  if (leader) leader->give(object, ObjectRef());
  leader.reset();
  finish(End::object);
  return true;
}

// Where an answer with these fields is stored: `key`, the URI's, goes on with what Vary names in the request. Gives the
// marker that stands under the URI; null where the answer does not vary.
ObjectRef Fetch::place_variant(std::string& key, const http::Fields& fields) {
  auto names = cache::vary_names(fields.joined(FieldId::vary));
  if (names.empty()) return ObjectRef();
  // The same fields as before keep their marker's number, and with it the other variants.
  ObjectRef old = route_.cache->find(key, context.loop.now());
  if (old && (old->kind() != cache::Object::Kind::variants || old->vary().names != names)) old = ObjectRef();
  cache::KnownLanguages known;
  if (old) known = old->vary().languages;
  known = cache::learn_language(std::move(known), names, request.fields, fields);
  ObjectRef marker;
  if (old && known == old->vary().languages) {
    marker = std::move(old);
  } else {
    const uint64_t id = old ? old->vary().id : context.loop.rng().next();
    marker = route_.cache->make_variants(key, {std::move(names), id, std::move(known)});
    route_.cache->insert(marker, stamp_);
  }
  append_variant_of(key, *marker, request.fields);
  return marker;
}

std::unique_ptr<http::BodyReader> Fetch::keep(http::Response& response, const cache::StoreVerdict& verdict,
                                              const cache::ResponseDirectives& directives) {
  ObjectHead head;
  head.status = part ? 200 : response.status;
  head.freshness = verdict.freshness;
  head.answered = context.loop.now();
  head.took = head.answered - asked_;
  cache::append_purge_url(head.purge_url, route_.key.purge_host(request.authority), request.path, request.query);
  head.tags = cache::tag_hashes(response.fields);
  head.filled = filled_;
  http::Fields fields(arena);
  for (const http::Field& field : response.fields) {
    // Of a part they tell about the part. On a whole answer Content-Range means nothing, and is kept like any other.
    if (field.id == FieldId::content_length || (part && field.id == FieldId::content_range)) continue;
    if (cache::is_stored_field(field, directives, route_.policy)) {
      fields.add(field);
    } else if (field.id != FieldId::age) {
      extra.add(field);
    }
  }
  const bool undivided = !part && !undivided_key.empty();
  std::string key = undivided ? undivided_key : key_;
  const ObjectRef marker = place_variant(key, response.fields);
  std::vector<ObjectPart> parts;
  const std::optional<uint64_t> length = response.body.length();
  const auto body = route_.cache->make_body(part ? std::optional<uint64_t>(part->range.size()) : length);
  parts.push_back({part ? part->range.first : 0, body});
  if (part) head.total = part->size;
  if (const ObjectRef have = part ? (stored ? stored : route_.cache->find(key, context.loop.now())) : ObjectRef();
      joins(have, response.fields)) {
    for (const ObjectPart& one : have->parts()) {
      // What came again is the newer one's, which matters most for slices: each is one part.
      if (one.body->state() == ObjectBody::State::whole && !is_within(one, parts) && parts.size() < cache::Parts::kMax)
        parts.push_back(one);
    }
    http::Fields old(arena);
    have->head().fields.view_in(old);
    cache::freshen(old, fields);
    fields = old;
  }
  head.fields = cache::StoredFields(fields);
  object = route_.cache->make_object(std::move(key), std::move(head), std::move(parts));
  take_over_staleness();
  stored_now = true;
  if (!body->expected()) place = std::make_shared<ObjectBody::Reader>(body, 0);
  if (leader) leader->give(object, marker, place, undivided);
  if (!awaited) place.reset();

  std::unique_ptr<http::BodyReader> rest;
  if (response.body.kind() == http::Body::Kind::stream) {
    rest = response.body.take_stream();
  } else {
    if (response.body.kind() == http::Body::Kind::bytes) body->append(response.body.bytes().view());
    body->finish();
    if (const ObjectRef all = part ? with_other_parts() : object) route_.cache->insert(all, stamp_);
    leader.reset();
  }
  finish(End::object);
  return rest;
}

Task<> Fetch::pump(std::unique_ptr<http::BodyReader> reading) {
  // The part that came now has the smallest number of bytes so far: it is the one that grows.
  std::shared_ptr<ObjectBody> body;
  for (const ObjectPart& one : object->parts()) {
    if (one.body->state() == ObjectBody::State::growing) body = one.body;
  }
  struct Ending {
    ObjectBody& body;
    ~Ending() { body.give_up(); }
  } ending{*body};
  while (true) {
    if (body->passing()) {
      const bool wanted_on = co_await body->wait_for_readers(kPassWindow, context.deadline);
      if (!wanted_on) co_return;
    }
    Task<Result<Chunk>> next = reading->read(context.deadline);
    Result<Chunk> piece = co_await next;
    if (!piece) co_return;
    if (piece->empty()) break;
    if (!body->append(piece->view())) co_return;
    if (!body->passing() && !body->expected() &&
        (body->size() > route_.cache->max_object() || !route_.cache->has_room(std::nullopt))) {
      leader.reset();  // nobody joins any more
      body->pass();
    }
  }
  body->finish();
  if (body->state() == ObjectBody::State::whole && !body->passing()) {
    if (const ObjectRef all = part ? with_other_parts() : object) route_.cache->insert(all, stamp_);
  }
  leader.reset();
}

// --- ends ---

void Fetch::pass(http::Response response, std::string_view why) {
  reason = why;
  if (leader) {
    release(why);
    // Those who come next need not wait for each other.
    if (response.status < 500 && response.status != 304 && !completes && !request.fields.has(FieldId::range) &&
        why != "no-room" && why != "invalidated" && !cache::is_of_request(why)) {
      const Time now = context.loop.now();
      const ObjectRef there = route_.cache->find(leader->key(), now);
      if (!there || there->kind() == cache::Object::Kind::unshared)
        route_.cache->insert_in_memory(route_.cache->make_unshared(leader->key(), after(now, kUnshared), why), stamp_);
    }
    leader.reset();
  }
  answer.emplace(std::move(response));
  finish(End::passed);
}

void Fetch::fail_with(Error why) {
  if (leader) leader->failed(why);
  leader.reset();
  error.emplace(std::move(why));
  finish(End::failed);
}

void Fetch::finish(End how) {
  end = how;
  if (explained) explained->append(own_explain_);
  explained = nullptr;
  context.explain = nullptr;
  done.set();
}

void Fetch::tell_way(http::RequestContext& to) const {
  to.upstream = to.arena.copy(context.upstream);
  to.upstream_host = to.arena.copy(context.upstream_host);
  to.attempts = context.attempts;
  to.way = to.arena.copy(context.way);
  to.reset = context.reset;
}

void Fetch::add_extra(http::Response& response) const {
  for (const http::Field& field : extra) response.fields.add_copy(field.name, field.value);
}

Cached what_came_of(const Fetch& fetch) noexcept {
  if (fetch.stale || fetch.stale_at_owner) return Cached::stale;
  return fetch.validated ? Cached::revalidated : Cached::miss;
}

std::unique_ptr<http::BodyReader> passed_body(const std::shared_ptr<Fetch>& fetch) {
  http::Body& body = fetch->answer->body;
  if (body.kind() == http::Body::Kind::stream) return std::make_unique<PassedBody>(body.take_stream(), fetch);
  if (body.kind() == http::Body::Kind::bytes) return std::make_unique<http::TextBody>(std::string(body.bytes().view()));
  return nullptr;
}

http::Response passed_answer(const std::shared_ptr<Fetch>& fetch, const http::Request& request,
                             http::RequestContext& context, CacheRoute& route, cache::Forwarded why) {
  http::Response& answer = *fetch->answer;
  http::Response response(context.arena, answer.status);
  response.version_minor = answer.version_minor;
  for (const http::Field& field : answer.fields) {
    if (route.hide_cache_fields && cache::is_cache_only_field(field)) continue;
    response.fields.add({context.arena.copy(field.name), context.arena.copy(field.value), field.id});
  }
  context.outcome = context.arena.copy(fetch->context.outcome);
  context.failed_side = fetch->context.failed_side;
  const int64_t now = unix_seconds(context.loop.wall());
  const bool has_validator = answer.fields.has(FieldId::etag) || answer.fields.has(FieldId::last_modified);
  std::optional<uint64_t> length = answer.body.length();
  if (has_validator && cache::is_not_modified(request, answer.status, answer.fields, now, now)) {
    response.status = 304;
    length = 0;
    const bool has_etag = answer.fields.has(FieldId::etag);
    response.fields.remove_if(
        [has_etag](const http::Field& field) { return !cache::is_field_of_304(field, has_etag); });
  } else if (answer.body.kind() == http::Body::Kind::stream) {
    response.body = http::Body(passed_body(fetch));
  } else {
    response.body = std::move(answer.body);
  }
  route.count(Cached::miss, length);
  route.tell(response, context, Cached::miss,
             {.forwarded = why, .forwarded_status = fetch->forwarded_status(), .detail = fetch->reason});
  return response;
}

}  // namespace trellis::proxy
