// Any query gives options within their limits, or a sentence that says what is wrong; the mark of a scan comes off
// once.
#include <cstdint>
#include <string_view>

#include "base/arena.h"
#include "base/error.h"
#include "services/links/link_json.h"
#include "services/links/qr.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  trellis::Arena arena;
  if (const auto options = read_qr_options(text, arena)) {
    TRELLIS_ASSERT(options->size >= kMinQrSize && options->size <= kMaxQrSize);
    TRELLIS_ASSERT(options->margin >= 0 && options->margin <= kMaxQrMargin);
    const auto picture = draw_qr("https://go.example.com/a?qr", *options);
    TRELLIS_ASSERT(picture || picture.error().side() == trellis::Side::client);
  } else {
    TRELLIS_ASSERT(!options.error().detail.empty());
  }
  const size_t before = text.size();
  const bool mark = take_qr_mark(text);
  TRELLIS_ASSERT(mark == (text.size() < before));
  return 0;
}
