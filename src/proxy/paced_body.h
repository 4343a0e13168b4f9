// A body that comes no faster than a rate: for injected faults, where a slow network is wanted. Holds one piece of the
// source, as a copy where it lasts longer than a slice. One core.
#pragma once

#include <memory>

#include "http/message.h"
#include "proxy/fault_plan.h"

namespace trellis::proxy {

class PacedBody final : public http::BodyReader {
 public:
  // Bytes a second, above 0.
  PacedBody(http::Body body, uint64_t rate);
  Task<Result<Chunk>> read(Deadline deadline) override;
  std::optional<uint64_t> length() const noexcept override { return length_; }
  const http::Fields* trailers() const noexcept override { return source_ ? source_->trailers() : nullptr; }

 private:
  std::unique_ptr<http::BodyReader> source_;  // null: all there is lies in pending_
  Chunk pending_;
  std::optional<uint64_t> length_;
  Pace pace_;
};

}  // namespace trellis::proxy
