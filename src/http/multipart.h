// The text around the parts of a multipart/byteranges body (RFC 9110 §14.6). Pure; any core.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "http/ranges.h"

namespace trellis::http {

struct MultipartText {
  std::vector<std::string> heads;  // before each range
  std::string tail;
  uint64_t length = 0;  // of the whole body, ranges included
};

MultipartText multipart_text(std::span<const ByteRange> ranges, std::string_view content_type,
                             std::string_view boundary, uint64_t total_size);

// 32 hexadecimal digits, which no body can guess.
std::string multipart_boundary(Rng& rng);

}  // namespace trellis::http
