// The epoll backend, for kernels and sandboxes without io_uring: edge-triggered, a short read means drained. Bytes stay
// in the kernel until somebody wants them, so back-pressure is the kernel's own.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "runtime/io.h"
#include "runtime/readiness.h"

namespace trellis {
inline namespace runtime {

namespace {

// What an event belongs to: a pointer with the kind in its low bits.
enum class Kind : uint64_t { socket, accept, wake };
constexpr uint64_t kKindMask = 3;
uint64_t tag(const void* pointer, Kind kind) noexcept {
  return reinterpret_cast<uint64_t>(pointer) | static_cast<uint64_t>(kind);
}

class EpollIo final : public Io {
 public:
  ~EpollIo() override {
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
  void start_recv(SocketState& state) override { reads_.start(state); }
  void start_readable(SocketState&) override {}  // the next edge tells
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
  void continue_send(SocketState& state);
  void bury() noexcept;

  int epoll_ = -1;
  int wake_fd_ = -1;
  ReadinessReader reads_;
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
  if (reads_.has_waiting()) max_wait = Duration::zero();
  if (max_wait > Duration::zero()) {
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(std::min<Duration>(max_wait, std::chrono::hours(1)));
    timeout = static_cast<int>(ms.count());
  }
  epoll_event events[256];
  const int count = ::epoll_wait(epoll_, events, 256, timeout);
  Loop::current().woke();
  reads_.begin_turn();
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
  bury();
}

void EpollIo::attach(SocketState& state) {
  if (state.registered) return;
  state.registered = true;
  state.by_readiness = true;
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
  reads_.ready(state, events);  // the bits are those of poll(2)
}

void EpollIo::start_send(SocketState& state) {
  state.sending = true;
  continue_send(state);
}

void EpollIo::start_connect(SocketState& state, socklen_t length) {
  state.vector_count = 0;
  state.sending = true;
  if (::connect(state.fd, reinterpret_cast<sockaddr*>(state.address.get()), length) == 0) {
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
  if (!send_now(state)) return;
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
  reads_.forget(state);
  // By hand: whoever else has the socket open, such as a new process that took over, would keep it registered here.
  if (state.registered) ::epoll_ctl(epoll_, EPOLL_CTL_DEL, state.fd, nullptr);
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
