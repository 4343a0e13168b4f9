// The bytes of a stored answer, or of a part of one: written by one fill from front to end, and read by any number of
// coroutines on all cores while it grows and afterwards. A reader waits for nobody but the fill: it reads what is there
// and is woken when there is more. Shared through std::shared_ptr; bytes stay where they are as long as it lives.
//
// A body that turns out to be too large to be stored passes from then on: what all its readers have had is let go, and
// the fill waits for them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/chunk.h"
#include "base/error.h"
#include "base/time.h"
#include "cache/flight.h"
#include "cache/shard_lock.h"
#include "runtime/task.h"

namespace trellis::cache {

class ObjectBody {
 public:
  enum class State : uint8_t { growing, whole, broken };

  // Bytes of all bodies of a cache that are alive: stored, growing, or on their way to somebody.
  using Bytes = std::atomic<uint64_t>;

  // `expected`: bytes, where that is known. Such a body is whole only with as many, and takes no more; all of them
  // count in `bytes` from the start, so that what is allowed to begin may end.
  explicit ObjectBody(std::optional<uint64_t> expected, std::shared_ptr<Bytes> bytes = nullptr);
  ~ObjectBody();
  ObjectBody(const ObjectBody&) = delete;
  ObjectBody& operator=(const ObjectBody&) = delete;

  // The fill's part, on one core. False: more than was expected.
  bool append(std::string_view bytes);
  void finish();  // whole, or broken where bytes are missing
  void give_up();

  // Any thread.
  State state() const noexcept { return state_.load(std::memory_order_acquire); }
  uint64_t size() const noexcept { return size_.load(std::memory_order_acquire); }  // bytes that are there
  std::optional<uint64_t> expected() const noexcept;                                // of a whole one its size
  // The bytes at `position` that lie together; empty: none are there. Not of a body that passes.
  std::string_view at(uint64_t position) const noexcept;
  // What it has, or will have where its size is known, with its other codings.
  size_t memory() const noexcept {
    return memory_.load(std::memory_order_relaxed) + forms_memory_.load(std::memory_order_relaxed);
  }
  // Once whole: all of it, in order.
  std::vector<std::string_view> pieces() const;

  // The same bytes in another content coding, made from a whole body by whoever needed it first.
  std::shared_ptr<ObjectBody> form(std::string_view coding) const;
  bool begin_form(std::string_view coding);                                  // false: it is there, or somebody makes it
  void end_form(std::string_view coding, std::shared_ptr<ObjectBody> made);  // null: it was given up

  // One who reads from front to end. Belongs to one core.
  class Reader {
   public:
    Reader(std::shared_ptr<ObjectBody> body, uint64_t position);
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    ~Reader();
    uint64_t position() const noexcept { return position_; }
    // Bytes from the position on, which moves behind them; they live as long as the chunk. Empty: there are none, and
    // there will be none. deadline_exceeded; data_loss: the body broke, or passed before this reader came.
    Task<Result<Chunk>> read(size_t most, Deadline deadline);

   private:
    friend class ObjectBody;
    std::shared_ptr<ObjectBody> body_;
    uint64_t position_;  // others read it under the body's lock
    bool listed_;        // the fill may wait for it
  };

  // True once nothing more will come, or false at the deadline.
  Task<bool> wait_for_end(Deadline deadline);

  // The fill's part: from now on the body passes. Then it waits before each piece, until no reader is more than
  // `window` behind. False: nobody reads any more, or the deadline came first.
  void pass() noexcept;
  bool passing() const noexcept { return passing_.load(std::memory_order_acquire); }
  Task<bool> wait_for_readers(uint64_t window, Deadline deadline);

 private:
  struct Block {
    std::shared_ptr<char[]> bytes;
    uint64_t begin = 0;
    size_t room = 0;
  };
  class Hold;
  const Block& block_of(uint64_t position) const noexcept;
  Chunk take(uint64_t position, size_t most) const;
  Task<bool> wait_for(uint64_t position, Deadline deadline);
  void wake();
  void move(Reader& reader, uint64_t position) noexcept;
  void took(size_t bytes) noexcept;
  void let_go(size_t bytes) noexcept;

  const std::optional<uint64_t> expected_;
  const std::shared_ptr<Bytes> bytes_;  // null: nobody counts
  std::atomic<State> state_{State::growing};
  std::atomic<uint64_t> size_{0};
  std::atomic<size_t> memory_{0};  // without the forms, which count themselves
  std::atomic<size_t> forms_memory_{0};
  // WHY a lock: readers on other cores look for their block while the fill adds one, and wait for the next bytes.
  mutable ShardLock lock_;
  std::vector<Block> blocks_;        // fixed once whole, and read without the lock then
  std::shared_ptr<Flight> changed_;  // null: nobody waits
  std::atomic<bool> passing_{false};
  std::vector<Reader*> readers_;                                            // of a growing body
  std::shared_ptr<Flight> moved_;                                           // null: the fill does not wait
  std::vector<std::pair<std::string, std::shared_ptr<ObjectBody>>> forms_;  // by coding; null: is being made
};

}  // namespace trellis::cache
