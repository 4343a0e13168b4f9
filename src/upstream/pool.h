// The connections of one core to one host: those that are out with a request, and those kept idle for the next. Shared
// with the connections that are out, so that one may come home after its cluster is gone. What is out is what the host
// works on: the load that balancers compare.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "http/client.h"
#include "upstream/balancer.h"
#include "upstream/config.h"
#include "upstream/health/ejection.h"
#include "upstream/hosts.h"

namespace trellis {
inline namespace base {
class Counter;
class Histogram;
}  // namespace base
}  // namespace trellis

namespace trellis::upstream {

// Hears of every change of a pool's load, on its core.
class LoadWatcher {
 public:
  // A request more (+1) or less (-1) is under way at the host.
  virtual void load_changed(HostId host, int by) noexcept = 0;

 protected:
  ~LoadWatcher() = default;
};

class Pool final : public http::ConnectionHome, public std::enable_shared_from_this<Pool> {
 public:
  // `ejection` hears of every outcome; it may be null.
  Pool(std::shared_ptr<Host> host, const LimitConfig& limits, size_t core, std::shared_ptr<Ejection> ejection);
  ~Pool() { close_idle(); }

  Host& host() const noexcept { return *host_; }
  const std::shared_ptr<Host>& shared_host() const noexcept { return host_; }
  HostLoad& load() noexcept { return load_; }
  HostId id() const noexcept { return id_; }
  size_t open() const noexcept { return open_; }
  size_t idle() const noexcept { return idle_; }
  bool full() const noexcept { return idle_ == 0 && open_ >= limits_.connections; }

  // From now on `id` is told to `watcher`, which outlives the pool or is taken off by watch(0, nullptr).
  void watch(HostId id, LoadWatcher* watcher) noexcept {
    id_ = id;
    watcher_ = watcher;
  }

  // The most recently used idle connection that is still alive, or null.
  std::unique_ptr<http::ClientConnection> take() noexcept;
  // For who needs a new connection although there are idle ones: closes one of these where the limit leaves no other
  // room. Precondition: not full().
  void make_room() noexcept;
  // A connection is being made: counted from here on, so that a thousand requests at once do not open a thousand too
  // many. Either adopt() or failed_to_open() follows.
  void opening() noexcept;
  std::unique_ptr<http::ClientConnection> adopt(Socket socket);
  void failed_to_open() noexcept { closed(); }

  void give_back(std::unique_ptr<http::ClientConnection> connection) noexcept override;
  void closed() noexcept override;
  // Closes the idle ones and keeps none from now on.
  void close_idle() noexcept;

  void count(int status, Duration first_byte, Time now) noexcept;
  void count_failure(Outcome outcome, Duration took, Time now) noexcept;
  // A plain connection was made; what becomes of it is its user's.
  void count_connected(Time now) noexcept;

 private:
  void unlink(http::ClientConnection& connection) noexcept;
  void load_changed(int by) noexcept;
  bool worn_out(const http::ClientConnection& connection) const noexcept;
  static void sweep_due(Timer& timer) noexcept;

  std::shared_ptr<Host> host_;
  LimitConfig limits_;
  HostLoad load_;
  HostTally& tally_;
  std::shared_ptr<Ejection> ejection_;
  HostId id_ = 0;
  LoadWatcher* watcher_ = nullptr;
  http::ClientConnection* newest_ = nullptr;
  http::ClientConnection* oldest_ = nullptr;
  size_t idle_ = 0;
  size_t open_ = 0;
  bool closed_ = false;
  Timer sweep_;
  Histogram& seconds_;
  Counter& failed_;
  Counter& opened_;
  Counter& closed_count_;
  Counter& parked_;
  Counter& taken_;
  std::array<Counter*, 500> answered_{};  // by status - 100
};

}  // namespace trellis::upstream
