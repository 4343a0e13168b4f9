// Passes the bytes of two connections on to each other, both directions at once, and knows nothing of what they mean.
// Who takes slowly slows who sends; the end of one direction is passed on as such while the other goes on; a reset on
// one side becomes a reset on the other. On the connections' core; the sockets are the caller's and outlive it.
//
// Small pieces go through the loop's receive buffers; a direction that brings large ones is spliced inside the kernel
// (runtime/splice.h) for as long as it does.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/metrics.h"
#include "base/time.h"
#include "runtime/socket.h"
#include "runtime/sync.h"

namespace trellis::proxy {

// How a relayed connection, or a session of datagrams, ended.
enum class RelayEnd : uint8_t {
  finished,      // both sides ended their streams
  client_reset,  // one broke off
  host_reset,
  idle,           // nothing passed for too long
  lifetime,       // it was there for too long
  drained,        // the node stops, or the listener is gone
  client_left,    // before anything could be passed on
  untrusted,      // a PROXY header was due, from an address that may not send one
  bad_header,     // it was none, or came too late
  bad_hello,      // the TLS hello breaks the rules
  hello_timeout,  // it came too late
  refused,        // no route takes it
  no_host,        // none could be reached
  fault_reset,    // both were reset on purpose
  host_refused,   // datagrams: nobody listens at the host
  host_failing,   // datagrams: its checks say so, and another one took over
};
inline constexpr size_t kRelayEnds = 16;
std::string_view to_string(RelayEnd end) noexcept;

// What a connection meets on purpose.
struct PumpFaults {
  uint64_t bandwidth = 0;             // bytes a second and direction; 0: any
  uint64_t reset_after = UINT64_MAX;  // bytes of both directions
  bool any() const noexcept { return bandwidth > 0 || reset_after != UINT64_MAX; }
};

class Pump {
 public:
  // The counters are of all connections, in bytes; `idle` zero: none.
  Pump(Socket& client, Socket& host, Duration idle, Counter& bytes_in, Counter& bytes_out,
       PumpFaults faults = {}) noexcept;
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  // Until it has ended, at the latest at `deadline` (lifetime). Afterwards both are to be closed; where the other side
  // must learn that it did not get all, they are set to end by a reset.
  Task<RelayEnd> run(Deadline deadline);

  uint64_t bytes_in() const noexcept { return up_.bytes; }
  uint64_t bytes_out() const noexcept { return down_.bytes; }

 private:
  struct Flow {
    Socket& from;
    Socket& to;
    Counter& counter;
    RelayEnd from_broke;
    RelayEnd to_broke;
    uint64_t bytes = 0;
    bool sending = false;
    bool done = false;
  };
  static Task<> flow(Pump& pump, Flow& flow);
  static Task<> flow_with_faults(Pump& pump, Flow& flow);
  static Task<bool> splice(Pump& pump, Flow& flow);
  void passed(Flow& flow, size_t bytes) noexcept;
  void finish(Flow& flow) noexcept;
  void over(RelayEnd end) noexcept;
  void alive() noexcept;
  bool still_taking() noexcept;
  static void idle_over(Timer& timer) noexcept;

  Flow up_;
  Flow down_;
  Duration idle_;
  PumpFaults faults_;  // reset_after: what is left
  RelayEnd end_ = RelayEnd::finished;
  bool broken_ = false;
  uint64_t taken_ = 0;  // by the kernels of both sides, when the idle time was last over
  Event over_;
  Timer timer_;
};

}  // namespace trellis::proxy
