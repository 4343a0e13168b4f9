// A blocklist that can be read has entries that read back to themselves and block what they name.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/access/block_set.h"
#include "services/links/domains/host_name.h"
#include "services/links/url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto set = read_block_file(text, 1);
  if (set) {
    TRELLIS_ASSERT(set->size() <= static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1);
  } else {
    TRELLIS_ASSERT(set.error().line > 0 && !set.error().reason.empty());
  }
  // The first line as an entry, and the whole as a URL.
  if (const auto entry = read_block_entry(text.substr(0, text.find('\n')))) {
    const auto again = read_block_entry(entry->text());
    TRELLIS_ASSERT(again && *again == *entry);
    TRELLIS_ASSERT(normal_host(entry->host) == entry->host);
    BlockSet one(2);
    one.add(*entry);
    const std::string plain = entry->text().substr(entry->exact ? 1 : 0);
    TRELLIS_ASSERT(one.find("https://" + plain) == entry->text());
    TRELLIS_ASSERT(one.find("https://" + plain + "/more?x#y") == entry->text() || entry->path.empty());
    if (!entry->exact && !is_address(entry->host) && check_url("https://www." + plain))
      TRELLIS_ASSERT(one.find("https://www." + plain) == entry->text());
  }
  if (set && check_url(text)) (void)set->find(text);
  return 0;
}
