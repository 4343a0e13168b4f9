// Bytes that are read as a count are written back to the same bytes; such counts can be merged and counted, as bytes
// no worse than as objects.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/clicks/unique_visitors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto visitors = UniqueVisitors::read(bytes);
  UniqueVisitors sum;
  const bool added = sum.merge_stored(bytes).has_value();
  TRELLIS_ASSERT(added == visitors.has_value());
  if (!visitors) return 0;
  TRELLIS_ASSERT(sum == *visitors);
  std::string written;
  visitors->append_to(written);
  TRELLIS_ASSERT(written == bytes);
  UniqueVisitors other;
  for (uint64_t i = 1; i <= 100; ++i) other.add(i * 0x9E3779B97F4A7C15);
  const UniqueVisitors before = *visitors;
  visitors->merge(before);
  TRELLIS_ASSERT(*visitors == before);
  visitors->merge(other);
  TRELLIS_ASSERT(visitors->count() + 1 >= before.count());
  return 0;
}
