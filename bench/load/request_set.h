// The requests as bytes, made once, and the order in which a worker takes them. The set is shared by all threads and
// constant; a Picker is a worker's own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "load/options.h"

namespace trellis::load {

class RequestSet {
 public:
  explicit RequestSet(const Options& options);

  size_t size() const noexcept { return ends_.size() - 1; }
  std::string_view operator[](size_t i) const noexcept {
    return {bytes_.data() + ends_[i], static_cast<size_t>(ends_[i + 1] - ends_[i])};
  }
  // --echo: the frame that an upgraded connection sends, and how many bytes the one that comes back has.
  std::string_view message() const noexcept { return message_; }
  size_t message_back() const noexcept { return message_.size() - kMask; }

 private:
  static constexpr size_t kMask = 4;  // what a client's frame is longer by

  std::string bytes_;
  std::vector<uint64_t> ends_{0};
  std::string message_;
};

class Picker {
 public:
  // With a skew, paths are drawn beforehand (a quarter of a million of them, then the same again): drawing costs
  // nothing later.
  Picker(const Options& options, size_t paths, unsigned worker);

  size_t next() noexcept {
    if (drawn_.empty()) {
      size_t i = at_;
      at_ = at_ + 1 == paths_ ? 0 : at_ + 1;
      return i;
    }
    size_t i = drawn_[at_];
    at_ = at_ + 1 == drawn_.size() ? 0 : at_ + 1;
    return i;
  }

 private:
  size_t paths_;
  size_t at_ = 0;
  std::vector<uint32_t> drawn_;
};

}  // namespace trellis::load
