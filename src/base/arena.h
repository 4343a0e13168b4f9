// Memory of one exchange (a request and its answer): bump allocation, freed all at once. Blocks come from a pool per
// thread, so a busy connection costs no malloc and an idle one holds nothing. Strings placed here live until reset().
// One core only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string_view>

namespace trellis {
inline namespace base {

class Arena {
 public:
  static constexpr size_t kBlock = 4096;  // the usual exchange fits in one

  Arena() noexcept = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { reset(); }

  char* alloc(size_t size, size_t align = 1) {
    const size_t at = (used_ + align - 1) & ~(align - 1);
    if (at + size > capacity_) [[unlikely]]
      return alloc_slow(size, align);
    used_ = at + size;
    return base_ + at;
  }
  template <class T>
  T* alloc_array(size_t count) {
    return reinterpret_cast<T*>(alloc(count * sizeof(T), alignof(T)));
  }
  std::string_view copy(std::string_view text) {
    if (text.empty()) return {};
    char* to = alloc(text.size());
    std::memcpy(to, text.data(), text.size());
    return {to, text.size()};
  }
  std::string_view concat(std::initializer_list<std::string_view> parts);

  // Gives back everything; what was allocated is gone.
  void reset() noexcept;
  size_t total() const noexcept { return total_; }  // bytes held, for limits and metrics

 private:
  struct Block {
    Block* next;
    size_t size;
  };
  char* alloc_slow(size_t size, size_t align);

  char* base_ = nullptr;
  size_t used_ = 0;
  size_t capacity_ = 0;
  Block* blocks_ = nullptr;
  size_t total_ = 0;
};

}  // namespace base
}  // namespace trellis
