#include "services/links/clicks/figures_reader.h"

#include "services/links/clicks/unique_visitors.h"

namespace trellis::services::links {

Error damaged_figures() { return Error(Code::data_loss, "the figures of a link are damaged").from(Side::self); }

FiguresReader::FiguresReader(std::string_view bytes) noexcept : in_(bytes) {
  const uint8_t version = in_.octet();
  totals_.people = in_.varint();
  totals_.bots = in_.varint();
  with_visitors_ = version == 2;
  if (with_visitors_ && totals_.people > 0) totals_.visitors = in_.varint();
  const uint64_t counts = in_.varint();
  failed_ = version < 1 || version > 2 || counts > in_.left() || counts > 2 * kDimensions * (kMaxValues + 1);
  counts_ = failed() ? 0 : counts;
}

std::string_view FiguresReader::sketch() noexcept {
  const std::string_view sketch = in_.bytes(in_.left());
  if (totals_.people == 0 && !sketch.empty()) failed_ = true;
  return sketch;
}

Result<FiguresTotals> totals_of(std::string_view bytes) {
  FiguresReader in(bytes);
  if (!in.with_visitors_ && in.totals_.people > 0) {
    FiguresReader::Count count;
    while (in.next(count)) {
    }
    TRY(const UniqueVisitors visitors, UniqueVisitors::read(in.sketch()));
    in.totals_.visitors = visitors.count();
  }
  if (in.failed()) return fail(damaged_figures());
  return in.totals();
}

}  // namespace trellis::services::links
