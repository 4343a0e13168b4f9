// Bodies of requests: whatever is accepted can be written again and read back.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/domains/domains.h"
#include "services/links/link_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const UrlHost own{.host = "go.example.com", .port = 443, .default_port = true};
  (void)read_link_patch(text, own, 0);
  (void)parse_time(text);
  if (auto id = id_of_cursor(text)) TRELLIS_ASSERT(cursor_of(*id) == text);
  auto wanted = read_new_link(text, own, 0);
  if (!wanted) return 0;
  Link link;
  link.code = wanted->alias.empty() ? "abcdefg" : wanted->alias;
  wanted->set.apply_to(link);
  std::string out;
  static const DomainTable kDomains("https://go.example.com");
  append_link(out, link, kDomains);
  const auto json = nlohmann::json::parse(out);
  TRELLIS_ASSERT(json["url"] == wanted->set.url && json["title"] == link.title && json["code"] == link.code);
  TRELLIS_ASSERT(json["tags"].size() == link.tags.size());
  return 0;
}
