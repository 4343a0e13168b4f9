// Names of hosts to addresses, by the system's resolver (getaddrinfo: hosts file, DNS, whatever nsswitch.conf says).
// Numeric hosts are taken as they are and ask nobody. Every address that the name has, in the order in which the
// resolver advises to try them (RFC 6724); never empty. Errors: unavailable (side upstream) with the resolver's words.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/address.h"
#include "runtime/task.h"

namespace trellis::net {

// In the calling thread, which may take as long as the resolver likes: at start, in tools, in the blocking pool.
Result<std::vector<Address>> resolve_blocking(const std::string& host, uint16_t port);

// The addresses of one name, looked up in the blocking pool. One lookup at a time, however many ask and however long it
// takes: a resolver that does not answer holds one thread. On the loop that makes it; asked there; those who wait are
// gone before it goes.
class Resolver {
 public:
  Resolver(std::string host, uint16_t port);
  // deadline_exceeded: the lookup goes on, and the next who asks gets what it finds.
  Task<Result<std::vector<Address>>> addresses(Deadline deadline);

 private:
  struct Lookup;
  std::string host_;
  uint16_t port_;
  std::shared_ptr<Lookup> lookup_;  // shared with the one under way
};

}  // namespace trellis::net
