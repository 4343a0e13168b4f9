// The names of the balancing policies; balancer.h says what each does.
#pragma once

#include <cstdint>
#include <string_view>

namespace trellis::upstream {

enum class Balance : uint8_t {
  round_robin,
  weighted,
  least_connections,
  two_choices,
  least_time,
  ip_hash,
  hash,
  maglev
};
std::string_view to_string(Balance policy) noexcept;

}  // namespace trellis::upstream
