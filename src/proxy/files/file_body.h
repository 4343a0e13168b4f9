// Bodies read from an open file in the blocking pool: a slice, and several slices as multipart/byteranges. For answers
// that the connection cannot hand to the kernel as they are; a plain slice goes out as http::FileSlice without passing
// through here. A file that became shorter ends the body with data_loss, so that the client never takes half an answer
// for a whole one. One core.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "http/ranges.h"

namespace trellis::proxy {

class FileBody final : public http::BodyReader {
 public:
  static constexpr size_t kPiece = 64 << 10;

  explicit FileBody(http::FileSlice slice) noexcept : slice_(std::move(slice)), length_(slice_.size) {}
  Task<Result<Chunk>> read(Deadline deadline) override;
  std::optional<uint64_t> length() const noexcept override { return length_; }

 private:
  http::FileSlice slice_;  // what is left
  uint64_t length_;
};

// multipart/byteranges (RFC 9110 §14.6). The bytes come from `content` if it holds the whole representation, else from
// the file.
class MultipartBody final : public http::BodyReader {
 public:
  MultipartBody(http::FileSlice file, Chunk content, std::vector<http::ByteRange> ranges, std::string_view content_type,
                std::string boundary, uint64_t total_size);
  Task<Result<Chunk>> read(Deadline deadline) override;
  std::optional<uint64_t> length() const noexcept override { return length_; }

 private:
  http::FileSlice file_;
  Chunk content_;
  std::vector<http::ByteRange> ranges_;
  std::vector<std::string> heads_;
  std::string tail_;
  uint64_t length_ = 0;
  size_t part_ = 0;
  bool head_sent_ = false;
};

}  // namespace trellis::proxy
