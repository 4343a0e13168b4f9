// The epoll backend, for kernels and sandboxes without io_uring: edge-triggered, a short read means drained. Bytes stay
// in the kernel until somebody wants them, so back-pressure is the kernel's own.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <new>
#include <vector>

#include "runtime/io.h"

namespace trellis {
inline namespace runtime {

namespace {

constexpr size_t kBlock = 128 * 1024;       // received bytes are carved from blocks of this size
constexpr size_t kSmallestRead = 8 * 1024;  // a block with less room left is replaced
constexpr int kInlineReads = 256;           // a turn, so that a busy peer does not starve the others

class Block final : public ChunkOwner {
 public:
  static Block* make() { return new (::operator new(sizeof(Block) + kBlock)) Block; }
  char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
  size_t used = 0;

 private:
  void release() noexcept override {
    this->~Block();
    ::operator delete(this);
  }
};

// What an event belongs to: a pointer with the kind in its low bits.
enum class Kind : uint64_t { socket, accept, wake };
constexpr uint64_t kKindMask = 3;
uint64_t tag(const void* pointer, Kind kind) noexcept {
  return reinterpret_cast<uint64_t>(pointer) | static_cast<uint64_t>(kind);
}

class EpollIo final : public Io {
 public:
  ~EpollIo() override {
    if (block_) block_->drop();
    bury();
    if (wake_fd_ >= 0) ::close(wake_fd_);
    if (epoll_ >= 0) ::close(epoll_);
  }
  Result<> open();

  std::string_view name() const noexcept override { return "epoll"; }
  void turn(Duration max_wait) override;
  void wake() noexcept override {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t wrote = ::write(wake_fd_, &one, sizeof one);
  }
  void attach(SocketState& state) override;
  void start_recv(SocketState& state) override;
  void start_send(SocketState& state) override;
  void start_connect(SocketState& state, socklen_t length) override;
  void start_writable(SocketState& state) override {
    state.vector_count = 0;
    state.sending = true;  // the next edge tells
  }
  void cancel_send(SocketState& state) noexcept override {
    if (!state.sending) return;
    state.sending = false;
    state.send_error = ECANCELED;
  }
  void close(SocketState& state) noexcept override;
  bool wants_nonblocking() const noexcept override { return true; }
  void start_accept(AcceptState& state) override;
  void stop_accept(AcceptState& state) noexcept override;

 private:
  void on_socket(SocketState& state, uint32_t events);
  void on_acceptable(AcceptState& state);
  bool read_now(SocketState& state);
  void continue_send(SocketState& state);
  void bury() noexcept;

  int epoll_ = -1;
  int wake_fd_ = -1;
  Block* block_ = nullptr;
  int reads_left_ = kInlineReads;
  std::vector<SocketState*> later_;      // wanted to read when the turn's budget was spent
  std::vector<SocketState*> graveyard_;  // freed at the end of the turn: events for them may follow
  std::vector<AcceptState*> accept_graveyard_;
};

Result<> EpollIo::open() {
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return fail(errno_error("epoll", errno));
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) return fail(errno_error("eventfd", errno));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = tag(nullptr, Kind::wake);
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_fd_, &event) != 0) return fail(errno_error("epoll", errno));
  return {};
}

void EpollIo::bury() noexcept {
  for (SocketState* state : graveyard_) delete state;
  graveyard_.clear();
  for (AcceptState* state : accept_graveyard_) delete state;
  accept_graveyard_.clear();
}

void EpollIo::turn(Duration max_wait) {
  int timeout = 0;
  if (!later_.empty()) max_wait = Duration::zero();
  if (max_wait > Duration::zero()) {
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(std::min<Duration>(max_wait, std::chrono::hours(1)));
    timeout = static_cast<int>(ms.count());
  }
  epoll_event events[256];
  const int count = ::epoll_wait(epoll_, events, 256, timeout);
  Loop::current().woke();
  reads_left_ = kInlineReads;
  std::vector<SocketState*> later;
  later.swap(later_);
  for (SocketState* state : later) {
    if (!state->closed && state->reader && state->queued == 0) read_now(*state);
  }
  for (int i = 0; i < count; ++i) {
    const uint64_t data = events[i].data.u64;
    switch (static_cast<Kind>(data & kKindMask)) {
      case Kind::socket: {
        auto& state = *reinterpret_cast<SocketState*>(data & ~kKindMask);
        if (!state.closed) on_socket(state, events[i].events);
        break;
      }
      case Kind::accept: {
        auto& state = *reinterpret_cast<AcceptState*>(data & ~kKindMask);
        if (state.owner && !state.stopped) on_acceptable(state);
        break;
      }
      case Kind::wake: {
        uint64_t value = 0;
        [[maybe_unused]] const ssize_t got = ::read(wake_fd_, &value, sizeof value);
        break;
      }
    }
  }
  // A buried state may still wait in later_: those that closed are taken out first.
  if (!graveyard_.empty()) std::erase_if(later_, [](const SocketState* state) { return state->closed; });
  bury();
}

void EpollIo::attach(SocketState& state) {
  if (state.attached) return;
  state.attached = true;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = tag(&state, Kind::socket);
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, state.fd, &event) != 0) {
    state.recv_error = errno;
    state.send_error = errno;
  }
}

void EpollIo::on_socket(SocketState& state, uint32_t events) {
  if ((events & EPOLLOUT) && state.sending) {
    continue_send(state);
    if (state.closed) return;
  }
  if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return;
  state.readable = true;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) state.ended = true;
  if (state.reader) {
    read_now(state);
    // An end that came with the bytes has no event of its own: who does not read on hears of it now.
    if (state.closed || state.reader || !state.ended || state.eof || state.recv_error != 0) return;
    if (state.watcher) state.watcher->gone(0);
    return;
  }
  if (state.watcher && (events & EPOLLIN) && !state.ended) {
    state.watcher->input();
    return;
  }
  if (state.watcher && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
    int error = 0;
    if (events & (EPOLLERR | EPOLLHUP)) {
      socklen_t length = sizeof error;
      ::getsockopt(state.fd, SOL_SOCKET, SO_ERROR, &error, &length);
      if (error == 0) error = ECONNRESET;
      state.recv_error = error;
    }
    state.watcher->gone(error);
  }
}

// One read into the current block. True when something was delivered (bytes, end or error).
bool EpollIo::read_now(SocketState& state) {
  if (!block_ || kBlock - block_->used < kSmallestRead) {
    if (block_) block_->drop();
    block_ = Block::make();
    block_->acquire();
  } else if (block_->count() == 1) {
    block_->used = 0;  // nobody holds a part of it: start over
  }
  const size_t room = kBlock - block_->used;
  char* const at = block_->bytes() + block_->used;
  ssize_t got = 0;
  do {
    got = ::recv(state.fd, at, room, 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    state.readable = false;
    return false;
  }
  if (got <= 0) {
    state.readable = false;
    state.end_of_stream(got == 0 ? 0 : errno);
    return true;
  }
  // A short read means drained, unless the end stands behind the bytes.
  if (static_cast<size_t>(got) < room) state.readable = state.ended;
  block_->used += static_cast<size_t>(got);
  state.deliver(Chunk(block_, at, static_cast<size_t>(got)));
  return true;
}

void EpollIo::start_recv(SocketState& state) {
  if (!state.readable || state.has_input()) return;
  if (reads_left_-- <= 0) {
    later_.push_back(&state);
    return;
  }
  // The caller sees what came. The watcher must not hear of it from in here: it may destroy the coroutine that is
  // asking.
  GoneWatcher* const watcher = std::exchange(state.watcher, nullptr);
  read_now(state);
  state.watcher = watcher;
}

void EpollIo::start_send(SocketState& state) {
  state.sending = true;
  continue_send(state);
}

void EpollIo::start_connect(SocketState& state, socklen_t length) {
  state.vector_count = 0;
  state.sending = true;
  if (::connect(state.fd, reinterpret_cast<sockaddr*>(&state.address), length) == 0) {
    state.sending = false;
  } else if (errno != EINPROGRESS) {
    state.send_error = errno;
    state.sending = false;
  } else {
    attach(state);
  }
}

void EpollIo::continue_send(SocketState& state) {
  if (state.vector_count == 0) {  // a connect, or waiting for room
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(state.fd, SOL_SOCKET, SO_ERROR, &error, &length);
    state.send_error = error;
  }
  while (state.vector_count > 0 && state.send_error == 0) {
    msghdr message{};
    message.msg_iov = state.vectors;
    message.msg_iovlen = std::min<size_t>(state.vector_count, IOV_MAX);
    const ssize_t sent = ::sendmsg(state.fd, &message, MSG_NOSIGNAL);
    if (sent >= 0) {
      advance_vectors(state, static_cast<size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno != EINTR) {
      state.send_error = errno;
    }
  }
  state.sending = false;
  if (state.writer) std::exchange(state.writer, nullptr)->io_done();
}

void EpollIo::close(SocketState& state) noexcept {
  state.closed = true;
  state.reader = nullptr;
  state.writer = nullptr;
  state.watcher = nullptr;
  state.first = Chunk();
  state.rest.clear();
  state.queued = 0;
  ::close(state.fd);
  graveyard_.push_back(&state);
}

void EpollIo::start_accept(AcceptState& state) {
  if (state.armed) {
    on_acceptable(state);
    return;
  }
  state.armed = true;
  epoll_event event{};
  event.events = EPOLLIN;  // level: a listener shared with others must not lose its edge
  event.data.u64 = tag(&state, Kind::accept);
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, state.fd, &event);
}

void EpollIo::on_acceptable(AcceptState& state) {
  for (int i = 0; i < 64 && state.owner && !state.stopped; ++i) {
    const int fd = ::accept4(state.fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      if (errno == EINTR || errno == ECONNABORTED) continue;
      const int error = errno;
      // Level-triggered: off until it is started again, or it would spin.
      ::epoll_ctl(epoll_, EPOLL_CTL_DEL, state.fd, nullptr);
      state.armed = false;
      state.owner->accepted(-error);
      return;
    }
    state.owner->accepted(fd);
  }
}

void EpollIo::stop_accept(AcceptState& state) noexcept {
  if (state.armed) {
    ::epoll_ctl(epoll_, EPOLL_CTL_DEL, state.fd, nullptr);
    state.armed = false;
  }
  if (!state.owner) accept_graveyard_.push_back(&state);
}

}  // namespace

Result<std::unique_ptr<Io>> make_epoll_io() {
  auto io = std::make_unique<EpollIo>();
  TRY_VOID(io->open());
  return io;
}

}  // namespace runtime
}  // namespace trellis
