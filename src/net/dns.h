// Lookups of names by DNS with the time that an answer holds: addresses (A and AAAA) and services (SRV). c-ares does
// the asking: /etc/hosts first, then the servers and search list of /etc/resolv.conf or the servers that are given.
// net/resolve.h is for those who need no such time.
//
// WHY a thread of its own: c-ares waits on its own sockets and reads files. On a thread that does nothing else, a
// thousand lookups that no server answers hold neither a core nor the blocking pool. It is started by the first lookup
// and sleeps while there is none. resolv.conf is read again whenever lookups begin after none was under way.
//
// Errors, all of side upstream: not_found (there is no such name, or it has no address), unavailable (the servers
// failed, refused or cannot be reached), data_loss (their answer cannot be read), deadline_exceeded (they said
// nothing). resource_exhausted (side self): kMaxLookups are under way. What cannot be a name is invalid_argument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/address.h"
#include "runtime/task.h"

namespace trellis::net {

inline constexpr size_t kMaxDnsHosts = 64;  // of one answer; more are left out
inline constexpr size_t kMaxLookups = 1024;

struct DnsHost {
  Address address;
  // Of a service; else 0 and "".
  uint16_t priority = 0;
  uint16_t weight = 0;
  std::string target;  // the name that the address is of
};

struct DnsAnswer {
  std::vector<DnsHost> hosts;  // never empty
  Duration ttl{0};
  // A part of it was not to be had (IPv6 addresses say, or those of one target): there may be more.
  bool complete = true;
};

// The seam that tests replace. Called on a loop, resumes there.
class Lookups {
 public:
  virtual ~Lookups() = default;
  virtual Task<Result<DnsAnswer>> addresses(std::string name, uint16_t port, Deadline deadline) = 0;
  // `name` as in _http._tcp.api.internal. The addresses of the targets are looked up, too.
  virtual Task<Result<DnsAnswer>> services(std::string name, Deadline deadline) = 0;
};

class Dns final : public Lookups {
 public:
  // `servers`: empty for those of /etc/resolv.conf.
  explicit Dns(std::vector<Address> servers);
  // Nobody waits any more; the loops that asked still live.
  ~Dns() override;
  Dns(const Dns&) = delete;
  Dns& operator=(const Dns&) = delete;

  Task<Result<DnsAnswer>> addresses(std::string name, uint16_t port, Deadline deadline) override;
  Task<Result<DnsAnswer>> services(std::string name, Deadline deadline) override;

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;
};

}  // namespace trellis::net
