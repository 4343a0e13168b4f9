// What is counted of the clicks of a link in a minute, an hour or a day: how many, by people and by programs, by each
// dimension, and how many different visitors. Figures of any spans add up to figures of their whole. Small ones are
// small: a link with one click takes some tens of bytes. Of each dimension up to kMaxValues values are kept
// by name; when there are more, the less frequent half becomes one sum. Pure; any core. Reading is strict:
// fuzz/services_links_click_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/clicks/click.h"
#include "services/links/clicks/unique_visitors.h"

namespace trellis::services::links {

enum class Dimension : uint8_t {
  country,
  referrer,
  device,
  os,
  browser,
  language,
  rule,    // "1" is the first, "1a" the first target of its split; clicks that no rule took have none
  source,  // "qr", or "link"
  utm_source,
  utm_medium,
  utm_campaign,
  utm_term,
  utm_content,
};
inline constexpr size_t kDimensions = 13;
inline constexpr size_t kMaxValues = 500;
std::string_view to_string(Dimension dimension) noexcept;
std::optional<Dimension> dimension_of(std::string_view name) noexcept;

class Figures {
 public:
  // Clicks with a value of a dimension. One with an empty value is the sum of those beyond kMaxValues.
  struct Count {
    bool bots = false;
    Dimension dimension = Dimension::country;
    std::string value;
    uint64_t clicks = 0;
    friend bool operator==(const Count&, const Count&) = default;
  };
  // The order of counts().
  static bool before(const Count& a, const Count& b) noexcept;

  void add(const Click& click);
  void merge(const Figures& other);

  uint64_t people() const noexcept { return people_; }              // clicks
  uint64_t bots() const noexcept { return bots_; }                  // likewise
  uint64_t visitors() const noexcept { return visitors_.count(); }  // different people
  // In the order of bots, dimension, value.
  const std::vector<Count>& counts() const noexcept { return counts_; }

  // Clicks and visitors stay.
  void drop_dimensions() { counts_.clear(); }

  // Version 2: the visitors stand among the totals, too, so that a series needs no sketch.
  void append_to(std::string& out) const;
  static Result<Figures> read(std::string_view bytes);

  friend bool operator==(const Figures&, const Figures&) = default;

 private:
  friend class FiguresSum;

  void count(bool bots, Dimension dimension, std::string_view value);
  void fold_rare();

  uint64_t people_ = 0;
  uint64_t bots_ = 0;
  std::vector<Count> counts_;
  UniqueVisitors visitors_;
};

}  // namespace trellis::services::links
