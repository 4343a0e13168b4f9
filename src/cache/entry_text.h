// Text of a cached value. It owns its bytes until the value becomes an entry of a CacheSpace; then they lie right
// behind the entry, in the same piece of memory, so that a hit touches one place and not two (a value of 10,000 in use
// is in no near cache, and each place costs a trip). A value that has one says so by `cache::EntryText& text()`.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace trellis::cache {

class EntryText {
 public:
  EntryText() noexcept = default;
  explicit EntryText(std::string_view bytes)
      : own_(bytes.empty() ? nullptr : std::make_unique_for_overwrite<char[]>(bytes.size())),
        data_(own_.get()),
        size_(bytes.size()) {
    if (size_ > 0) std::memcpy(own_.get(), bytes.data(), size_);
  }
  EntryText(EntryText&& other) noexcept
      : own_(std::move(other.own_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  EntryText& operator=(EntryText&& other) noexcept {
    own_ = std::move(other.own_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  std::string_view view() const noexcept { return {data_, size_}; }

  // `to` has room for all of it and lives as long as this.
  void move_to(char* to) noexcept {
    if (size_ > 0) std::memcpy(to, data_, size_);
    data_ = to;
    own_.reset();
  }

 private:
  std::unique_ptr<char[]> own_;
  const char* data_ = nullptr;
  size_t size_ = 0;
};

template <class T>
concept HasEntryText = requires(T& value) { static_cast<EntryText&>(value.text()); };

}  // namespace trellis::cache
