// Any User-Agent gives one of the kinds there are, whatever its case of letters; a program has no system or browser.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/clicks/user_agent.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const UserAgent agent = read_user_agent(text);
  TRELLIS_ASSERT(device_of(to_string(agent.device)) == agent.device);
  TRELLIS_ASSERT(os_of(to_string(agent.os)) == agent.os);
  TRELLIS_ASSERT(browser_of(to_string(agent.browser)) == agent.browser);
  if (agent.is_bot()) TRELLIS_ASSERT(agent == UserAgent{.device = Device::bot});
  std::string upper(text);
  for (char& c : upper)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - ('a' - 'A'));
  TRELLIS_ASSERT(read_user_agent(upper) == agent);
  return 0;
}
