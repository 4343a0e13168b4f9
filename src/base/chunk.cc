#include "base/chunk.h"

#include <cstring>
#include <new>

namespace trellis {
inline namespace base {

namespace {
// The bytes stand right behind the owner: one allocation.
class HeapBytes final : public ChunkOwner {
 public:
  static HeapBytes* make(size_t size) { return new (::operator new(sizeof(HeapBytes) + size)) HeapBytes; }
  char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }

 private:
  void release() noexcept override {
    this->~HeapBytes();
    ::operator delete(this);
  }
};

class StringBytes final : public ChunkOwner {
 public:
  explicit StringBytes(std::string text) : text_(std::move(text)) {}
  const std::string& text() const noexcept { return text_; }

 private:
  void release() noexcept override { delete this; }
  std::string text_;
};
}  // namespace

Chunk Chunk::copy_of(std::string_view bytes) {
  if (bytes.empty()) return {};
  HeapBytes* owner = HeapBytes::make(bytes.size());
  std::memcpy(owner->bytes(), bytes.data(), bytes.size());
  return Chunk(owner, owner->bytes(), bytes.size());
}

Chunk Chunk::from_string(std::string bytes) {
  if (bytes.empty()) return {};
  auto* owner = new StringBytes(std::move(bytes));
  return Chunk(owner, owner->text().data(), owner->text().size());
}

}  // namespace base
}  // namespace trellis
