// What the disk keeps of an object beside its key and its body, as bytes: a letter for what it is, then that. Reading
// trusts nothing. Pure; any thread.
//
//   a  head                an answer, whole
//   s  first u64 | head    a slice of one: its body begins at `first`
//   v  variants
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "cache/edge/object.h"

namespace trellis::cache {

// Precondition: an answer with one part at most, or variants.
std::string object_meta(const Object& object);

struct StoredHead {
  ObjectHead head;
  uint64_t first = 0;  // where its body begins
  bool whole = true;   // else the head has the total
};
// nullopt: no answer's, or not whole. `now` and `wall`: the same moment on both clocks.
std::optional<StoredHead> stored_head_from(std::string_view meta, Time now, WallTime wall);

bool is_meta_of_variants(std::string_view meta) noexcept;
std::optional<Variants> variants_from(std::string_view meta);

}  // namespace trellis::cache
