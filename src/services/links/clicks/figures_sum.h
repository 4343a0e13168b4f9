// Adds up figures as they are stored, hundreds of them for one answer: no object and no string is made for each, only
// one for each different value of the sum. What it gives is what Figures::merge() of the same would give, but that
// rare values become a sum of others only when there are more than kMostHeld, not at every step. Owned by who reads the
// rows; one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/clicks/figures.h"
#include "services/links/clicks/figures_reader.h"
#include "services/links/clicks/unique_visitors.h"

namespace trellis::services::links {

class FiguresSum {
 public:
  static constexpr size_t kMostHeld = 32'768;  // values of all dimensions

  // data_loss: damaged; the sum is of no use any more.
  Result<void> add(std::string_view stored);

  uint64_t clicks() const noexcept { return people_ + bots_; }
  Figures figures() const;

 private:
  // Small, so that what is asked for again and again stays in the core's own cache.
  struct Value {
    uint64_t clicks = 0;
    uint32_t at = 0;  // in text_
    uint16_t size = 0;
    bool bots = false;
    uint8_t dimension = 0;
  };
  struct Slot {
    uint32_t hash = 0;
    uint32_t value = 0;  // its place in values_, from 1; 0: free
  };

  std::string_view text_of(const Value& value) const noexcept {
    return std::string_view(text_).substr(value.at, value.size);
  }
  void count(const FiguresReader::Count& one);
  void grow();
  void fold();

  uint64_t people_ = 0;
  uint64_t bots_ = 0;
  std::vector<Slot> slots_;  // a power of two, at most half full
  std::vector<Value> values_;
  std::string text_;
  UniqueVisitors visitors_;
};

}  // namespace trellis::services::links
