// Passive ejection: hosts are put out for a while by what they answer to real requests, without a check of their own.
// The cluster of each core records every outcome; the errors in a row are counted over all cores and eject at once.
// What is seen only over an interval (share of errors, slowness) is judged by host_watch.h, which ejects here, too. How
// long a host is out and how many at most is of Hosts. One an upstream, beside its Hosts; any core.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "upstream/health/config.h"
#include "upstream/health/outliers.h"

namespace trellis::upstream {

class Host;
class Hosts;

// How one try at a host ended. What the client did (it left, its body was wrong) is none of these: it is not recorded.
enum class Outcome : uint8_t {
  ok,
  error_5xx,
  connect,  // no connection
  reset,    // the connection broke, or what came was no answer
  timeout,  // no answer in time
  outrun,   // no answer after hedge_after, where another host had one within that
};
std::string_view to_string(Outcome outcome) noexcept;
constexpr bool is_error(Outcome outcome) noexcept { return outcome != Outcome::ok; }
// 5xx are errors of the host but for 501 and 505: these say that it will never do what the client asked, so any client
// could have a host put out by asking for it.
constexpr Outcome outcome_of(int status) noexcept {
  return status >= 500 && status != 501 && status != 505 ? Outcome::error_5xx : Outcome::ok;
}

// Of a try that brought no answer.
Outcome outcome_of(const Error& error) noexcept;

class Ejection {
 public:
  Ejection(std::shared_ptr<Hosts> hosts, const EjectConfig& config);

  const EjectConfig& config() const noexcept { return config_; }
  // After each try. A good one costs a load.
  void record(Host& host, Outcome outcome, Time now);
  // False: it is out already, or too many are.
  bool eject(Host& host, EjectReason reason, std::string_view why, Time now);

 private:
  std::shared_ptr<Hosts> hosts_;
  EjectConfig config_;
};

}  // namespace trellis::upstream
