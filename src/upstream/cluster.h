// The servers behind one upstream, as one core sees them: picks a host, takes a pooled connection or makes one, sends
// the request and gives the answer. A connect that fails moves on to the next host, because nothing was sent; a pooled
// connection that turns out to be dead is replaced by a fresh one. One Cluster an upstream and core; lives as long as a
// request uses it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "http/client.h"
#include "http/handler.h"
#include "net/address.h"
#include "upstream/config.h"

namespace trellis {
inline namespace base {
class Metrics;
class Counter;
class Histogram;
}  // namespace base
}  // namespace trellis

namespace trellis::upstream {

// One resolved server: immutable, shared by all cores.
struct Host {
  std::string name;  // as configured, for logs, metrics and Host: where asked
  net::Address address;
};

// Resolved once for all cores; names by getaddrinfo in the calling thread (start and reload, never a loop).
Result<std::vector<Host>> resolve_hosts(const UpstreamConfig& config);

// Counts of connections to a host over all cores; event: opened, closed, parked (kept idle), taken (from the idle
// ones).
Counter& connection_counter(Metrics& metrics, const std::string& upstream, const std::string& host,
                            std::string_view event);

class Cluster {
 public:
  Cluster(std::string name, const UpstreamConfig& config, std::vector<Host> hosts, Metrics& metrics);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // The request's fields are already those for the upstream. Errors: unavailable (no host could be reached),
  // deadline_exceeded, data_loss (malformed answer), resource_exhausted (connection limit), cancelled (the client
  // left), each with its side.
  Task<Result<http::Response>> send(http::Request& request, http::RequestContext& context);

  const std::string& name() const noexcept { return name_; }
  size_t open_connections() const noexcept;
  size_t idle_connections() const noexcept;

 private:
  class Pool;
  Task<Result<http::Response>> try_host(Pool& pool, http::Request& request, http::RequestContext& context, bool fresh);

  std::string name_;
  UpstreamConfig config_;
  std::vector<std::shared_ptr<Pool>> pools_;
  size_t next_ = 0;
  Counter& retries_won_;
  Counter& retries_lost_;
};

}  // namespace trellis::upstream
