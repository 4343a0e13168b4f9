// The servers behind one upstream, as one core sees them: picks a host by the upstream's policy, takes a pooled
// connection or makes one, sends the request and gives the answer; tries again where that helps and does no harm. One
// Cluster an upstream and core; the hosts behind it are shared by all cores (upstream/hosts.h), connections, loads and
// turns are its own. Lives as long as a request uses it.
//
// What is tried again (docs/balancing.md has the table):
//   - a connect that failed: nothing was sent, so at another host, whatever the request
//   - a pooled connection that turned out to be dead: once, on a fresh one, and nobody is blamed for it
//   - no answer, a broken one or one of the statuses of `retry.on`: idempotent requests (RFC 9110 section 9.2.2) whose
//     body was not sent or can be sent again
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "http/client.h"
#include "http/handler.h"
#include "upstream/balancer.h"
#include "upstream/config.h"
#include "upstream/eligible.h"
#include "upstream/hash_key.h"
#include "upstream/hosts.h"
#include "upstream/pool.h"
#include "upstream/retry_budget.h"
#include "upstream/waiting_queue.h"

namespace trellis {
inline namespace base {
class Gauge;
}
}  // namespace trellis

namespace trellis::http {
class Explain;
}

namespace trellis::upstream {

class Geo;

class Cluster final : private LoadWatcher {
 public:
  // On its core. `breaker`, `ejection` and `geo`: of the upstream, shared by all cores; null where the configuration
  // has none.
  Cluster(std::shared_ptr<Hosts> hosts, const UpstreamConfig& config, Metrics& metrics,
          std::shared_ptr<Breaker> breaker = nullptr, std::shared_ptr<Ejection> ejection = nullptr,
          std::shared_ptr<const Geo> geo = nullptr);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // The request's fields are already those for the upstream. Errors: unavailable (no host could be reached),
  // deadline_exceeded, data_loss (malformed answer), cancelled (the client left), each with its side. What a limit of
  // this node refuses has an answer, 503 (http/busy.h), and context.failed_side is Side::self.
  Task<Result<http::Response>> send(http::Request& request, http::RequestContext& context);

  // A plain connection to a host, for a relay. Counts as work of the host while it lives.
  class Link {
   public:
    Link(Link&&) noexcept = default;
    Link& operator=(Link&&) = delete;
    Socket& socket() noexcept { return connection_->socket; }
    const HostFacts& host() const noexcept { return pool_->host().facts; }
    // The host broke it before anything came back.
    void failed() noexcept { pool_->count_failure(Outcome::reset, Duration::zero(), Loop::current().now()); }

   private:
    friend class Cluster;
    Link(std::shared_ptr<Pool> pool, std::unique_ptr<http::ClientConnection> connection) noexcept
        : pool_(std::move(pool)), connection_(std::move(connection)) {}
    std::shared_ptr<Pool> pool_;
    std::unique_ptr<http::ClientConnection> connection_;
  };
  // Goes on to other hosts while connects fail. The client's address is the key of hash policies and tells its region;
  // numeric, outlives the wait.
  Task<Result<Link>> connect(std::string_view client_address, Deadline deadline);
  // The host that a datagram of this client belongs to; null: there is none.
  std::shared_ptr<Host> pick_host(std::string_view client_address);

  // For who asks one certain host: the host that a key belongs to (of hash policies, whatever `hash_on` says; null:
  // there is none to ask), or any member. Those that are passed over have nothing: the next in turn has it.
  std::shared_ptr<Host> host_of_key(uint64_t key, std::span<const Host* const> passed_over = {});
  std::shared_ptr<const HostList> hosts();
  // Asks this host and no other. It is counted as every request is; breaker, retries and queues are the caller's
  // matter. unavailable: it is no member any more, or its connections are all in use. As send() otherwise.
  Task<Result<http::Response>> send_to(std::shared_ptr<Host> host, http::Request& request,
                                       http::RequestContext& context);

  // As every request does it first: a core without any would keep hosts that are gone, and their idle connections.
  void follow_hosts() { refresh(); }

  const std::string& name() const noexcept { return hosts_->upstream(); }
  size_t open_connections() const noexcept;
  size_t idle_connections() const noexcept;

 private:
  class Tried;
  struct Race;
  void refresh();
  void rebuild_pools();
  EligibleRules rules() const noexcept {
    return {.zone = config_.zone, .zone_share = config_.zone_share, .panic = config_.panic};
  }
  // What of a client says which host it gets.
  struct Wish {
    uint64_t key = 0;                        // of hash policies
    std::span<const RegionId> regions = {};  // of geo_, the best first
  };
  // Hosts among which the policy chooses (eligible.h), and what this core has under way at them.
  struct Choice {
    std::unique_ptr<Balancer> balancer;
    uint64_t active = 0;
    bool overflows = false;
  };
  // `beside`: while the request is under way elsewhere, which is no reason to ask those who stand behind the others.
  std::shared_ptr<Pool> pick(const Wish& wish, const Tried& tried, bool beside = false);
  struct Found {
    std::shared_ptr<Pool> pool;
    bool some_full = false;  // others would do, but have no room
  };
  Found find_room(const Choice& choice, const Wish& wish, const Tried& tried);
  std::optional<HostId> pick_id(const Choice& choice, const Wish& wish, std::span<const HostId> tried);
  std::optional<HostId> pick_id(const Wish& wish, std::span<const HostId> tried);
  std::shared_ptr<Pool> pick_sticky(const http::Request& request);
  void stick(const http::Request& request, const Pool& pool, http::Response& response, Arena& arena) const;
  Duration pause_before(uint32_t attempt, const Result<http::Response>& answer) const;
  bool may_hedge(const http::Request& request) const noexcept;
  Task<Result<http::Response>> ask_two(std::shared_ptr<Pool>& pool, const Wish& wish, Tried& tried,
                                       http::Request& request, http::RequestContext& context, uint32_t attempts_before);
  uint64_t key_of(const http::Request& request, const http::RequestContext& context);
  Wish wish_of(const http::Request& request, const http::RequestContext& context);
  Wish wish_of(std::string_view client_address);
  void load_changed(HostId host, int by) noexcept override;
  Task<Result<http::Response>> ask(std::shared_ptr<Pool> pool, http::Request& request, http::RequestContext& context,
                                   uint32_t attempts_before);
  Task<Result<http::Response>> try_once(std::shared_ptr<Pool> pool, http::Request& request,
                                        http::RequestContext& context, bool fresh);
  Task<Result<std::unique_ptr<http::ClientConnection>>> open(std::shared_ptr<Pool> pool, Deadline deadline);
  bool may_repeat(const http::Request& request, const Result<http::Response>& answer) const noexcept;
  Task<Result<http::Response>> try_hosts(http::Request& request, http::RequestContext& context);
  // cluster_limits.cc
  Task<Result<http::Response>> send_within_limits(http::Request& request, http::RequestContext& context);
  bool may_retry() noexcept;
  http::Response refuse(http::RequestContext& context, std::string_view code);
  // cluster_explain.cc
  void tell_limits(http::RequestContext& context);
  void tell_pick(http::Explain& explain, const Pool* picked, const Wish& wish, std::span<const HostId> tried,
                 std::string_view why) const;
  void tell_end(http::Explain& explain, const Pool& pool, const Result<http::Response>& answer, Duration took) const;
  void tell_no_retry(http::Explain& explain, uint32_t attempt, const http::Request& request,
                     const Result<http::Response>& answer, Deadline deadline) const;
  std::string score_of(HostId host, Time now) const;
  // cluster_regions.cc
  void watch_regions();
  std::unique_ptr<Balancer> balance_regions(std::vector<BalanceHost> hosts, const BalanceOptions& options,
                                            const std::shared_ptr<const KeyTable>& keys);
  std::span<const RegionId> regions_for(std::string_view client_address, const http::Fields* fields) const;
  void count_region(const Wish& wish, HostId host) noexcept;

  std::shared_ptr<Hosts> hosts_;
  std::shared_ptr<Ejection> ejection_;
  UpstreamConfig config_;
  HashKey hash_key_;
  Metrics& metrics_;
  uint64_t version_ = 0;  // of hosts_, as far as it was seen
  std::shared_ptr<const HostList> list_;
  std::vector<std::shared_ptr<Pool>> pools_;  // by HostId: place in list_
  std::vector<Choice> choices_;               // the first one first; empty: there is nobody to ask
  std::vector<uint32_t> choice_of_;           // by HostId: place in choices_, or their number
  std::vector<std::string> tokens_;           // of sticky clients, by HostId
  std::unordered_map<std::string, HostId, StringHash, std::equal_to<>> host_of_token_;
  // Where clients and hosts are; null: nobody asks.
  std::shared_ptr<const Geo> geo_;
  std::vector<RegionId> region_of_;                       // by HostId
  std::vector<std::array<Counter*, 2>> region_counters_;  // by the client's region: to its own hosts, to others
  Counter& retries_won_;
  Counter& retries_lost_;
  Counter& over_budget_;
  // What holds requests back.
  RetryBudget budget_;
  WaitingQueue waiting_;  // for a connection
  std::shared_ptr<Breaker> breaker_;
  WaitingQueue entering_;  // for a place under the adaptive limit
  std::unique_ptr<AdaptiveLimit> adaptive_;
  Gauge* limit_shown_ = nullptr;  // of adaptive_
};

// trellis_breaker_state; the token removes the gauge.
std::shared_ptr<void> watch_breaker(Metrics& metrics, const std::string& upstream,
                                    std::shared_ptr<const Breaker> breaker);

}  // namespace trellis::upstream
