// What becomes a name in the statistics is short and clean, and reads as itself.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/clicks/referrer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string host = referrer_host(text);
  TRELLIS_ASSERT(host.size() <= kMaxReferrerHost);
  for (const char c : host) TRELLIS_ASSERT(c > 0x20 && c < 0x7f && c != '/' && c != '@' && !(c >= 'A' && c <= 'Z'));
  const Utm utm = read_utm(text);
  for (const std::string* value : {&utm.source, &utm.medium, &utm.campaign, &utm.term, &utm.content}) {
    TRELLIS_ASSERT(value->size() <= kMaxUtm);
    for (const char c : *value) TRELLIS_ASSERT(static_cast<uint8_t>(c) >= 0x20 && c != 0x7f);
    TRELLIS_ASSERT(!value->starts_with(' ') && !value->ends_with(' '));
  }
  return 0;
}
