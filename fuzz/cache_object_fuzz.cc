// What a disk gives back as an object's head or as the names its variants differ by: refused, or whole, with numbers
// within their limits, and the same again once written.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/varint.h"
#include "cache/edge/object.h"
#include "cache/edge/object_meta.h"

namespace {

using namespace trellis;
using namespace trellis::cache;

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 65536) return 0;
  const std::string_view meta(reinterpret_cast<const char*>(data) + 1, size - 1);
  const WallTime wall{std::chrono::seconds(1'790'000'000)};
  if (data[0] == 'a') {
    if (const auto head = ObjectHead::decode(meta, Time(), wall)) {
      require(head->freshness.valid() && head->answered <= Time());
      require(head->answered - head->took <= head->answered);
      const auto again = ObjectHead::decode(head->encode(), Time(), wall);
      require(again && again->encode() == head->encode());
      Arena arena;
      http::Fields fields(arena);
      head->fields.add_to(fields);
      require(fields.size() == head->fields.size());
    }
  } else if (data[0] == 's') {
    const std::string_view all(reinterpret_cast<const char*>(data), size);
    if (const auto stored = stored_head_from(all, Time(), wall))
      require(!stored->whole && stored->head.total && stored->first <= *stored->head.total);
  } else if (data[0] == 'v') {
    ByteReader in(meta);
    if (const auto variants = Variants::decode(in)) {
      require(!variants->names.empty() && variants->names.size() <= kMaxVaryNames);
      std::string bytes;
      variants->encode(bytes);
      ByteReader again(bytes);
      const auto same = Variants::decode(again);
      require(same && again.at_end() && same->names == variants->names && same->languages == variants->languages);
    }
  }
  return 0;
}
