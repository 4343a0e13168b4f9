// Parts of a representation (RFC 9110 §14.4, §15.3.7; RFC 9111 §3.3, §3.4): what a 206 holds, whether two answers are
// parts of one thing, and which bytes are there. Pure; any core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "http/ranges.h"

namespace trellis::cache {

// "bytes 0-499/1234", "bytes 0-499/*".
struct ContentRange {
  http::ByteRange range;
  std::optional<uint64_t> size;  // of the whole; nullopt: "*"
  bool operator==(const ContentRange&) const = default;
};
// nullopt: another unit, "bytes */1234" (of a 416), numbers beyond 2^63, last before first or at the size and beyond.
std::optional<ContentRange> parse_content_range(std::string_view text) noexcept;
// "bytes 0-499/1234".
std::string_view content_range_text(const ContentRange& range, Arena& arena);

// What a 206 holds, if it may be kept: one part (no multipart/byteranges) of a known whole, and a body of as many bytes
// where the length is known.
std::optional<ContentRange> storable_part(const http::Response& response) noexcept;

// May two answers be put together (RFC 9110 §15.3.7.3)? Only by a strong validator that both have: the same strong
// ETag, else the same Last-Modified that is older than both Dates by a minute, so that it is a strong one (§8.8.2.2).
bool may_combine(const http::Fields& stored, const http::Fields& newer, int64_t now) noexcept;

// Which bytes of a representation are there: sorted ranges that do not touch.
class Parts {
 public:
  static constexpr size_t kMax = 256;  // ranges; beyond it a new one that touches none is not taken

  // False: it was not taken.
  bool add(http::ByteRange range);
  bool covers(http::ByteRange range) const noexcept;
  // The gaps in `range`, in order.
  std::vector<http::ByteRange> missing(http::ByteRange range) const;
  const std::vector<http::ByteRange>& ranges() const noexcept { return ranges_; }
  uint64_t bytes() const noexcept;

 private:
  std::vector<http::ByteRange> ranges_;
};

}  // namespace trellis::cache
