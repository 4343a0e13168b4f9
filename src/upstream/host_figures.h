// What is counted at one host, by all cores: connections, answers and their times, checks, ejections. The series are in
// the registry while a host of that name is in use by anybody: one that left its upstream takes them along when the
// last request at it has ended. Else a name whose addresses change would fill the registry over the weeks. Owned by its
// Host; any core.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace trellis {
inline namespace base {
class Counter;
class Histogram;
class Metrics;
}  // namespace base
}  // namespace trellis

namespace trellis::upstream {

class HostFigures {
 public:
  // `metrics` outlives it.
  HostFigures(Metrics& metrics, std::string upstream, std::string host);
  HostFigures(const HostFigures&) = delete;
  HostFigures& operator=(const HostFigures&) = delete;

  // Each takes a lock: whoever counts often keeps what it got.
  Counter& connections(std::string_view event);  // opened, closed, parked (kept idle), taken (from the idle ones)
  Counter& answers(std::string_view code);       // "none": there was none
  Counter& checks(std::string_view outcome);
  Counter& ejections(std::string_view reason);
  Histogram& seconds();  // to the head of the answer

 private:
  Counter& counter(std::string_view name, std::string_view help, const char* label, std::string_view value);

  Metrics& metrics_;
  std::string upstream_;
  std::string host_;
  std::mutex mutex_;
  std::map<std::pair<std::string_view, std::string>, std::shared_ptr<Counter>> counters_;  // by name and value
  std::shared_ptr<Histogram> seconds_;
};

}  // namespace trellis::upstream
