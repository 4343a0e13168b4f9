// One thread of load: its connections on an epoll of its own, its own counters. Main starts it, moves the shared phase
// from warm-up to measuring to the end, joins it and reads the tally; nothing else is shared but the constant requests.
#pragma once

#include <netinet/in.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "load/histogram.h"
#include "load/options.h"
#include "load/request_set.h"
#include "load/response_reader.h"

namespace trellis::load {

enum class Phase : uint8_t { warmup, measure, stop };

struct Tally {
  uint64_t responses = 0;
  uint64_t bytes = 0;
  std::array<uint64_t, 6> status{};  // by hundreds; [0]: outside 100..599
  uint64_t connects = 0;
  uint64_t connect_errors = 0;
  uint64_t socket_errors = 0;  // reset, refused write, closed in the middle of an answer or before it
  uint64_t stray_bytes = 0;    // connections that sent bytes nobody asked for
  std::array<uint64_t, kFaults> faults{};
  uint64_t unanswered = 0;  // open loop: due in time, no answer at the end; their age so far is in `latency`
  Histogram latency;        // nanoseconds

  void merge(const Tally& other) noexcept;
  uint64_t framing_faults() const noexcept;
};

struct Connection {
  int fd = -1;
  bool connected = false;
  bool idle = false;      // open loop: waits in idle_
  bool upgraded = false;  // --echo: speaks WebSocket now
  bool large = false;     // the last answer was large: read its head only, then drop the body unread
  uint32_t in_flight = 0;
  uint32_t oldest = 0;        // of the ring `due`
  size_t echo_left = 0;       // bytes of the message that have not come back
  uint64_t fresh_due = 0;     // --reconnect: when the request that waits for this connection was due
  std::vector<uint64_t> due;  // when each request in flight was due
  std::string unsent;         // what the socket did not take yet
  ResponseReader reader;
};

uint64_t now_nanos() noexcept;

class Worker {
 public:
  Worker(const Options& options, const RequestSet& requests, const sockaddr_in& server, const std::atomic<Phase>& phase,
         unsigned number);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void run();  // until the phase is stop
  const Tally& tally() const noexcept { return tally_; }

 private:
  void follow_phase();
  int64_t wait_nanos() const noexcept;
  void renew(Connection& c);
  void open(Connection& c);
  void opened(Connection& c);
  void finish(Connection& c);
  void retry_refused();
  void make_idle(Connection& c);
  void ready(Connection& c);
  void send_due();
  void fire(Connection& c, unsigned count, uint64_t due);
  void write(Connection& c, std::string_view bytes);
  void flush(Connection& c);
  void read(Connection& c, bool hangup);
  void consume(Connection& c, const char* data, size_t size);
  size_t consume_echo(Connection& c, size_t size);
  void upgraded(Connection& c);
  void answered(Connection& c);
  void lost(Connection& c);
  void count_unanswered();

  const Options& options_;
  const RequestSet& requests_;
  const sockaddr_in& server_;
  const std::atomic<Phase>& phase_;
  Picker picker_;
  const bool head_;
  Phase seen_phase_ = Phase::warmup;
  int epoll_ = -1;
  double interval_ = 0;  // open loop: nanoseconds between requests of this worker
  double next_due_ = 0;  // open loop: when the next request is due; what is past and not sent is the backlog
  std::vector<Connection> connections_;
  std::deque<Connection*> idle_;  // taken in turn, so that all connections stay in use
  std::vector<Connection*> refused_;
  uint64_t refused_until_ = 0;
  uint64_t last_now_ = 0;  // when the last answer or connection came
  std::unique_ptr<char[]> buffer_;
  std::string batch_;
  Tally tally_;
};

}  // namespace trellis::load
