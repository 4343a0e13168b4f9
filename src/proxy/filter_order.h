// The order of the steps between the router and the target: one table, each line with its reason. The order of the file
// decides nothing, because a wrong one would be a hole (a cache before the authentication serves strangers). Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "config/fields.h"

namespace trellis::proxy {

struct FilterStep {
  std::string_view
      name;  // of the filter in the configuration; of a built-in step, what it is called in docs and explanations
  std::string_view reason;  // why it stands where it stands
  bool built_in;            // part of every route, not configured
};

// Outermost first; the target comes after the last.
std::span<const FilterStep> filter_order() noexcept;

// The same name as static text. Precondition: it is in the table.
std::string_view step_name(std::string_view name) noexcept;

// Sorts a route's filters into that order. Precondition: each name is in the table (the configuration's own kinds are).
void sort_filters(std::vector<config::Entry>& filters);

}  // namespace trellis::proxy
