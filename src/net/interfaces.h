// The addresses of this machine. Any thread; asks the kernel.
#pragma once

#include <vector>

#include "net/address.h"

namespace trellis::net {

// Under which addresses a socket that is bound to this one is reached: itself, or for "every address" those of all
// interfaces that are up.
std::vector<Address> addresses_behind(const Address& bound);

}  // namespace trellis::net
