// What is accepted as a URL may stand in a Location field, and its host is one host and nothing else.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)is_code_text(text);
  (void)is_reserved(text);
  auto host = check_url(text);
  if (!host) return 0;
  TRELLIS_ASSERT(size <= kMaxUrl);
  TRELLIS_ASSERT(!host->host.empty());
  TRELLIS_ASSERT(host->host.find_first_of("/\\?#@ ") == std::string::npos);
  TRELLIS_ASSERT(same_host(*host, *host));
  const std::string location = location_of(text);
  for (const char c : location) TRELLIS_ASSERT(c >= 0x20 && c < 0x7f);
  TRELLIS_ASSERT(location.front() != ' ' && location.back() != ' ');
  auto again = check_url(location);
  // Only a host outside ASCII, whose escapes are no longer its own characters, is read differently.
  TRELLIS_ASSERT(again || location != text);
  return 0;
}
