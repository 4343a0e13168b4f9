// A path pattern of the configuration: `/v1/links` (exact), `*` for one whole segment that is not empty, `**` for any
// number of segments, none included; at most one `**`, at the end or in the middle. `/a/**` takes /a, /a/ and /a/b/c.
// Compared with Request.path, so literals are brought to the same normal form when the pattern is read. Immutable; any
// core.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace trellis::proxy {

class PathPattern {
 public:
  enum class Kind : uint8_t { literal, one, rest };
  struct Segment {
    Kind kind;
    std::string text;  // of a literal
    bool operator==(const Segment&) const = default;
  };
  static constexpr size_t kMaxSegments = 64;
  static constexpr size_t kMaxLength = 2048;

  // "" stands for every path, as "/**". The error's text says what is wrong with the pattern.
  static Result<PathPattern> parse(std::string_view text);

  bool matches(std::string_view path) const noexcept;
  const std::vector<Segment>& segments() const noexcept { return segments_; }
  bool operator==(const PathPattern&) const = default;

 private:
  std::vector<Segment> segments_;
};

// Cuts the segment that starts at `at` (behind a '/') and moves `at` behind it and its '/'; past the end it is size()
// + 1.
inline std::string_view cut_segment(std::string_view path, size_t& at) noexcept {
  const size_t slash = path.find('/', at);
  const size_t end = slash == std::string_view::npos ? path.size() : slash;
  const std::string_view segment = path.substr(at, end - at);
  at = end + 1;
  return segment;
}

// Where the last `count` segments of the path begin; npos when it has fewer behind `from`. count 0: size() + 1.
size_t last_segments(std::string_view path, size_t from, size_t count) noexcept;

}  // namespace trellis::proxy
