// Batches of clicks and figures as they lie in the log and the store: whatever is read writes back to bytes that read
// to the same, and nothing else is taken. What is added up as it lies there gives what it gives once read.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/links/clicks/click.h"
#include "services/links/clicks/figures.h"
#include "services/links/clicks/figures_sum.h"

using namespace trellis;
using namespace trellis::services::links;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto clicks = read_clicks(bytes)) {
    const auto again = read_clicks(write_clicks(*clicks));
    TRELLIS_ASSERT(again && *again == *clicks);
    Figures sum;
    for (const Click& click : *clicks) sum.add(click);
    std::string written;
    sum.append_to(written);
    const auto back = Figures::read(written);
    TRELLIS_ASSERT(back && *back == sum);
  }
  FiguresSum stored;
  const bool added = stored.add(bytes).has_value();
  const auto totals = totals_of(bytes);
  if (const auto figures = Figures::read(bytes)) {
    TRELLIS_ASSERT(added && stored.figures() == *figures);
    TRELLIS_ASSERT(totals && totals->people == figures->people() && totals->bots == figures->bots());
    std::string written;
    figures->append_to(written);
    const auto back = Figures::read(written);
    TRELLIS_ASSERT(back && *back == *figures);
    Figures twice = *figures;
    twice.merge(*figures);
    TRELLIS_ASSERT(twice.people() == 2 * figures->people());
  }
  return 0;
}
