// Bodies of batches: what is taken apart lies in the body, in order, and is the JSON that a whole parser sees there.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "services/links/bulk/batch_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  using nlohmann::json;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto batch = read_batch(text);
  const json whole = json::parse(text, nullptr, false);
  if (!batch) return 0;
  TRELLIS_ASSERT(batch->links.size() <= kMaxBatch);
  const char* last = text.data();
  bool all_json = true;
  for (const std::string_view link : batch->links) {
    TRELLIS_ASSERT(link.data() >= last && link.data() + link.size() <= text.data() + text.size());
    TRELLIS_ASSERT(link.front() == '{' && link.back() == '}');
    last = link.data() + link.size();
    all_json = all_json && json::accept(link);
  }
  TRELLIS_ASSERT(!whole.is_discarded() == all_json);
  if (!all_json) return 0;
  TRELLIS_ASSERT(whole["links"].size() == batch->links.size());
  for (size_t i = 0; i < batch->links.size(); ++i) TRELLIS_ASSERT(whole["links"][i] == json::parse(batch->links[i]));
  TRELLIS_ASSERT(whole.value("atomic", true) == batch->atomic);
  return 0;
}
