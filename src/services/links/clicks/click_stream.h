// Clicks as they come, for whoever watches: server-sent events (the HTML standard, §9.2) at /v1/stream. The worker that
// empties the rings publishes; each watcher has a short queue of its own, and what it is too slow for is left out and
// said. Nobody watching costs a redirect nothing. publish() on the worker's thread, watch() on any core; owned by the
// service.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "services/links/clicks/click.h"

namespace trellis::services::links {

struct LiveClick {
  std::string name;  // of the link (link_name.h)
  Click click;
};

class ClickStream {
 public:
  static constexpr size_t kMostAtOnce = 500;  // clicks of one turn of the worker
  static constexpr size_t kMostWatchers = 100;

  ClickStream();
  ~ClickStream();  // ends all watching

  bool watched() const noexcept { return watched_.load(std::memory_order_relaxed); }
  // `left_out`: clicks beside these.
  void publish(const std::vector<LiveClick>& clicks, size_t left_out);

  // Ends all watching; who comes later is refused. Any core.
  void end();

  // What somebody wants to see: all that is not said.
  struct Wish {
    std::optional<std::string> domain;  // as split_name() gives it
    std::string code;                   // on this domain

    bool all() const noexcept { return !domain && code.empty(); }
    bool fits(std::string_view name) const noexcept;
  };
  // The body of an answer. `default_host`: of links whose names have none. Null: there are too many, or it has ended.
  std::unique_ptr<http::BodyReader> watch(Wish wish, std::string default_host);

 private:
  struct Watcher;
  struct Shared;
  class Reader;

  std::shared_ptr<Shared> shared_;
  std::atomic<bool> watched_{false};
};

}  // namespace trellis::services::links
