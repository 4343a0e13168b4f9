// A pipe in the kernel through which bytes go from one connection to another without being copied to this process and
// back (splice(2)). Large pieces cost less that way, small ones more. The sockets' owner keeps hands off the one that
// is read (Socket::try_hands_off). A loop keeps a few empty pipes for the next ones. On the loop's thread only.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <utility>

namespace trellis {
inline namespace runtime {

class Socket;

class SplicePipe {
 public:
  // None: there are no more descriptors, or 64 are in use on this loop.
  static std::optional<SplicePipe> take() noexcept;
  SplicePipe(SplicePipe&& other) noexcept
      : read_(std::exchange(other.read_, -1)), write_(other.write_), held_(other.held_) {}
  SplicePipe& operator=(SplicePipe&&) = delete;
  ~SplicePipe();

  // What is there, as far as it fits: bytes, 0 at the end of the stream, -errno (-EAGAIN: nothing is there now;
  // -EINVAL: this socket cannot). The pipe must be empty.
  ssize_t fill(Socket& from) noexcept;
  // Bytes, or -errno (-EAGAIN: no room now).
  ssize_t empty_into(Socket& to) noexcept;
  size_t held() const noexcept { return held_; }

 private:
  SplicePipe(int read, int write) noexcept : read_(read), write_(write) {}
  int read_;
  int write_;
  size_t held_ = 0;
};

}  // namespace runtime
}  // namespace trellis
