// Foreign text as nginx.conf: whatever it is, it is refused, or it becomes a configuration that `trellis check` calls
// good. Files that it includes hold the same text, so includes of includes are tried, too.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "app/import/import.h"

using namespace trellis;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 16 << 10) return 0;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const app::ImportFiles files{
      .read = [&](const std::string& path) -> Result<std::string> {
        if (path.ends_with("none")) return fail(Code::not_found, path);
        return path == "nginx.conf" ? text : text.substr(0, 64);
      },
      .glob = [](const std::string& pattern) { return std::vector<std::string>{pattern, "b"}; }};
  const app::ImportKind kind = app::ImportKind::nginx;
  const Result<app::Imported> imported = app::import_config("nginx.conf", &kind, files);
  // internal: the result would not have passed the check.
  if (!imported && imported.error().code() == Code::internal) std::abort();
  return 0;
}
