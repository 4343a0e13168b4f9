// What is wrong with a configuration, and where. Everything that reads one reports here instead of stopping at the
// first fault, so a person sees the whole list at once: `file:line:col: path: reason; hint`. Collected while a
// configuration is loaded, on whichever thread loads it; owned by the caller of load() or parse().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trellis::config {

// A place in a file, 1-based. Line 0: the source has no lines (`--set a.b`, a file that cannot be opened).
struct Mark {
  std::shared_ptr<const std::string> file;
  uint32_t line = 0;
  uint32_t column = 0;  // in characters, not bytes

  std::string to_string() const;  // "edge.yaml:4:9"
};

struct Problem {
  Mark mark;
  std::string path;    // "limits[0].rate"; empty for the whole file
  std::string reason;  // what is wrong; never holds a secret or a value taken from the environment
  std::string hint;    // what may have been meant; may be empty

  std::string to_string() const;
};

class Problems {
 public:
  static constexpr size_t kKept = 1000;  // later ones are only counted
  static constexpr size_t kShown = 100;  // to_string() says how many more there are

  void add(Mark mark, std::string path, std::string reason, std::string hint = {});

  bool empty() const noexcept { return total_ == 0; }
  size_t total() const noexcept { return total_; }
  // Whether something was reported at this path, below it, or at one of its parents' own place.
  bool touches(std::string_view path) const;

  std::vector<Problem> sorted() const;  // by file, line, column; equal places in the order of reporting
  std::string to_string() const;        // one line each, with the newline

 private:
  std::vector<Problem> kept_;
  size_t total_ = 0;
};

// The candidate that was probably meant: at most two edits away (one for short words), or a prefix. Empty if none is
// near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

// `did you mean "burst"?`, or the list of what is allowed when nothing is near.
std::string suggest(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace trellis::config
