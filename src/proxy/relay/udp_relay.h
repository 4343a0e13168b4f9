// The UDP relay of one listener on one core. Who sends from one address and port stays with one host for as long as
// either of them speaks: a session, with a socket of its own towards the host, so that a reply can be told from
// another's. The kernel keeps a client at one core's socket (SO_REUSEPORT); replies come from the address that the
// client sent to. A datagram is passed on as it came, or dropped and counted; nothing is kept or repeated.
//
// Limits: sessions of this core (further clients wait until one ends: who is there is not pushed out by who may have
// made up his address), idle time. What ICMP says of a host ends its sessions and nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/time.h"
#include "net/address.h"
#include "runtime/task.h"

namespace trellis {
inline namespace base {
class Metrics;
}
}  // namespace trellis
namespace trellis::upstream {
class Cluster;
}

namespace trellis::proxy {

class AccessLog;
struct UdpFaults;

// Immutable, of one core; sessions keep the host that they have.
struct UdpRelayOptions {
  std::string listener;
  std::shared_ptr<upstream::Cluster> to;
  Duration idle = std::chrono::seconds(30);
  size_t sessions = 10'000;
  std::shared_ptr<UdpFaults> faults;      // null: none
  std::shared_ptr<AccessLog> access_log;  // null: none
};

// A socket for a UdpRelay, one a core on the same address.
Result<int> listen_udp(const net::Address& address);

class UdpRelay {
 public:
  struct Impl;  // udp_relay.cc's own

  // `fd` from listen_udp(), or a duplicate where somebody else keeps the socket: the relay closes it. On the loop's
  // thread, where it also must be destroyed.
  UdpRelay(int fd, std::shared_ptr<const UdpRelayOptions> options, Metrics& metrics);
  ~UdpRelay();
  UdpRelay(const UdpRelay&) = delete;
  UdpRelay& operator=(const UdpRelay&) = delete;

  void set_options(std::shared_ptr<const UdpRelayOptions> options);
  // No new sessions; those whose host has answered end at once, the others when it has or at the deadline, two seconds
  // at most: datagrams promise nothing. True when none is left.
  Task<bool> drain(Deadline deadline);
  size_t sessions() const noexcept;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace trellis::proxy
