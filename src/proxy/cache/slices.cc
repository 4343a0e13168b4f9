#include "proxy/cache/slices.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "cache/rules/conditions.h"
#include "cache/rules/partial.h"
#include "http/explain.h"
#include "proxy/cache/stored_answer.h"
#include "runtime/loop.h"

namespace trellis::proxy {

namespace {

using cache::FillLeader;
using cache::Forwarded;
using cache::Object;
using cache::ObjectBody;
using cache::ObjectPart;
using cache::ObjectRef;
using cache::Reuse;
using cache::Use;
using http::FieldId;

constexpr int kMostRounds = 8;
constexpr uint64_t kMostFirst = uint64_t{1} << 62;

// What tells two representations apart; "" where nothing does.
std::string_view validator_in(const http::Fields& fields) {
  const std::string_view etag = fields.value(FieldId::etag);
  return !etag.empty() && !etag.starts_with("W/") ? etag : fields.value(FieldId::last_modified);
}
std::string validator_of(const Object& object) {
  Arena arena;
  http::Fields fields(arena);
  object.head().fields.view_in(fields);
  return std::string(validator_in(fields));
}

// All of an answer. Of what its origin gives no ranges of, it stands in the place of the first slice.
bool is_undivided(const ObjectRef& object) {
  return object && object->kind() == Object::Kind::answer && !object->broken() && object->whole();
}

// Is it `base`, or that with a variant?
bool stands_at(std::string_view key, std::string_view base) noexcept {
  return key.starts_with(base) && (key.size() == base.size() || key[base.size()] == '\n');
}

// One run of bytes over as many slices as it touches.
class SlicedBody final : public http::BodyReader {
 public:
  SlicedBody(std::shared_ptr<Slices> slices, ObjectRef first, http::ByteRange range, uint64_t total)
      : slices_(std::move(slices)),
        validator_(validator_of(*first)),
        first_(first),
        object_(std::move(first)),
        position_(range.first),
        end_(range.last + 1),
        length_(range.size()),
        total_(total) {}

  Task<Result<Chunk>> read(Deadline deadline) override {
    if (position_ == end_) co_return Chunk();
    if (passing_) {
      Task<Result<Chunk>> passing = pass_on(deadline);
      Result<Chunk> chunk = co_await passing;
      co_return chunk;
    }
    if (!reader_) {
      const uint64_t number = position_ / slices_->size();
      if (!object_ || !object_->part_at(position_)) {
        Task<Result<Slices::Slice>> getting = slices_->get(number, deadline);
        Result<Slices::Slice> slice = co_await getting;
        if (slice && slice->object && !fits(*slice->object) && is_older(*slice->object, *first_)) {
          // Left from before the origin changed it.
          slices_->drop(slice->object);
          Task<Result<Slices::Slice>> anew = slices_->get(number, deadline);
          slice = co_await anew;
        }
        if (!slice) co_return std::unexpected<Error>(std::move(slice).error());
        if (!slice->object && begins_passing(slice->fetch)) {
          Task<Result<Chunk>> passing = pass_on(deadline);
          Result<Chunk> chunk = co_await passing;
          co_return chunk;
        }
        if (!slice->object || !fits(*slice->object)) {
          // The next request is to begin with what the origin has now.
          if (slice->object || slice->fetch->status < 500) slices_->drop(first_);
          co_return fail(Error(Code::data_loss, "the origin changed it in the middle").from(Side::upstream));
        }
        object_ = std::move(slice->object);
      }
      const ObjectPart* part = object_->part_at(position_);
      if (!part) co_return fail(Error(Code::data_loss, "a slice is shorter than it should be").from(Side::upstream));
      part_end_ = std::min(part->end(), end_);
      reader_.emplace(part->body, position_ - part->first);
      if ((number + 1) * slices_->size() < end_) slices_->begin(number + 1);
    }
    const auto most = static_cast<size_t>(std::min<uint64_t>(part_end_ - position_, kPiece));
    Task<Result<Chunk>> reading = reader_->read(most, deadline);
    Result<Chunk> chunk = co_await reading;
    if (!chunk) co_return chunk;
    if (chunk->empty()) co_return fail(Error(Code::data_loss, "a slice is shorter than it said").from(Side::upstream));
    position_ += chunk->size();
    if (position_ == part_end_) reader_.reset();
    co_return chunk;
  }
  std::optional<uint64_t> length() const noexcept override { return length_; }

 private:
  static constexpr uint64_t kPiece = 256 << 10;

  bool fits(const Object& slice) const { return slice.total() == total_ && validator_of(slice) == validator_; }
  static bool is_older(const Object& slice, const Object& than) noexcept {
    return slice.head().answered < than.head().answered;
  }

  // A slice that is not kept, as where the memory has no room now, goes to who asks as it comes.
  bool begins_passing(const std::shared_ptr<Fetch>& fetch) {
    const std::optional<cache::ContentRange>& part = fetch->part;
    if (!part || part->range.first != position_ || part->size != total_) return false;
    if (validator_in(fetch->answer->fields) != validator_) return false;
    passing_ = passed_body(fetch);
    part_end_ = std::min(part->range.last + 1, end_);
    return passing_ != nullptr;
  }
  Task<Result<Chunk>> pass_on(Deadline deadline) {
    Task<Result<Chunk>> reading = passing_->read(deadline);
    Result<Chunk> chunk = co_await reading;
    if (!chunk) co_return chunk;
    if (chunk->empty()) co_return fail(Error(Code::data_loss, "a slice is shorter than it said").from(Side::upstream));
    const uint64_t left = part_end_ - position_;
    if (chunk->size() > left) chunk = chunk->slice(0, static_cast<size_t>(left));
    position_ += chunk->size();
    if (position_ == part_end_) passing_.reset();
    co_return chunk;
  }

  std::shared_ptr<Slices> slices_;
  const std::string validator_;
  const ObjectRef first_;
  ObjectRef object_;
  uint64_t position_;
  const uint64_t end_;
  const uint64_t length_;
  const uint64_t total_;
  uint64_t part_end_ = 0;
  std::optional<ObjectBody::Reader> reader_;   // of a slice that is kept
  std::unique_ptr<http::BodyReader> passing_;  // or one that is not
};

}  // namespace

Slices::Slices(CacheRoute& route, const http::Request& from, const http::RequestContext& its, Next next,
               std::string uri_key, const cache::RequestDirectives& wanted)
    : route_(route),
      keeps_(its.owner ? its.owner->hold() : nullptr),
      from_(from, its),
      next_(next),
      uri_key_(std::move(uri_key)),
      wanted_(wanted) {
  from_.context.owner = its.owner;
  cache::remove_conditions(from_.request.fields, true);
}

std::string Slices::key_of(uint64_t number) const { return cache::slice_key(uri_key_, number); }

Found Slices::find(uint64_t number, std::string& key, std::string& first) const {
  const http::Request& request = from_.request;
  const Time now = from_.context.loop.now();
  key = key_of(number);
  Found found = find_stored(*route_.cache, key, request.fields, now);
  first.clear();
  if (found.object || number == 0) return found;
  first = key_of(0);
  const Found at_first = find_stored(*route_.cache, first, request.fields, now);
  if (is_undivided(at_first.object)) found.object = at_first.object;
  if (at_first.object) first.clear();  // the disk has nothing else
  return found;
}

ObjectRef Slices::coming_at(const std::string& first) const {
  return first.empty() ? ObjectRef() : route_.cache->coming(first);
}

std::shared_ptr<Fetch> Slices::prepare(uint64_t number, const std::string& uri_key, const ObjectRef& stored) {
  auto fetch = std::make_shared<Fetch>(route_, from_.request, from_.context, next_, uri_key);
  fetch->wanted = wanted_;
  if (number > 0) fetch->undivided_key = key_of(0);
  http::Fields& fields = fetch->request.fields;
  if (stored && !stored->broken()) {
    fetch->stored = stored;
    fetch->validates = stored->head().freshness.has_validator();
  }
  if (fetch->validates) {
    http::Fields old(fetch->arena);
    stored->head().fields.view_in(old);
    cache::set_validation(fields, old);
  }
  const uint64_t first = number * size();
  fields.set(FieldId::range,
             fetch->arena.copy("bytes=" + std::to_string(first) + "-" + std::to_string(first + size() - 1)));
  return fetch;
}

void Slices::drop(const ObjectRef& slice) { route_.cache->invalidate(slice->key()); }

void Slices::begin(uint64_t number) {
  std::string key;
  std::string first;
  const std::string uri_key = key_of(number);
  const Time now = from_.context.loop.now();
  const Found found = find(number, key, first);
  if (found.object &&
      (found.object->kind() != Object::Kind::answer || reuse_now(*found.object, {}, now).use == Use::fresh))
    return;
  // Is quickly there when it is its turn.
  if (!found.object && (route_.cache->may_be_on_disk(key) || is_undivided(coming_at(first)))) return;
  fetch_behind(number, uri_key, key, found.object);
}

void Slices::fetch_behind(uint64_t number, const std::string& uri_key, std::string_view key, const ObjectRef& stored) {
  cache::EdgeCache::Joined joined = route_.cache->join(key, route_.asks_member(uri_key));
  if (!joined.leads) return;
  const std::shared_ptr<Fetch> fetch = prepare(number, uri_key, stored);
  fetch->context.deadline = kNever;
  fetch->leader.emplace(route_.cache, std::move(joined.fill));
  Fetch::start(fetch);
}

Task<Result<Slices::Slice>> Slices::get(uint64_t number, Deadline deadline, Waiting waiting) {
  const std::shared_ptr<Slices> keeps = shared_from_this();
  Loop& loop = from_.context.loop;
  const Time came_at = loop.now();
  Slice out;
  bool alone = false;
  for (int round = 0;; ++round) {
    std::string key;
    std::string first;  // where the disk may have it undivided
    const std::string uri_key = key_of(number);
    const Found found = find(number, key, first);
    if (round == 0) route_.cache->looked(key, found.object);
    ObjectRef stored;
    if (found.object && found.object->kind() == Object::Kind::unshared && found.object->until() > loop.now())
      alone = true;
    if (found.object && found.object->kind() == Object::Kind::answer && !found.object->broken()) {
      stored = found.object;
      out.reuse = reuse_now(*stored, wanted_, loop.now());
      if (out.reuse.use != Use::validate && out.reuse.use != Use::refused) {
        out.what = out.reuse.use == Use::fresh ? Cached::hit : Cached::stale;
        if (out.reuse.use == Use::stale_while_revalidate) fetch_behind(number, uri_key, key, stored);
        out.object = stored;
        co_return out;
      }
    }
    out.forwarded = stored ? Forwarded::stale : found.varied ? Forwarded::vary_miss : Forwarded::uri_miss;
    const auto share = [&](const ObjectRef& object) {
      out.object = object;
      const Shared shared = shared_as(*out.object, stored);
      out.what = shared.what;
      if (!shared.detail.empty()) out.detail = shared.detail;
      out.collapsed = true;
      out.reuse = reuse_now(*out.object, wanted_, loop.now());
    };
    // Who began elsewhere may be getting all of it.
    if (const ObjectRef coming = alone ? ObjectRef() : coming_at(first);
        is_undivided(coming) && may_share(*coming, stored, wanted_, came_at, loop.now())) {
      share(coming);
      co_return out;
    }
    std::optional<FillLeader> leader;
    bool again = false;
    if (!alone && round < kMostRounds) {
      cache::EdgeCache::Joined joined = route_.cache->join(key, route_.asks_member(uri_key));
      if (!joined.leads && joined.fill->asks_member && !route_.members) {  // see CacheFilter::miss()
        alone = true;
        continue;
      }
      if (!joined.leads) {
        const bool came = co_await joined.fill->decided.wait(deadline);
        if (!came)
          co_return fail(Error(Code::deadline_exceeded, "waiting for another request's answer").from(Side::upstream));
        const cache::Fill& fill = *joined.fill;
        const auto end = fill.end.load(std::memory_order_acquire);
        if (end == cache::Fill::End::failed) co_return fail(fill.error->clone());
        if (end == cache::Fill::End::unshared ||
            (end == cache::Fill::End::own && from_.request.fields.has(FieldId::authorization)))
          alone = true;
        if (end != cache::Fill::End::object || !route_.cache->alive(*fill.object)) continue;
        const bool undivided = number > 0 && stands_at(fill.object->key(), key_of(0));
        if (undivided || fill.marker) key = undivided ? key_of(0) : uri_key;
        if (fill.marker) append_variant_of(key, *fill.marker, from_.request.fields);
        if (fill.object->key() != key || !may_share(*fill.object, stored, wanted_, came_at, loop.now())) {
          alone = fill.object->head().freshness.has(cache::Freshness::kNoCache);
          continue;
        }
        share(fill.object);
        co_return out;
      }
      leader.emplace(route_.cache, std::move(joined.fill));
      const std::array<const std::string*, 2> places = {&key, &first};
      for (const std::string* at : places) {
        if (stored || at->empty() || !route_.cache->may_be_on_disk(*at)) continue;
        Task<ObjectRef> loading = route_.cache->load(*at, deadline, route_.background, keeps_);
        const ObjectRef loaded = co_await loading;
        again = loaded && loaded->kind() == Object::Kind::variants;  // who waits looks again, too
        if (again) break;
        if (loaded && (at == &key || is_undivided(loaded))) {
          out.reuse = reuse_now(*loaded, wanted_, loop.now());
          if (out.reuse.use != Use::validate && out.reuse.use != Use::refused) {
            out.what = out.reuse.use == Use::fresh ? Cached::hit : Cached::stale;
            out.forwarded = Forwarded::no;
            out.object = loaded;
            leader->give(loaded, ObjectRef());
            if (out.reuse.use == Use::stale_while_revalidate) {
              leader.reset();
              fetch_behind(number, uri_key, key, loaded);
            } else if (loaded->growing()) {
              route_.background.spawn(FillLeader::end_with(keeps_, std::move(*leader), loaded));
            }
            co_return out;
          }
          stored = loaded;
          out.forwarded = Forwarded::stale;
        }
      }
      if (again) continue;
    }
    const std::shared_ptr<Fetch> fetch = prepare(number, uri_key, stored);
    fetch->context.deadline = deadline;
    if (leader) fetch->leader.emplace(std::move(*leader));
    leader.reset();
    const Lent lent(*fetch, waiting);
    Fetch::start(fetch);
    const bool came = co_await fetch->done.wait(deadline);
    if (!came) co_return fail(Error(Code::deadline_exceeded, "waiting for the origin").from(Side::upstream));
    if (fetch->end == Fetch::End::failed) co_return fail(fetch->error->clone());
    out.what = what_came_of(*fetch);
    out.fetch = fetch;
    if (fetch->end == Fetch::End::object) {
      out.object = fetch->object;
      out.reuse = reuse_now(*out.object, wanted_, loop.now());
    }
    co_return out;
  }
}

uint64_t first_of_range(std::string_view range) noexcept {
  constexpr std::string_view kBytes = "bytes=";
  if (!range.starts_with(kBytes)) return 0;
  uint64_t first = 0;
  std::from_chars(range.data() + kBytes.size(), range.data() + range.size(), first);
  return first <= kMostFirst ? first : 0;  // so that what is asked of the origin is a range
}

Task<Result<std::optional<http::Response>>> sliced_answer(CacheRoute& route, http::Request& request,
                                                          http::RequestContext& context, Next next, std::string uri_key,
                                                          cache::RequestDirectives wanted) {
  const auto slices = std::make_shared<Slices>(route, request, context, next, std::move(uri_key), wanted);
  const auto range = request.fields.find(FieldId::range);
  const uint64_t first = range ? first_of_range(*range) : 0;
  uint64_t number = first / route.slice;
  bool behind_end = false;
  Result<Slices::Slice> got = Slices::Slice{};
  for (int tries = 0; tries < 3; ++tries) {
    Task<Result<Slices::Slice>> getting = slices->get(number, context.deadline, {request.interim, context.explain});
    got = co_await getting;
    if (!got) co_return std::unexpected<Error>(std::move(got).error());
    if (got->object && behind_end && got->object->total() > first) {
      // It is from when there was more.
      slices->drop(got->object);
      continue;
    }
    // Behind the end there is no slice: the first one tells the size.
    if (got->object || !got->fetch || got->fetch->status != 416 || number == 0) break;
    number = 0;
    behind_end = true;
  }
  // Only a range says nothing about the whole. Every other answer is the one to give.
  const std::shared_ptr<Fetch>& fetch = got->fetch;
  if (!got->object && (!fetch || fetch->status == 206 || fetch->status == 416))
    co_return std::optional<http::Response>();
  if (fetch) fetch->tell_way(context);
  if (!got->object)
    co_return std::optional<http::Response>(passed_answer(fetch, request, context, route, got->forwarded));
  const ObjectRef& object = got->object;
  const auto total = object->total();
  if (context.explain) [[unlikely]] {
    context.explain->add("cache_key", std::string(object->key()));
    context.explain->add("cache", "in slices of " + std::to_string(route.slice) +
                                      " bytes; the first one: " + std::string(to_string(got->what)));
  }
  const cache::CacheStatus status{.forwarded = got->forwarded,
                                  .forwarded_status = fetch ? fetch->forwarded_status() : std::nullopt,
                                  .ttl = got->reuse.ttl,
                                  .stored = fetch && fetch->stored_now,
                                  .collapsed = got->collapsed,
                                  .detail = fetch && fetch->stale ? fetch->reason : got->detail};
  const int64_t now = unix_seconds(context.loop.wall());
  const StoredAnswerOptions options{.age = got->reuse.age,
                                    .tell_age = got->what == Cached::hit || got->what == Cached::stale,
                                    .hide_cache_fields = route.hide_cache_fields};
  // Not larger than one slice, no 200 at all, or all that is asked for lies in this one.
  if (object->whole() || !total || has_bytes_for(*object, request, now)) {
    http::Response response = stored_answer(object, request, context, options);
    if (fetch) fetch->add_extra(response);
    route.count(got->what, response.body.length());
    route.tell(response, context, got->what, status);
    co_return std::optional<http::Response>(std::move(response));
  }
  if (validator_of(*object).empty()) co_return std::optional<http::Response>();
  Arena arena;
  http::Fields fields(arena);
  object->head().fields.view_in(fields);
  const http::RangePlan plan =
      cache::stored_ranges(request, object->head().status, fields, object->head().freshness.answered, now, *total);
  // Several ranges over several slices are rare, and a client must be able to live with the whole.
  const bool one = plan.kind == http::RangePlan::Kind::partial && plan.ranges.size() == 1;
  const http::ByteRange wanted_range = one ? plan.ranges[0] : http::ByteRange{0, *total - 1};
  http::Response response = stored_head(object, context, options);
  if (fetch) fetch->add_extra(response);
  if (one) {
    response.status = 206;
    response.fields.set(FieldId::content_range, cache::content_range_text({wanted_range, *total}, context.arena));
  }
  response.body = http::Body(std::make_unique<SlicedBody>(slices, object, wanted_range, *total));
  route.count(got->what, wanted_range.size());
  route.tell(response, context, got->what, status);
  co_return std::optional<http::Response>(std::move(response));
}

}  // namespace trellis::proxy
