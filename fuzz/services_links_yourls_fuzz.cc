// Any form gives a bounded number of fields, and whatever they hold, an answer in every format.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/compat/yourls.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  YourlsForm form;
  form.read_query(text);
  (void)form.read_multipart(text, "xx");
  TRELLIS_ASSERT(form.fields.size() <= 128);
  for (const auto& [name, value] : form.fields) {
    TRELLIS_ASSERT(!form.get(name).empty() || form.get(name) == "");
    const std::string json = yourls_json({{"a", value, {}}, {"b", "", {{"c", name, {}}}}});
    TRELLIS_ASSERT(nlohmann::json::accept(json));
    TRELLIS_ASSERT(yourls_xml({{"a", value, {}}}).find("<a>") != std::string::npos);
  }
  (void)is_callback(text);
  return 0;
}
