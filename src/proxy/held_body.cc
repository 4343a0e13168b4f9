#include "proxy/held_body.h"

#include <algorithm>
#include <utility>

namespace trellis::proxy {

void HeldBytes::open_block() {
  seal();
  open_size_ = kBlock;
  if (expected_ && *expected_ > size_) open_size_ = static_cast<size_t>(std::min<uint64_t>(*expected_ - size_, kBlock));
  open_.reserve(open_size_);
  charged_ += open_size_;
  memory_->add(open_size_);
}

bool HeldBytes::append(std::string_view bytes) {
  const size_t room = open_size_ - open_.size();
  const size_t beyond = bytes.size() - std::min(room, bytes.size());
  if (beyond > 0 && memory_->used() + (beyond + kBlock - 1) / kBlock * kBlock > max_memory_) return false;
  while (!bytes.empty()) {
    if (open_.size() == open_size_) open_block();
    const size_t part = std::min(open_size_ - open_.size(), bytes.size());
    open_.append(bytes.substr(0, part));
    size_ += part;
    bytes.remove_prefix(part);
  }
  return true;
}

void HeldBytes::seal() {
  if (!open_.empty()) blocks_.push_back({Chunk::from_string(std::exchange(open_, {})), open_size_});
  open_size_ = 0;
}

Chunk HeldBytes::next() noexcept {
  if (at_ == blocks_.size()) return {};
  Chunk bytes = blocks_[at_++].bytes;
  if (!kept_) free_read();
  return bytes;
}

bool HeldBytes::rewind() noexcept {
  if (!kept_) return false;
  at_ = 0;
  return true;
}

void HeldBytes::let_go() noexcept {
  kept_ = false;
  free_read();
}

void HeldBytes::free_read() noexcept {
  for (; freed_ < at_; ++freed_) {
    blocks_[freed_].bytes = Chunk();
    charged_ -= blocks_[freed_].charge;
    memory_->give_back(blocks_[freed_].charge);
  }
}

HeldBody::HeldBody(std::shared_ptr<HeldBytes> bytes, std::unique_ptr<http::BodyReader> source, bool whole) noexcept
    : bytes_(std::move(bytes)), source_(std::move(source)), whole_(whole) {
  bytes_->seal();
}

Task<Result<Chunk>> HeldBody::read(Deadline deadline) {
  if (Chunk block = bytes_->next(); !block.empty()) co_return block;
  if (whole_) co_return Chunk();
  rest_begun_ = true;
  Result<Chunk> more = co_await source_->read(deadline);
  co_return more;
}

std::optional<uint64_t> HeldBody::length() const noexcept {
  // A length has no room for a trailer section behind it.
  if (whole_ && !source_->trailers()) return bytes_->size();
  return source_->length();
}

bool HeldBody::rewind() noexcept { return !rest_begun_ && bytes_->rewind(); }

}  // namespace trellis::proxy
