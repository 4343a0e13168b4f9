#include "http/multipart.h"

#include "base/ids.h"

namespace trellis::http {

MultipartText multipart_text(std::span<const ByteRange> ranges, std::string_view content_type,
                             std::string_view boundary, uint64_t total_size) {
  MultipartText text;
  for (const ByteRange& range : ranges) {
    std::string head = "\r\n--";
    head += boundary;
    if (!content_type.empty()) {
      head += "\r\nContent-Type: ";
      head += content_type;
    }
    head += "\r\nContent-Range: bytes " + std::to_string(range.first) + "-" + std::to_string(range.last) + "/" +
            std::to_string(total_size) + "\r\n\r\n";
    text.length += head.size() + range.size();
    text.heads.push_back(std::move(head));
  }
  text.tail = "\r\n--";
  text.tail += boundary;
  text.tail += "--\r\n";
  text.length += text.tail.size();
  return text;
}

std::string multipart_boundary(Rng& rng) {
  std::string boundary(32, '0');
  write_hex64(boundary.data(), rng.next());
  write_hex64(boundary.data() + 16, rng.next());
  return boundary;
}

}  // namespace trellis::http
