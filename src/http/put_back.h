// A body of which a piece was read that nobody used: gives the piece, then the rest. One core.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "http/message.h"

namespace trellis::http {

class PutBack final : public BodyReader {
 public:
  // `ended`: the rest has told its end already.
  PutBack(Chunk piece, std::unique_ptr<BodyReader> rest, bool ended = false) noexcept
      : piece_(std::move(piece)), rest_(std::move(rest)), ended_(ended) {}
  Task<Result<Chunk>> read(Deadline deadline) override {
    if (!piece_.empty()) co_return std::exchange(piece_, {});
    if (ended_) co_return Chunk();
    Result<Chunk> more = co_await rest_->read(deadline);
    co_return more;
  }
  std::optional<uint64_t> length() const noexcept override { return rest_->length(); }
  const Fields* trailers() const noexcept override { return rest_->trailers(); }

 private:
  Chunk piece_;
  std::unique_ptr<BodyReader> rest_;
  bool ended_;
};

}  // namespace trellis::http
