#include "services/links/clicks/figures_sum.h"

#include <algorithm>
#include <tuple>

#include "base/hash.h"

namespace trellis::services::links {

Result<void> FiguresSum::add(std::string_view stored) {
  FiguresReader in(stored);
  FiguresReader::Count one;
  while (in.next(one)) count(one);
  const std::string_view sketch = in.sketch();
  if (in.failed()) return fail(damaged_figures());
  people_ += in.totals().people;
  bots_ += in.totals().bots;
  if (in.totals().people > 0) {
    TRY_VOID(visitors_.merge_stored(sketch));
  }
  if (values_.size() > kMostHeld) fold();
  return {};
}

void FiguresSum::count(const FiguresReader::Count& one) {
  if (values_.size() * 2 >= slots_.size()) grow();
  const auto hash = static_cast<uint32_t>(hash64(one.value, uint64_t{one.dimension} << 1 | (one.bots ? 1 : 0)));
  const size_t mask = slots_.size() - 1;
  size_t at = hash & mask;
  while (slots_[at].value != 0) {
    if (slots_[at].hash == hash) {
      Value& value = values_[slots_[at].value - 1];
      if (value.dimension == one.dimension && value.bots == one.bots && text_of(value) == one.value) {
        value.clicks += one.clicks;
        return;
      }
    }
    at = (at + 1) & mask;
  }
  values_.push_back({one.clicks, static_cast<uint32_t>(text_.size()), static_cast<uint16_t>(one.value.size()), one.bots,
                     one.dimension});
  text_ += one.value;
  slots_[at] = {hash, static_cast<uint32_t>(values_.size())};
}

void FiguresSum::grow() {
  std::vector<Slot> old(std::max<size_t>(256, slots_.size() * 2));
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.value == 0) continue;
    size_t at = slot.hash & mask;
    while (slots_[at].value != 0) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

void FiguresSum::fold() {
  Figures folded = figures();
  folded.fold_rare();
  slots_.assign(slots_.size(), {});
  values_.clear();
  text_.clear();
  for (const Figures::Count& one : folded.counts())
    count({one.bots, static_cast<uint8_t>(one.dimension), one.value, one.clicks});
}

Figures FiguresSum::figures() const {
  Figures out;
  out.people_ = people_;
  out.bots_ = bots_;
  out.visitors_ = visitors_;
  std::vector<const Value*> sorted;
  sorted.reserve(values_.size());
  for (const Value& value : values_) sorted.push_back(&value);
  std::sort(sorted.begin(), sorted.end(), [this](const Value* a, const Value* b) {
    return std::tuple(a->bots, a->dimension, text_of(*a)) < std::tuple(b->bots, b->dimension, text_of(*b));
  });
  out.counts_.reserve(sorted.size());
  for (const Value* value : sorted) {
    out.counts_.push_back(
        {value->bots, static_cast<Dimension>(value->dimension), std::string(text_of(*value)), value->clicks});
  }
  return out;
}

}  // namespace trellis::services::links
