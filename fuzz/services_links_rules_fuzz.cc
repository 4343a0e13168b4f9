// Rules that are accepted can be written and read again, and finding gives one of their targets whatever a visitor
// sends.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/rules/rules.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // The visitor behind the first NUL: its language, address and query in one.
  const std::string_view json = text.substr(0, text.find('\0'));
  const std::string_view visitor = text.substr(std::min(json.size() + 1, text.size()));
  static const UrlHost kOwn{.host = "s.example", .port = 443, .default_port = true};
  const auto rules = Rules::read(json, kOwn);
  if (!rules) {
    TRELLIS_ASSERT(!rules.error().empty());
    return 0;
  }
  std::string written;
  rules->append_json(written);
  const auto again = Rules::read(written, kOwn);
  TRELLIS_ASSERT(again);
  const Visit visit{.agent = read_user_agent(visitor),
                    .accept_language = visitor,
                    .country = visitor.substr(0, 2),
                    .address = visitor,
                    .query = visitor,
                    .now = static_cast<int64_t>(size) << 32,
                    .link = size};
  const auto match = rules->find(visit);
  const auto same = again->find(visit);
  TRELLIS_ASSERT(match.has_value() == same.has_value());
  if (match) TRELLIS_ASSERT(match->rule < rules->size() && match->url == same->url && !match->url.empty());
  return 0;
}
