// Names of hosts to addresses, by the system's resolver (getaddrinfo: hosts file, DNS, whatever nsswitch.conf says).
// Numeric hosts are taken as they are and ask nobody. Every address that the name has, in the order in which the
// resolver advises to try them (RFC 6724); never empty. Errors: unavailable (side upstream) with the resolver's words.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/address.h"
#include "runtime/task.h"

namespace trellis::net {

// In the calling thread, which may take as long as the resolver likes: at start, in tools, in the blocking pool.
Result<std::vector<Address>> resolve_blocking(const std::string& host, uint16_t port);

// On a loop, in its blocking pool. deadline_exceeded: the lookup goes on in its thread, and nobody hears of it.
Task<Result<std::vector<Address>>> resolve(std::string host, uint16_t port, Deadline deadline);

}  // namespace trellis::net
