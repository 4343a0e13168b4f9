// A body that is kept in memory, in part or as a whole: bytes in blocks, read again after rewind(), and behind them the
// rest of the source where not all of it was taken. What all bodies of a core hold together is counted in one
// HeldMemory, so that a limit can stand; where it does not allow a block the rest streams. One core.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/chunk.h"
#include "http/message.h"

namespace trellis::proxy {

// Bytes that a core's bodies hold. Written by the core, read by metrics.
class HeldMemory {
 public:
  uint64_t used() const noexcept { return used_.load(std::memory_order_relaxed); }
  void add(uint64_t bytes) noexcept { used_.store(used() + bytes, std::memory_order_relaxed); }
  void give_back(uint64_t bytes) noexcept { used_.store(used() - bytes, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> used_{0};
};

class HeldBytes {
 public:
  static constexpr size_t kBlock = 16 << 10;

  // `max_memory`: what HeldMemory may come to. `expected`: of the whole body, where it is known.
  HeldBytes(std::shared_ptr<HeldMemory> memory, uint64_t max_memory, std::optional<uint64_t> expected) noexcept
      : memory_(std::move(memory)), max_memory_(max_memory), expected_(expected) {}
  HeldBytes(const HeldBytes&) = delete;
  HeldBytes& operator=(const HeldBytes&) = delete;
  ~HeldBytes() { memory_->give_back(charged_); }

  // False, with nothing taken: there is no memory for it.
  bool append(std::string_view bytes);
  // No more comes. Before the first read.
  void seal();
  uint64_t size() const noexcept { return size_; }

  // After seal(): the next block, empty at the end.
  Chunk next() noexcept;
  // False once let_go() was called.
  bool rewind() noexcept;
  bool kept() const noexcept { return kept_; }
  // Nobody will want to rewind: what was read is freed, and from now on what is read.
  void let_go() noexcept;

 private:
  struct Block {
    Chunk bytes;
    size_t charge;
  };
  void open_block();
  void free_read() noexcept;

  std::shared_ptr<HeldMemory> memory_;
  uint64_t max_memory_;
  std::optional<uint64_t> expected_;
  std::string open_;      // the block that is being filled
  size_t open_size_ = 0;  // what it will hold
  std::vector<Block> blocks_;
  uint64_t size_ = 0;
  uint64_t charged_ = 0;
  size_t at_ = 0;     // the block that is read next
  size_t freed_ = 0;  // blocks before it are gone
  bool kept_ = true;
};

class HeldBody final : public http::BodyReader {
 public:
  // `source`: what the bytes were read from. `whole`: all of it was read.
  HeldBody(std::shared_ptr<HeldBytes> bytes, std::unique_ptr<http::BodyReader> source, bool whole) noexcept;
  Task<Result<Chunk>> read(Deadline deadline) override;
  std::optional<uint64_t> length() const noexcept override;
  const http::Fields* trailers() const noexcept override { return source_->trailers(); }
  bool can_rewind() const noexcept override { return !rest_begun_ && bytes_->kept(); }
  bool rewind() noexcept override;

 private:
  std::shared_ptr<HeldBytes> bytes_;
  std::unique_ptr<http::BodyReader> source_;
  bool whole_;
  bool rest_begun_ = false;
};

}  // namespace trellis::proxy
