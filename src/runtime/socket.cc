#include "runtime/socket.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/frame_pool.h"

namespace trellis {
inline namespace runtime {

void* SocketState::operator new(size_t size) { return frame_alloc(size); }
void SocketState::operator delete(void* memory, size_t size) noexcept { frame_free(memory, size); }

void SocketState::deliver(Chunk chunk) {
  queued += chunk.size();
  if (first.empty() && rest.empty()) {
    first = std::move(chunk);
  } else {
    rest.push_back(std::move(chunk));
  }
  if (reader) {
    std::exchange(reader, nullptr)->io_done();
  } else if (watcher) {
    watcher->input();
  }
}

void SocketState::end_of_stream(int error) noexcept {
  if (error != 0) {
    recv_error = error;
  } else {
    eof = true;
  }
  if (reader) {
    std::exchange(reader, nullptr)->io_done();
  } else if (watcher) {
    watcher->gone(error);
  }
}

Chunk SocketState::take() noexcept {
  Chunk chunk = std::move(first);
  if (!rest.empty()) {
    first = std::move(rest.front());
    rest.erase(rest.begin());  // at most a few chunks ever wait
  }
  queued -= chunk.size();
  return chunk;
}

void advance_vectors(SocketState& state, size_t count) noexcept {
  while (state.vector_count > 0 && count >= state.vectors->iov_len) {  // empty ones, too: nothing would ever send them
    count -= state.vectors->iov_len;
    ++state.vectors;
    --state.vector_count;
  }
  if (count == 0) return;
  iovec& front = *state.vectors;
  front.iov_base = static_cast<char*>(front.iov_base) + count;
  front.iov_len -= count;
}

// --- receive ---

RecvAwaiter::RecvAwaiter(SocketState& state, Deadline deadline) noexcept
    : SocketAwaiter(state, deadline, &RecvAwaiter::expire) {}

RecvAwaiter::~RecvAwaiter() {
  if (state_.reader == this) state_.reader = nullptr;
}

bool RecvAwaiter::await_suspend(std::coroutine_handle<> waiter) {
  state_.io.start_recv(state_);
  if (state_.has_input()) return false;
  waiter_ = waiter;
  state_.reader = this;
  arm_timer();
  return true;
}

void RecvAwaiter::io_done() noexcept {
  timer_.cancel();
  waiter_.resume();
}

void RecvAwaiter::expire(Timer& timer) noexcept {
  auto& self = *static_cast<RecvAwaiter*>(static_cast<SocketAwaiter*>(timer.owner()));
  self.expired_ = true;
  self.state_.reader = nullptr;
  self.waiter_.resume();
}

Result<Chunk> RecvAwaiter::await_resume() {
  if (state_.queued > 0) return state_.take();
  if (state_.recv_error != 0) return fail(errno_error("receive", state_.recv_error).retry(Retry::if_reused));
  if (state_.eof) return Chunk();
  return fail(Code::deadline_exceeded, "nothing received in time");
}

// --- readable ---

ReadableAwaiter::ReadableAwaiter(SocketState& state, Deadline deadline) noexcept
    : SocketAwaiter(state, deadline, &ReadableAwaiter::expire) {}

ReadableAwaiter::~ReadableAwaiter() {
  if (state_.reader == this) state_.reader = nullptr;
}

void ReadableAwaiter::await_suspend(std::coroutine_handle<> waiter) {
  waiter_ = waiter;
  state_.reader = this;
  state_.io.start_readable(state_);
  arm_timer();
}

void ReadableAwaiter::io_done() noexcept {
  timer_.cancel();
  waiter_.resume();
}

void ReadableAwaiter::expire(Timer& timer) noexcept {
  auto& self = *static_cast<ReadableAwaiter*>(static_cast<SocketAwaiter*>(timer.owner()));
  self.expired_ = true;
  self.state_.reader = nullptr;
  self.waiter_.resume();
}

// --- send ---

SendAwaiter::SendAwaiter(SocketState& state, std::span<iovec> vectors, Deadline deadline) noexcept
    : SocketAwaiter(state, deadline, &SendAwaiter::expire) {
  state.vectors = vectors.data();
  state.vector_count = vectors.size();
  advance_vectors(state, 0);
}

SendAwaiter::~SendAwaiter() {
  if (state_.writer != this) return;
  state_.writer = nullptr;
  state_.io.cancel_send(state_);
}

bool SendAwaiter::await_suspend(std::coroutine_handle<> waiter) {
  TRELLIS_ASSERT(!state_.sending);
  state_.io.start_send(state_);
  if (!state_.sending) return false;
  waiter_ = waiter;
  state_.writer = this;
  arm_timer();
  return true;
}

void SendAwaiter::io_done() noexcept {
  timer_.cancel();
  waiter_.resume();
}

void SendAwaiter::expire(Timer& timer) noexcept {
  auto& self = *static_cast<SendAwaiter*>(static_cast<SocketAwaiter*>(timer.owner()));
  self.expired_ = true;
  self.state_.writer = nullptr;
  self.state_.io.cancel_send(self.state_);
  self.state_.send_error = ETIMEDOUT;  // part of it may be out: the stream is unusable
  self.waiter_.resume();
}

Result<> SendAwaiter::await_resume() {
  if (expired_) return fail(Code::deadline_exceeded, "nothing could be sent in time");
  if (state_.send_error != 0) return fail(errno_error("send", state_.send_error).retry(Retry::if_reused));
  return {};
}

// --- connect, room to send ---

WritableAwaiter::WritableAwaiter(SocketState& state, socklen_t connect_length, Deadline deadline) noexcept
    : SocketAwaiter(state, deadline, &WritableAwaiter::expire), connect_length_(connect_length) {}

WritableAwaiter::~WritableAwaiter() {
  if (state_.writer != this) return;
  state_.writer = nullptr;
  state_.io.cancel_send(state_);
}

bool WritableAwaiter::await_suspend(std::coroutine_handle<> waiter) {
  if (connect_length_ != 0) {
    state_.io.start_connect(state_, connect_length_);
  } else {
    state_.io.start_writable(state_);
  }
  if (!state_.sending) return false;
  waiter_ = waiter;
  state_.writer = this;
  arm_timer();
  return true;
}

void WritableAwaiter::io_done() noexcept {
  timer_.cancel();
  waiter_.resume();
}

void WritableAwaiter::expire(Timer& timer) noexcept {
  auto& self = *static_cast<WritableAwaiter*>(static_cast<SocketAwaiter*>(timer.owner()));
  self.expired_ = true;
  self.state_.writer = nullptr;
  self.state_.io.cancel_send(self.state_);
  self.state_.send_error = ETIMEDOUT;
  self.waiter_.resume();
}

Result<> WritableAwaiter::await_resume() {
  const char* const what = connect_length_ != 0 ? "connect" : "send";
  if (expired_) return fail(Code::deadline_exceeded, std::string(what) + " took too long");
  if (state_.send_error != 0) return fail(errno_error(what, state_.send_error));
  return {};
}

// --- Socket ---

Socket Socket::adopt(int fd) {
  Io& io = Loop::current().io();
  auto* state = new SocketState(io, fd);
  io.attach(*state);
  return Socket(state);
}

Socket Socket::adopt_datagrams(int fd) {
  Socket socket = adopt(fd);
  socket.state_->by_readiness = true;
  socket.state_->hands_off = true;
  return socket;
}

bool Socket::try_hands_off() noexcept {
  if (!state_->by_readiness || state_->recv_armed || state_->has_input()) return false;
  state_->hands_off = true;
  return true;
}

void Socket::unread(Chunk chunk) {
  if (chunk.empty()) return;
  state_->queued += chunk.size();
  if (!state_->first.empty()) state_->rest.insert(state_->rest.begin(), std::move(state_->first));
  state_->first = std::move(chunk);
}

void Socket::reset_on_close() noexcept {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(state_->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void Socket::shutdown_send() noexcept { ::shutdown(state_->fd, SHUT_WR); }

void Socket::close() noexcept {
  if (!state_) return;
  SocketState* state = std::exchange(state_, nullptr);
  state->watcher = nullptr;
  state->io.close(*state);
}

Task<Result<>> Socket::send_file(int file, uint64_t offset, uint64_t size, Duration idle_timeout) {
  constexpr size_t kSlice = 1024 * 1024;  // then others get a turn
  auto at = static_cast<off_t>(offset);
  const bool toggle = !state_->io.wants_nonblocking();
  while (size > 0) {
    const size_t slice = size < kSlice ? static_cast<size_t>(size) : kSlice;
    // WHY: io_uring wants blocking descriptors, sendfile(2) here must not block.
    const int flags = toggle ? ::fcntl(state_->fd, F_GETFL) : 0;
    if (toggle) ::fcntl(state_->fd, F_SETFL, flags | O_NONBLOCK);
    const ssize_t sent = ::sendfile(state_->fd, file, &at, slice);
    const int error = errno;
    if (toggle) ::fcntl(state_->fd, F_SETFL, flags);
    if (sent > 0) size -= static_cast<uint64_t>(sent);
    if (sent == 0) co_return fail(Code::data_loss, "the file became shorter while it was sent");
    if (sent < 0 && error != EAGAIN && error != EINTR) co_return fail(errno_error("send file", error));
    if (size == 0) break;
    if (sent > 0) {  // not full yet: the kernel would announce no room, for there is some
      co_await yield();
      continue;
    }
    auto room = co_await WritableAwaiter(*state_, 0, after(Loop::current().now(), idle_timeout));
    CO_TRY_VOID(std::move(room));
  }
  co_return Result<>();
}

Task<Result<Socket>> connect_socket(sockaddr_storage address, socklen_t length, Deadline deadline) {
  Io& io = Loop::current().io();
  const int type = SOCK_STREAM | SOCK_CLOEXEC | (io.wants_nonblocking() ? SOCK_NONBLOCK : 0);
  const int fd = ::socket(address.ss_family, type, 0);
  if (fd < 0) co_return fail(errno_error("socket", errno));
  if (address.ss_family == AF_INET || address.ss_family == AF_INET6) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  auto* state = new SocketState(io, fd);
  state->address = std::make_unique<sockaddr_storage>(address);
  Socket socket(state);
  auto connected = co_await WritableAwaiter(*state, length, deadline);
  CO_TRY_VOID(std::move(connected));
  state->address.reset();
  io.attach(*state);
  co_return socket;
}

// --- Acceptor ---

Acceptor::Acceptor(int listening_fd, std::function<void(int fd)> on_connection)
    : fd_(listening_fd), on_connection_(std::move(on_connection)), pause_(&Acceptor::on_pause_over, this) {}

Acceptor::~Acceptor() {
  stop();
  if (!state_) return;
  state_->owner = nullptr;
  Loop::current().io().stop_accept(*state_);
}

void Acceptor::start() {
  if (running_) return;
  running_ = true;
  if (!state_) state_ = new AcceptState{.fd = fd_, .owner = this};
  state_->stopped = false;
  Loop::current().io().start_accept(*state_);
}

void Acceptor::stop() noexcept {
  pause_.cancel();
  if (!running_) return;
  running_ = false;
  state_->stopped = true;
  Loop::current().io().stop_accept(*state_);
}

void Acceptor::accepted(int fd_or_error) noexcept {
  if (fd_or_error >= 0) return on_connection_(fd_or_error);
  if (!running_) return;
  switch (-fd_or_error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      // Others must finish first; spinning would only slow them.
      ++pauses_;
      pause_.set(Loop::current().timers(), after(Loop::current().now(), std::chrono::milliseconds(100)));
      return;
    default: Loop::current().io().start_accept(*state_);
  }
}

void Acceptor::on_pause_over(Timer& timer) noexcept {
  auto& self = *static_cast<Acceptor*>(timer.owner());
  if (self.running_) Loop::current().io().start_accept(*self.state_);
}

}  // namespace runtime
}  // namespace trellis
