// What the tokens of the rules mean to whoever wonders why an answer does not come from the cache, and what would
// change it: for `trellis ctl cache why`. Pure; any core.
#pragma once

#include <string_view>

namespace trellis::cache {

struct Advice {
  std::string_view meaning;
  std::string_view remedy;  // "": nothing is to be changed
};

// Of a reason why an answer is not stored (storing.h, and the fetch's own), is not used as it is (reuse.h), or passed
// the cache. A token that is not known has no meaning.
Advice advice_for(std::string_view reason) noexcept;

}  // namespace trellis::cache
