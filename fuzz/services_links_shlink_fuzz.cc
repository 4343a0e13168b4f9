// Any body of Shlink's interface gives one that our own readers take apart without trouble, or a sentence; rules that
// were read and taken come out again in Shlink's words.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/compat/shlink_json.h"
#include "services/links/rules/rules.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const UrlHost own{.host = "go.example.com"};
  if (const auto made = read_shlink_new(text)) (void)read_new_link(made->ours, own, 1);
  if (const auto patch = read_shlink_patch(text)) (void)read_link_patch(*patch, own, 1);
  if (const auto rules = read_shlink_rules(text)) {
    const auto ours = Rules::read(rules->empty() ? "[]" : *rules, own);
    if (ours) {
      std::string kept;
      ours->append_json(kept);
      std::string out;
      TRELLIS_ASSERT(append_shlink_rules(out, kept));
    }
  }
  std::string out;
  (void)append_shlink_rules(out, text);
  return 0;
}
