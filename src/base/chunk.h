// A run of received or produced bytes with shared ownership: a slice of a loop's receive buffer, of heap memory or of
// static text. Copying and slicing never copy bytes. The count is not atomic: a Chunk stays on the core that made it. A
// chunk of a receive buffer must not be kept for long (it pins the buffer): whoever keeps bytes copies them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace trellis {
inline namespace base {

// Owner of memory that chunks point into. release() is called when the last one goes.
class ChunkOwner {
 public:
  void acquire() noexcept { ++count_; }
  void drop() noexcept {
    if (--count_ == 0) release();
  }
  uint32_t count() const noexcept { return count_; }

 protected:
  virtual ~ChunkOwner() = default;
  virtual void release() noexcept = 0;

 private:
  uint32_t count_ = 0;
};

class Chunk {
 public:
  Chunk() noexcept = default;
  Chunk(ChunkOwner* owner, const char* data, size_t size) noexcept : data_(data), size_(size), owner_(owner) {
    if (owner_) owner_->acquire();
  }
  Chunk(const Chunk& other) noexcept : Chunk(other.owner_, other.data_, other.size_) {}
  Chunk(Chunk&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        owner_(std::exchange(other.owner_, nullptr)) {}
  Chunk& operator=(Chunk other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(owner_, other.owner_);
    return *this;
  }
  ~Chunk() {
    if (owner_) owner_->drop();
  }

  static Chunk copy_of(std::string_view bytes);
  static Chunk from_string(std::string bytes);  // takes the string over, no copy
  static Chunk of_static(std::string_view bytes) noexcept { return Chunk(nullptr, bytes.data(), bytes.size()); }

  const char* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  std::string_view view() const noexcept { return {data_, size_}; }

  Chunk slice(size_t from, size_t count) const noexcept { return Chunk(owner_, data_ + from, count); }
  void drop_front(size_t count) noexcept {
    data_ += count;
    size_ -= count;
  }

 private:
  const char* data_ = nullptr;
  size_t size_ = 0;
  ChunkOwner* owner_ = nullptr;
};

}  // namespace base
}  // namespace trellis
