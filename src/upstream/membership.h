// Who the hosts of an upstream are: gathers them from every source and gives the merged list to Hosts, which all cores
// share. Sources, first in the configuration first: addresses, names (A and AAAA), services (SRV), files, and hosts
// added at run time; what the control API took away, drained or weighed anew is laid over them (host_changes.h).
//
//   a name, a service   looked up at the start, again when its answer's time is over (bounded by kMinRefresh and
//                       kMaxRefresh; `refresh` instead of it), after a failure in 1 s, 2 s, ... 30 s; all a tenth later
//                       at most, by chance, so that nodes do not go in step
//   a file              looked at each second, read when it changed
//
// The last good answer stays however long the servers fail, and however long the file is missing or wrong; only a name
// that the servers say does not exist, for kGoneAfter, loses its hosts. Trouble and its end are logged once each.
// One an upstream and configuration, used and destroyed on core 0 (make() sees to the last). A reload begins the next
// one beside it, lets it ask, and only then publishes it; the one before is stopped. Nobody must wait for the first
// answers: without hosts the upstream answers 503. Who would rather wait a little asks first_answers().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "runtime/task.h"
#include "upstream/config.h"
#include "upstream/host_changes.h"
#include "upstream/hosts.h"

namespace trellis {
inline namespace runtime {
class Event;
class Loop;
}  // namespace runtime
namespace net {
class Lookups;
struct DnsAnswer;
}  // namespace net
}  // namespace trellis

namespace trellis::upstream {

inline constexpr Duration kMinRefresh = std::chrono::seconds(1);
inline constexpr Duration kMaxRefresh = std::chrono::hours(1);
inline constexpr Duration kFirstBackoff = std::chrono::seconds(1);
inline constexpr Duration kMaxBackoff = std::chrono::seconds(30);
inline constexpr Duration kGoneAfter = std::chrono::seconds(30);
inline constexpr Duration kLookupTime = std::chrono::seconds(8);  // of one lookup; the servers' time-outs come before
inline constexpr Duration kFileLook = std::chrono::seconds(1);

class Membership {
 public:
  // Nothing happens before begin(). `lookups` outlives it.
  Membership(std::shared_ptr<Hosts> hosts, std::vector<HostConfig> configured, HostChanges changes,
             std::shared_ptr<net::Lookups> lookups);
  ~Membership();
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

  // A new one that is destroyed on `home` (core 0), whoever lets go of it last. Any thread.
  static std::shared_ptr<Membership> make(Loop& home, std::shared_ptr<Hosts> hosts, std::vector<HostConfig> configured,
                                          HostChanges changes, std::shared_ptr<net::Lookups> lookups);

  // Begins to ask the sources. `before`: whose answers hold until there are new ones; may be null.
  void begin(const Membership* before);
  // Until every source was asked once, or the deadline.
  Task<> first_answers(Deadline deadline);
  // From now on Hosts has what is found here. `joined`: of the hosts that come by it, as in Hosts::set_members().
  void publish(Time joined);
  // Asks and publishes no more.
  void stop();

  Hosts& hosts() noexcept { return *hosts_; }
  const HostChanges& changes() const noexcept { return changes_; }
  // Takes effect at once where it is published.
  void set_changes(HostChanges changes);
  std::vector<HostFacts> members() const { return members_; }

  // For people: a name, a service or a file, and how it does.
  struct SourceState {
    std::string kind;  // dns, srv, file
    std::string text;
    size_t hosts = 0;
    std::string trouble;           // "": its last answer was good
    std::optional<Duration> next;  // until it is asked again; none: it is being asked
  };
  std::vector<SourceState> sources() const;

 private:
  struct Source;

  static std::unique_ptr<Source> make_source(const HostConfig& config, HostOrigin origin);
  static std::unique_ptr<Source> make_source(const AddedHost& added);
  void watch(Source& source);
  Task<> watch_name(Source& source);
  Task<> watch_file(Source& source);
  void take_answer(Source& source, Result<net::DnsAnswer> answer);
  void was_asked();
  void note_trouble(Source& source, std::string why);
  void note_good(Source& source);
  void found_more();
  void apply(Time joined);

  std::shared_ptr<Hosts> hosts_;
  HostChanges changes_;
  std::shared_ptr<net::Lookups> lookups_;
  std::vector<HostFacts> members_;  // as given to hosts_
  bool publishing_ = false;
  bool applied_ = false;
  bool too_many_ = false;  // said already
  std::unique_ptr<Event> all_asked_;
  std::vector<std::unique_ptr<Source>> sources_;
};

// The hosts of one answer about services: weights in proportion among those of one priority. Exposed for its tests.
struct ServiceShare {
  uint32_t weight = 1;
  uint32_t place = 0;  // of its priority among theirs; 0: the first
};
std::vector<ServiceShare> shares_of_services(const std::vector<std::pair<uint16_t, uint16_t>>& priority_and_weight,
                                             const std::vector<size_t>& addresses_of_target);

}  // namespace trellis::upstream
