// Foreign text as haproxy.cfg: whatever it is, it is refused, or it becomes a configuration that `trellis check` calls
// good.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "app/import/import.h"

using namespace trellis;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 16 << 10) return 0;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const app::ImportFiles files{.read = [&](const std::string&) -> Result<std::string> { return text; },
                               .glob = [](const std::string&) { return std::vector<std::string>(); }};
  const app::ImportKind kind = app::ImportKind::haproxy;
  const Result<app::Imported> imported = app::import_config("haproxy.cfg", &kind, files);
  // internal: the result would not have passed the check.
  if (!imported && imported.error().code() == Code::internal) std::abort();
  return 0;
}
