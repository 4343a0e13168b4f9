// Any text as the file of hosts that were changed at run time: refused, or read so that it is written and read again as
// the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "upstream/host_changes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis;
  const auto changes = upstream::read_host_changes({reinterpret_cast<const char*>(data), size});
  if (!changes) {
    if (changes.error().code() != Code::data_loss) std::abort();
    return 0;
  }
  upstream::HostChangesByUpstream kept;
  for (const auto& [name, one] : *changes) {
    if (!one.empty()) kept.emplace(name, one);
  }
  const auto again = upstream::read_host_changes(upstream::to_json(kept));
  if (!again || *again != kept) std::abort();
  return 0;
}
