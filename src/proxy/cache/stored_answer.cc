#include "proxy/cache/stored_answer.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "cache/edge/purge_rule.h"
#include "cache/rules/conditions.h"
#include "cache/rules/partial.h"
#include "http/multipart.h"
#include "http/problem.h"
#include "runtime/frame_pool.h"
#include "runtime/loop.h"

namespace trellis::proxy {

namespace {

using cache::ObjectBody;
using cache::ObjectPart;
using cache::ObjectRef;
using http::FieldId;
using http::Method;

constexpr size_t kPiece = size_t{256} << 10;
constexpr uint64_t kToTheEnd = UINT64_MAX;

std::string_view decimal(uint64_t value, Arena& arena) {
  char text[20];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return arena.copy({text, static_cast<size_t>(end - text)});
}

// Keeps an object for as long as its bytes are on their way.
class Hold final : public ChunkOwner {
 public:
  explicit Hold(ObjectRef object) noexcept : object_(std::move(object)) {}
  static void* operator new(size_t size) { return frame_alloc(size); }
  static void operator delete(void* memory, size_t size) noexcept { frame_free(memory, size); }

 private:
  void release() noexcept override { delete this; }
  ObjectRef object_;
};

// The bytes from `position` to `end`, from the parts that have them, as they come.
class StoredBody final : public http::BodyReader {
 public:
  StoredBody(ObjectRef object, uint64_t position, uint64_t end) noexcept
      : object_(std::move(object)), position_(position), end_(end), length_(end - position) {
    // WHY at once: a body that may pass lets go what all its readers have had.
    if (end_ == kToTheEnd) begin_part();
  }

  Task<Result<Chunk>> read(Deadline deadline) override {
    if (position_ == end_) co_return Chunk();
    if (!reader_) begin_part();
    if (!reader_) co_return fail(Error(Code::data_loss, "a part of a stored answer is missing").from(Side::self));
    const size_t most = static_cast<size_t>(std::min<uint64_t>(end_ - position_, kPiece));
    Task<Result<Chunk>> reading = reader_->read(most, deadline);
    Result<Chunk> chunk = co_await reading;
    if (!chunk) co_return chunk;
    if (chunk->empty() && end_ != kToTheEnd)
      co_return fail(Error(Code::data_loss, "a stored answer is shorter than it said").from(Side::upstream));
    position_ += chunk->size();
    if (position_ == part_end_) reader_.reset();
    if (chunk->empty()) end_ = position_;
    co_return chunk;
  }
  std::optional<uint64_t> length() const noexcept override {
    if (end_ == kToTheEnd || length_ > kToTheEnd / 2) return std::nullopt;
    return length_;
  }

 private:
  void begin_part() {
    const ObjectPart* part = object_->part_at(position_);
    if (!part) return;
    const auto size = part->body->expected();
    part_end_ = size ? part->first + *size : kToTheEnd;
    reader_.emplace(part->body, position_ - part->first);
  }

  ObjectRef object_;
  uint64_t position_;
  uint64_t end_;
  const uint64_t length_;
  uint64_t part_end_ = kToTheEnd;
  std::optional<ObjectBody::Reader> reader_;
};

// Texts and ranges by turns.
class MultipartStored final : public http::BodyReader {
 public:
  MultipartStored(ObjectRef object, std::vector<http::ByteRange> ranges, http::MultipartText text)
      : object_(std::move(object)), ranges_(std::move(ranges)), text_(std::move(text)), length_(text_.length) {}

  Task<Result<Chunk>> read(Deadline deadline) override {
    while (true) {
      if (inner_) {
        Task<Result<Chunk>> reading = inner_->read(deadline);
        Result<Chunk> chunk = co_await reading;
        if (!chunk || !chunk->empty()) co_return chunk;
        inner_.reset();
      }
      if (next_ == ranges_.size()) co_return Chunk::from_string(std::exchange(text_.tail, {}));
      const http::ByteRange range = ranges_[next_];
      inner_.emplace(object_, range.first, range.last + 1);
      co_return Chunk::from_string(std::move(text_.heads[next_++]));
    }
  }
  std::optional<uint64_t> length() const noexcept override { return length_; }

 private:
  ObjectRef object_;
  std::vector<http::ByteRange> ranges_;
  http::MultipartText text_;
  uint64_t length_;
  size_t next_ = 0;
  std::optional<StoredBody> inner_;
};

constexpr uint64_t kMostForm = uint64_t{8} << 20;  // of a body whose other codings are kept

class ObjectForms final : public http::StoredForms {
 public:
  ObjectForms(ObjectRef object, std::shared_ptr<cache::EdgeCache> cache) noexcept
      : object_(std::move(object)), cache_(std::move(cache)) {}
  ~ObjectForms() override {
    if (!making_.empty()) body().end_form(making_, nullptr);
  }
  std::optional<http::Body> find(std::string_view coding) override {
    const std::shared_ptr<ObjectBody> form = body().form(coding);
    if (!form) return std::nullopt;
    const std::string_view bytes = form->at(0);
    if (bytes.size() == form->size()) return http::Body(Chunk(new FormHold(form), bytes.data(), bytes.size()));
    return http::Body(std::make_unique<FormBody>(form));
  }
  bool begin(std::string_view coding) override {
    if (!making_.empty() || !body().begin_form(coding)) return false;
    making_ = coding;
    return true;
  }
  void keep(std::string bytes) override {
    const std::shared_ptr<ObjectBody> form = cache_->make_body(bytes.size());
    form->append(bytes);
    form->finish();
    body().end_form(std::exchange(making_, {}), form);
    cache_->grew(object_);
  }

 private:
  class FormHold final : public ChunkOwner {
   public:
    explicit FormHold(std::shared_ptr<ObjectBody> body) noexcept : body_(std::move(body)) {}

   private:
    void release() noexcept override { delete this; }
    std::shared_ptr<ObjectBody> body_;
  };
  class FormBody final : public http::BodyReader {
   public:
    explicit FormBody(std::shared_ptr<ObjectBody> body) : length_(body->size()), reader_(std::move(body), 0) {}
    Task<Result<Chunk>> read(Deadline deadline) override { return reader_.read(kPiece, deadline); }
    std::optional<uint64_t> length() const noexcept override { return length_; }

   private:
    uint64_t length_;
    ObjectBody::Reader reader_;
  };
  ObjectBody& body() const noexcept { return *object_->parts()[0].body; }

  ObjectRef object_;
  std::shared_ptr<cache::EdgeCache> cache_;
  std::string making_;
};

http::Body body_of(const ObjectRef& object, uint64_t from, uint64_t end) {
  if (from == end) return {};
  // Most answers lie in one piece that is all there.
  if (const ObjectPart* part = object->part_at(from); part && end != kToTheEnd && part->end() >= end) {
    if (part->body->state() == ObjectBody::State::whole && !part->body->passing()) {
      const std::string_view bytes = part->body->at(from - part->first);
      if (bytes.size() >= end - from)
        return http::Body(Chunk(new Hold(object), bytes.data(), static_cast<size_t>(end - from)));
    }
  }
  return http::Body(std::make_unique<StoredBody>(object, from, end));
}

}  // namespace

bool has_bytes_for(const cache::Object& object, const http::Request& request, int64_t now) {
  if (object.broken()) return false;
  if (object.whole()) return true;
  if (request.method == Method::head) return true;
  Arena arena;
  http::Fields fields(arena);
  object.head().fields.view_in(fields);
  if (cache::is_not_modified(request, object.head().status, fields, object.head().freshness.answered, now)) return true;
  const auto total = object.total();
  if (!total || !request.fields.has(FieldId::range)) return false;
  const http::RangePlan plan =
      cache::stored_ranges(request, object.head().status, fields, object.head().freshness.answered, now, *total);
  if (plan.kind == http::RangePlan::Kind::unsatisfiable) return true;
  if (plan.kind == http::RangePlan::Kind::whole) return false;
  return std::all_of(plan.ranges.begin(), plan.ranges.end(),
                     [&](const http::ByteRange& range) { return object.covers(range); });
}

http::Response stored_head(const ObjectRef& object, http::RequestContext& context, const StoredAnswerOptions& options) {
  Arena& arena = context.arena;
  http::Response response(arena, object->head().status);
  http::Fields& fields = response.fields;
  object->head().fields.add_to(fields);
  if (options.hide_cache_fields)
    fields.remove_if([](const http::Field& field) { return cache::is_cache_only_field(field); });
  if (options.age > 0 || options.tell_age)
    fields.add(FieldId::age, decimal(static_cast<uint64_t>(std::max<int64_t>(options.age, 0)), arena));
  return response;
}

http::Response stored_answer(const ObjectRef& object, const http::Request& request, http::RequestContext& context,
                             const StoredAnswerOptions& options) {
  Arena& arena = context.arena;
  const cache::ObjectHead& head = object->head();
  const bool conditional = request.fields.has(FieldId::if_none_match) || request.fields.has(FieldId::if_modified_since);
  const bool ranged = request.method == Method::get && request.fields.has(FieldId::range);
  http::Response response = stored_head(object, context, options);
  http::Fields& fields = response.fields;
  const int64_t now = unix_seconds(context.loop.wall());
  if (conditional && cache::is_not_modified(request, head.status, fields, head.freshness.answered, now)) {
    response.status = 304;
    const bool has_etag = fields.has(FieldId::etag);
    fields.remove_if([has_etag](const http::Field& field) { return !cache::is_field_of_304(field, has_etag); });
    return response;
  }
  const std::optional<uint64_t> total = object->total();
  if (request.method == Method::head) {
    if (total) fields.set(FieldId::content_length, decimal(*total, arena));
    return response;
  }
  if (ranged && total) {
    http::RangePlan plan = cache::stored_ranges(request, head.status, fields, head.freshness.answered, now, *total);
    if (plan.kind == http::RangePlan::Kind::unsatisfiable) {
      http::Response refusal = http::problem(arena, 416, "range_not_satisfiable", "The range lies behind the end.",
                                             false, context.request_id);
      refusal.fields.set(FieldId::content_range, arena.concat({"bytes */", decimal(*total, arena)}));
      context.failed_side = Side::client;
      context.outcome = "range_not_satisfiable";
      return refusal;
    }
    if (plan.kind == http::RangePlan::Kind::partial) {
      response.status = 206;
      if (plan.ranges.size() == 1) {
        const http::ByteRange only = plan.ranges[0];
        fields.set(FieldId::content_range, cache::content_range_text({only, *total}, arena));
        response.body = body_of(object, only.first, only.last + 1);
        return response;
      }
      const std::string boundary = http::multipart_boundary(context.loop.rng());
      http::MultipartText text =
          http::multipart_text(plan.ranges, fields.value(FieldId::content_type), boundary, *total);
      fields.set(FieldId::content_type, arena.concat({"multipart/byteranges; boundary=", boundary}));
      response.body = http::Body(std::make_unique<MultipartStored>(object, std::move(plan.ranges), std::move(text)));
      return response;
    }
  }
  response.body = body_of(object, 0, total.value_or(kToTheEnd));
  return response;
}

std::unique_ptr<http::StoredForms> stored_forms(const ObjectRef& object,
                                                const std::shared_ptr<cache::EdgeCache>& cache) {
  if (object->parts().size() != 1 || object->parts()[0].first != 0) return nullptr;
  const ObjectBody& body = *object->parts()[0].body;
  if (body.state() != ObjectBody::State::whole || body.size() > kMostForm) return nullptr;
  return std::make_unique<ObjectForms>(object, cache);
}

}  // namespace trellis::proxy
