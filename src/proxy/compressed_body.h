// A body encoded while it is pulled. A stream is flushed behind every chunk it gives, so that what the origin sent
// arrives without waiting for more; bytes in memory and files are taken in slices with a turn of the loop between them,
// so that a large body holds up nobody. Holds one chunk of the source and one of output. One core.
#pragma once

#include <memory>

#include "http/message.h"
#include "proxy/encoder.h"

namespace trellis::proxy {

class CompressedBody final : public http::BodyReader {
 public:
  static constexpr size_t kSlice = 32 << 10;

  CompressedBody(http::Body body, std::unique_ptr<Encoder> encoder);
  Task<Result<Chunk>> read(Deadline deadline) override;
  std::optional<uint64_t> length() const noexcept override { return std::nullopt; }
  const http::Fields* trailers() const noexcept override { return source_ ? source_->trailers() : nullptr; }

 private:
  std::unique_ptr<http::BodyReader> source_;  // null: all there is lies in pending_
  Chunk pending_;
  std::unique_ptr<Encoder> encoder_;
  bool flush_ = false;   // the source is live
  bool worked_ = false;  // since the loop had its last turn
  bool finished_ = false;
};

}  // namespace trellis::proxy
