#include "cache/edge/object.h"

#include <algorithm>
#include <cstring>

#include "base/varint.h"

namespace trellis::cache {

namespace {

constexpr uint64_t kMetaVersion = 1;
constexpr size_t kMaxStoredFields = 1000;
constexpr size_t kMaxStoredText = 1 << 20;
constexpr size_t kMaxStoredTags = kMaxTags;

}  // namespace

// --- fields ---

StoredFields::StoredFields(const http::Fields& fields) {
  size_t size = 0;
  for (const http::Field& field : fields) size += field.name.size() + field.value.size();
  text_.reserve(size);
  places_.reserve(fields.size());
  for (const http::Field& field : fields) {
    const auto name = static_cast<uint32_t>(text_.size());
    text_ += field.name;
    const auto value = static_cast<uint32_t>(text_.size());
    text_ += field.value;
    places_.push_back({name, value, static_cast<uint32_t>(text_.size()), field.id});
  }
}

void StoredFields::add_to(http::Fields& to) const {
  const char* const text = to.arena().copy(text_).data();
  for (const Place& place : places_) {
    to.add({{text + place.name, place.value - place.name}, {text + place.value, place.end - place.value}, place.id});
  }
}

void StoredFields::view_in(http::Fields& to) const {
  const char* const text = text_.data();
  for (const Place& place : places_) {
    to.add({{text + place.name, place.value - place.name}, {text + place.value, place.end - place.value}, place.id});
  }
}

void StoredFields::encode(std::string& out) const {
  append_varint(out, places_.size());
  for (const Place& place : places_) {
    append_varint(out, place.value - place.name);
    append_varint(out, place.end - place.value);
  }
  append_varint(out, text_.size());
  out += text_;
}

std::optional<StoredFields> StoredFields::decode(ByteReader& in) {
  const uint64_t count = in.varint();
  if (count > kMaxStoredFields) return std::nullopt;
  StoredFields fields;
  uint64_t at = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t name = in.varint();
    const uint64_t value = in.varint();
    if (in.failed() || name > kMaxStoredText || value > kMaxStoredText || at + name + value > kMaxStoredText)
      return std::nullopt;
    fields.places_.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(at + name),
                              static_cast<uint32_t>(at + name + value), http::FieldId::unknown});
    at += name + value;
  }
  if (in.varint() != at) return std::nullopt;
  fields.text_ = in.bytes(at);
  if (in.failed()) return std::nullopt;
  for (Place& place : fields.places_)
    place.id = http::field_id({fields.text_.data() + place.name, place.value - place.name});
  return fields;
}

// --- head ---

std::string ObjectHead::encode() const {
  std::string out;
  append_varint(out, kMetaVersion);
  append_varint(out, static_cast<uint64_t>(status));
  append_varint(out, static_cast<uint64_t>(std::max<int64_t>(took.count(), 0)));
  append_varint(out, filled);
  append_varint(out, total ? *total + 1 : 0);
  out.append(reinterpret_cast<const char*>(&freshness), sizeof freshness);
  append_varint(out, purge_url.size());
  out += purge_url;
  append_varint(out, tags.size());
  for (const uint64_t tag : tags) out.append(reinterpret_cast<const char*>(&tag), sizeof tag);
  fields.encode(out);
  return out;
}

std::optional<ObjectHead> ObjectHead::decode(std::string_view meta, Time now, WallTime wall) {
  ByteReader in(meta);
  ObjectHead head;
  if (in.varint() != kMetaVersion) return std::nullopt;
  const uint64_t status = in.varint();
  const uint64_t took = in.varint();
  head.filled = in.varint();
  const uint64_t total = in.varint();
  if (status < 100 || status > 999 || took > static_cast<uint64_t>(Duration(std::chrono::seconds(kMaxSeconds)).count()))
    return std::nullopt;
  head.status = static_cast<int>(status);
  head.took = Duration(static_cast<int64_t>(took));
  if (total > 0) head.total = total - 1;
  const std::string_view freshness = in.bytes(sizeof head.freshness);
  if (in.failed()) return std::nullopt;
  std::memcpy(&head.freshness, freshness.data(), sizeof head.freshness);
  if (!head.freshness.valid()) return std::nullopt;
  head.purge_url = in.bytes(in.varint());
  const uint64_t tags = in.varint();
  if (tags > kMaxStoredTags) return std::nullopt;
  const std::string_view numbers = in.bytes(tags * sizeof(uint64_t));
  if (in.failed()) return std::nullopt;
  head.tags.resize(tags);
  if (tags > 0) std::memcpy(head.tags.data(), numbers.data(), numbers.size());
  auto fields = StoredFields::decode(in);
  if (!fields || !in.at_end()) return std::nullopt;
  head.fields = *std::move(fields);
  // A clock that was set back makes nothing younger than it was when it came.
  const int64_t ago = std::clamp<int64_t>(unix_seconds(wall) - head.freshness.answered, 0, kMaxSeconds);
  head.answered = now - std::chrono::seconds(ago);
  return head;
}

// --- variants ---

void Variants::encode(std::string& out) const {
  const auto put = [&out](const std::string& text) {
    append_varint(out, text.size());
    out += text;
  };
  append_varint(out, id);
  append_varint(out, names.size());
  for (const std::string& name : names) put(name);
  append_varint(out, languages.texts.size());
  for (const auto& [language, text] : languages.texts) {
    put(language);
    put(text);
  }
}

std::optional<Variants> Variants::decode(ByteReader& in) {
  const auto cut = [&in] { return std::string(in.bytes(in.varint())); };
  Variants out;
  out.id = in.varint();
  const uint64_t names = in.varint();
  if (names == 0 || names > kMaxVaryNames) return std::nullopt;
  for (uint64_t i = 0; i < names; ++i) out.names.push_back(cut());
  const uint64_t languages = in.varint();
  if (languages > KnownLanguages::kMax) return std::nullopt;
  for (uint64_t i = 0; i < languages; ++i) {
    std::string language = cut();
    out.languages.texts.emplace_back(std::move(language), cut());
  }
  if (in.failed()) return std::nullopt;
  return out;
}

// --- object ---

Object::Object(uint32_t space, std::string key, ObjectHead head, std::vector<ObjectPart> parts)
    : CacheEntry(space, std::move(key), false), checked(head.filled), head_(std::move(head)), parts_(std::move(parts)) {
  std::sort(parts_.begin(), parts_.end(), [](const ObjectPart& a, const ObjectPart& b) { return a.first < b.first; });
}

Object* Object::variants(uint32_t space, std::string key, Variants variants) {
  auto* object = new Object(space, std::move(key), Kind::variants);
  object->vary_ = std::move(variants);
  return object;
}

Object* Object::unshared(uint32_t space, std::string key, Time until, std::string_view why) {
  auto* object = new Object(space, std::move(key), Kind::unshared);
  object->until_ = until;
  object->why_ = why;
  return object;
}

std::optional<uint64_t> Object::total() const noexcept {
  if (head_.total) return head_.total;
  return parts_.size() == 1 && parts_[0].first == 0 ? parts_[0].body->expected() : std::nullopt;
}

bool Object::whole() const noexcept {
  const auto size = total();
  if (!size) return parts_.size() == 1 && parts_[0].first == 0;
  return *size == 0 || covers({0, *size - 1});
}

const ObjectPart* Object::part_at(uint64_t position) const noexcept {
  for (const ObjectPart& part : parts_) {
    if (part.first > position) break;
    const auto size = part.body->expected();
    if (!size || position < part.first + *size) return &part;
  }
  return nullptr;
}

bool Object::covers(http::ByteRange range) const noexcept {
  uint64_t at = range.first;
  while (at <= range.last) {
    const ObjectPart* part = part_at(at);
    if (!part) return false;
    const auto size = part->body->expected();
    if (!size) return true;
    at = part->first + *size;
  }
  return true;
}

bool Object::growing() const noexcept {
  return std::any_of(parts_.begin(), parts_.end(),
                     [](const ObjectPart& part) { return part.body->state() == ObjectBody::State::growing; });
}

bool Object::broken() const noexcept {
  return std::any_of(parts_.begin(), parts_.end(),
                     [](const ObjectPart& part) { return part.body->state() == ObjectBody::State::broken; });
}

size_t Object::memory() const noexcept {
  size_t bytes = sizeof *this + key().size() + head_.fields.memory() + head_.purge_url.capacity() +
                 head_.tags.capacity() * sizeof(uint64_t);
  for (const ObjectPart& part : parts_) bytes += sizeof(ObjectBody) + part.body->memory();
  for (const std::string& name : vary_.names) bytes += sizeof name + name.capacity();
  for (const auto& [language, text] : vary_.languages.texts)
    bytes += 2 * sizeof text + language.capacity() + text.capacity();
  return bytes;
}

}  // namespace trellis::cache
