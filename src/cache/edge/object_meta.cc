#include "cache/edge/object_meta.h"

#include <cstring>
#include <utility>

#include "base/varint.h"

namespace trellis::cache {
namespace {

constexpr char kAnswer = 'a';
constexpr char kSlice = 's';
constexpr char kVariants = 'v';

}  // namespace

std::string object_meta(const Object& object) {
  std::string meta;
  if (object.kind() == Object::Kind::variants) {
    meta += kVariants;
    object.vary().encode(meta);
    return meta;
  }
  const uint64_t first = object.parts().empty() ? 0 : object.parts()[0].first;
  meta += object.whole() ? kAnswer : kSlice;
  if (!object.whole()) meta.append(reinterpret_cast<const char*>(&first), sizeof first);
  meta += object.head().encode();
  return meta;
}

std::optional<StoredHead> stored_head_from(std::string_view meta, Time now, WallTime wall) {
  StoredHead stored;
  if (meta.empty() || (meta[0] != kAnswer && meta[0] != kSlice)) return std::nullopt;
  stored.whole = meta[0] == kAnswer;
  meta.remove_prefix(1);
  if (!stored.whole) {
    if (meta.size() < sizeof stored.first) return std::nullopt;
    std::memcpy(&stored.first, meta.data(), sizeof stored.first);
    meta.remove_prefix(sizeof stored.first);
  }
  auto head = ObjectHead::decode(meta, now, wall);
  if (!head || (!stored.whole && (!head->total || stored.first > *head->total))) return std::nullopt;
  stored.head = *std::move(head);
  return stored;
}

bool is_meta_of_variants(std::string_view meta) noexcept { return meta.starts_with(kVariants); }

std::optional<Variants> variants_from(std::string_view meta) {
  if (!is_meta_of_variants(meta)) return std::nullopt;
  ByteReader in(meta.substr(1));
  auto variants = Variants::decode(in);
  return in.at_end() ? std::move(variants) : std::nullopt;
}

}  // namespace trellis::cache
