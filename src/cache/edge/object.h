// One stored answer: its head, and its body or the parts of it that are there. Immutable but for the body's growth and
// what a purge marks; an answer that was validated is a new object over the same body. Shared by all cores, counted
// (ObjectRef); lives in the memory tier, in a fill, on its way to the disk, and wherever it is being sent.
//
// Two more kinds stand under keys: `variants` says by which request fields the answers of a URI differ (RFC 9111 §4.1),
// their own keys go on with those fields' values; `unshared` that the answers of a URI are not stored, so that nobody
// waits for another's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "base/varint.h"
#include "cache/edge/object_body.h"
#include "cache/edge/purge_index.h"
#include "cache/memory_cache.h"
#include "cache/rules/storing.h"
#include "cache/rules/vary.h"
#include "http/fields.h"
#include "http/ranges.h"

namespace trellis::cache {

// Fields in one piece of memory, made once and copied as a whole into the arena of each answer.
class StoredFields {
 public:
  StoredFields() = default;
  explicit StoredFields(const http::Fields& fields);

  // Appends them to `to`, whose arena gets a copy of the text.
  void add_to(http::Fields& to) const;
  // The same as views, valid as long as this; `to` only holds the list.
  void view_in(http::Fields& to) const;
  size_t memory() const noexcept { return text_.capacity() + places_.capacity() * sizeof(Place); }
  size_t size() const noexcept { return places_.size(); }

  void encode(std::string& out) const;
  static std::optional<StoredFields> decode(ByteReader& in);

 private:
  struct Place {
    uint32_t name = 0;
    uint32_t value = 0;
    uint32_t end = 0;
    http::FieldId id = http::FieldId::unknown;
  };
  std::string text_;
  std::vector<Place> places_;
};

struct ObjectHead {
  int status = 200;
  Freshness freshness;
  Time answered{};        // when the answer came, on this process' clock
  Duration took{};        // how long the origin needed for it
  std::string purge_url;  // append_purge_url()
  std::vector<uint64_t> tags;
  uint64_t filled = 0;  // PurgeBook::newest() when its fill began
  StoredFields fields;
  std::optional<uint64_t> total;  // bytes of the whole representation; nullopt: not known yet

  // What the disk keeps of it. `now` and `wall`: the same moment on both clocks.
  std::string encode() const;
  static std::optional<ObjectHead> decode(std::string_view meta, Time now, WallTime wall);
};

// By which request fields the answers of a URI differ, and what leads to them.
struct Variants {
  std::vector<std::string> names;  // vary_names()
  uint64_t id = 0;  // a random number, part of the keys of the variants: once the marker is gone, nothing leads to them
  KnownLanguages languages;

  void encode(std::string& out) const;
  static std::optional<Variants> decode(ByteReader& in);
};

// Bytes from `first` on.
struct ObjectPart {
  uint64_t first = 0;
  std::shared_ptr<ObjectBody> body;
  uint64_t end() const noexcept { return first + body->expected().value_or(body->size()); }
};

class Object final : public CacheEntry {
 public:
  enum class Kind : uint8_t { answer, variants, unshared };

  Object(uint32_t space, std::string key, ObjectHead head, std::vector<ObjectPart> parts);
  static Object* variants(uint32_t space, std::string key, Variants variants);
  // `why`: static text, the rules' reason.
  static Object* unshared(uint32_t space, std::string key, Time until, std::string_view why);

  Kind kind() const noexcept { return kind_; }
  const ObjectHead& head() const noexcept { return head_; }
  const std::vector<ObjectPart>& parts() const noexcept { return parts_; }
  const Variants& vary() const noexcept { return vary_; }  // of variants
  Time until() const noexcept { return until_; }           // of unshared
  std::string_view why() const noexcept { return why_; }   // likewise

  // All bytes of the representation, there or still to come.
  bool whole() const noexcept;
  // Its size, as soon as that is known.
  std::optional<uint64_t> total() const noexcept;
  bool covers(http::ByteRange range) const noexcept;
  // The part that holds `position`; null: none.
  const ObjectPart* part_at(uint64_t position) const noexcept;
  bool growing() const noexcept;
  bool broken() const noexcept;
  size_t memory() const noexcept;
  PurgeSubject subject() const noexcept { return {head_.purge_url, head_.tags, head_.filled}; }
  Duration since_response(Time now) const noexcept { return now > head_.answered ? now - head_.answered : Duration(); }

  // Up to which number purges were looked at, and whether a soft one met it. Any core.
  std::atomic<uint64_t> checked;
  std::atomic<bool> expired{false};
  // About how often it was given; cores may miss each other's.
  std::atomic<uint32_t> given{0};

 private:
  Object(uint32_t space, std::string key, Kind kind) : CacheEntry(space, std::move(key), false), kind_(kind) {}

  Kind kind_ = Kind::answer;
  ObjectHead head_;
  std::vector<ObjectPart> parts_;  // sorted by `first`
  Variants vary_;
  Time until_{};
  std::string_view why_;
};

// A counted reference.
class ObjectRef {
 public:
  ObjectRef() noexcept = default;
  explicit ObjectRef(Object* taken_over) noexcept : entry_(taken_over) {}
  explicit ObjectRef(EntryRef entry) noexcept : entry_(std::move(entry)) {}
  explicit operator bool() const noexcept { return static_cast<bool>(entry_); }
  Object* operator->() const noexcept { return static_cast<Object*>(entry_.get()); }
  Object& operator*() const noexcept { return *operator->(); }
  const EntryRef& entry() const noexcept { return entry_; }

 private:
  EntryRef entry_;
};

}  // namespace trellis::cache
