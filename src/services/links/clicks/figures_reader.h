// The stored form of figures, taken apart without a copy: the totals first, then the counts of the dimensions, then the
// sketch of the visitors. Who wants a series reads the totals alone; who adds many up does without an object for each
// (figures_sum.h). The forms are those that Figures::append_to() has written: version 1 of the first tables has no
// visitors among its totals, they are estimated from the sketch then. Views live as long as the bytes; any core. Never
// reads past the end; whether the counts are in their order is for the caller. fuzz/services_links_click_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/varint.h"
#include "services/links/clicks/figures.h"

namespace trellis::services::links {

// Of a link and a time, or of many.
struct FiguresTotals {
  uint64_t people = 0;    // clicks
  uint64_t bots = 0;      // likewise
  uint64_t visitors = 0;  // different people

  uint64_t clicks() const noexcept { return people + bots; }
  friend bool operator==(const FiguresTotals&, const FiguresTotals&) = default;
};

class FiguresReader {
 public:
  struct Count {
    bool bots = false;
    uint8_t dimension = 0;  // below kDimensions
    std::string_view value;
    uint64_t clicks = 0;
  };

  explicit FiguresReader(std::string_view bytes) noexcept;

  // Valid unless failed(). The visitors: see totals_of().
  const FiguresTotals& totals() const noexcept { return totals_; }
  size_t counts() const noexcept { return counts_; }  // those to come
  // False: the end, or damage.
  bool next(Count& count) noexcept {
    if (counts_ == 0) return false;
    --counts_;
    const uint8_t kind = in_.octet();
    const uint64_t size = in_.varint();
    count.bots = (kind & 1) != 0;
    count.dimension = kind >> 1;
    count.value = in_.bytes(size);
    count.clicks = in_.varint();
    failed_ = failed_ || count.dimension >= kDimensions || size > kMaxValue || count.clicks == 0;
    if (failed()) counts_ = 0;
    return !failed();
  }
  // Behind the last count: the sketch of the visitors, empty where no people came.
  std::string_view sketch() noexcept;
  bool failed() const noexcept { return failed_ || in_.failed(); }

 private:
  static constexpr size_t kMaxValue = 1024;  // bytes
  friend Result<FiguresTotals> totals_of(std::string_view bytes);

  ByteReader in_;
  FiguresTotals totals_;
  size_t counts_ = 0;
  bool with_visitors_ = false;
  bool failed_ = false;
};

// data_loss: damaged.
Result<FiguresTotals> totals_of(std::string_view bytes);

Error damaged_figures();

}  // namespace trellis::services::links
