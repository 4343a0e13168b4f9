#include "runtime/splice.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "runtime/loop.h"
#include "runtime/socket.h"

namespace trellis {
inline namespace runtime {

namespace {

constexpr size_t kPipeSize = 256 * 1024;
constexpr size_t kSpare = 16;  // pipes that a loop keeps
// Of one loop at once. A user's share of pipe memory is 64 MiB (fs.pipe-user-pages-soft); beyond it pipes shrink to two
// pages, and copying costs less.
constexpr size_t kInUse = 64;

struct Ends {
  int read;
  int write;
};
struct Spare {
  std::vector<Ends> pipes;
  ~Spare() {
    for (const Ends& ends : pipes) {
      ::close(ends.read);
      ::close(ends.write);
    }
  }
};
thread_local Spare spare;
thread_local size_t in_use = 0;

// WHY: io_uring wants blocking descriptors, splice(2) here must not block, and for a socket only the descriptor's own
// flag says so.
class NotBlocking {
 public:
  explicit NotBlocking(int fd) noexcept : fd_(Loop::current().io().wants_nonblocking() ? -1 : fd) {
    if (fd_ < 0) return;
    flags_ = ::fcntl(fd_, F_GETFL);
    ::fcntl(fd_, F_SETFL, flags_ | O_NONBLOCK);
  }
  ~NotBlocking() {
    if (fd_ >= 0) ::fcntl(fd_, F_SETFL, flags_);
  }
  NotBlocking(const NotBlocking&) = delete;
  NotBlocking& operator=(const NotBlocking&) = delete;

 private:
  int fd_;
  int flags_ = 0;
};

ssize_t move_bytes(int from, int to, size_t size) noexcept {
  ssize_t moved = 0;
  do {
    moved = ::splice(from, nullptr, to, nullptr, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  } while (moved < 0 && errno == EINTR);
  return moved < 0 ? -errno : moved;
}

}  // namespace

std::optional<SplicePipe> SplicePipe::take() noexcept {
  if (in_use >= kInUse) return std::nullopt;
  if (!spare.pipes.empty()) {
    const Ends ends = spare.pipes.back();
    spare.pipes.pop_back();
    ++in_use;
    return SplicePipe(ends.read, ends.write);
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return std::nullopt;
  ++in_use;
  ::fcntl(ends[0], F_SETPIPE_SZ, static_cast<int>(kPipeSize));  // where the user's share allows it
  return SplicePipe(ends[0], ends[1]);
}

SplicePipe::~SplicePipe() {
  if (read_ < 0) return;
  --in_use;
  if (held_ == 0 && spare.pipes.size() < kSpare) {
    spare.pipes.push_back({read_, write_});
    return;
  }
  ::close(read_);
  ::close(write_);
}

ssize_t SplicePipe::fill(Socket& from) noexcept {
  const NotBlocking guard(from.fd());
  const ssize_t moved = move_bytes(from.fd(), write_, kPipeSize);
  if (moved > 0) held_ += static_cast<size_t>(moved);
  return moved;
}

ssize_t SplicePipe::empty_into(Socket& to) noexcept {
  const NotBlocking guard(to.fd());
  const ssize_t moved = move_bytes(read_, to.fd(), held_);
  if (moved > 0) held_ -= static_cast<size_t>(moved);
  return moved;
}

}  // namespace runtime
}  // namespace trellis
