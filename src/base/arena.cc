#include "base/arena.h"

#include <new>

namespace trellis {
inline namespace base {

namespace {
constexpr size_t kPooled = 64;  // blocks kept a thread
struct BlockPool {
  void* blocks[kPooled];
  size_t count = 0;
  ~BlockPool() {
    while (count > 0) ::operator delete(blocks[--count]);
  }
};
thread_local BlockPool pool;
}  // namespace

char* Arena::alloc_slow(size_t size, size_t align) {
  size_t bytes = kBlock;
  void* memory = nullptr;
  if (size + align + sizeof(Block) > kBlock) {
    bytes = size + align + sizeof(Block);
    memory = ::operator new(bytes);
  } else if (pool.count > 0) {
    memory = pool.blocks[--pool.count];
  } else {
    memory = ::operator new(kBlock);
  }
  auto* block = static_cast<Block*>(memory);
  block->next = blocks_;
  block->size = bytes;
  blocks_ = block;
  total_ += bytes;
  auto* start = reinterpret_cast<char*>(block);
  size_t at = (sizeof(Block) + align - 1) & ~(align - 1);
  // A large piece gets a block of its own, and the current one stays in use.
  if (bytes == kBlock || capacity_ == 0) {
    base_ = start;
    capacity_ = bytes;
    used_ = at + size;
  }
  return start + at;
}

std::string_view Arena::concat(std::initializer_list<std::string_view> parts) {
  size_t size = 0;
  for (std::string_view part : parts) size += part.size();
  if (size == 0) return {};
  char* to = alloc(size);
  char* at = to;
  for (std::string_view part : parts) {
    if (part.empty()) continue;  // its data() may be null
    std::memcpy(at, part.data(), part.size());
    at += part.size();
  }
  return {to, size};
}

void Arena::reset() noexcept {
  while (blocks_) {
    Block* next = blocks_->next;
    if (blocks_->size == kBlock && pool.count < kPooled) {
      pool.blocks[pool.count++] = blocks_;
    } else {
      ::operator delete(blocks_);
    }
    blocks_ = next;
  }
  base_ = nullptr;
  used_ = capacity_ = total_ = 0;
}

}  // namespace base
}  // namespace trellis
