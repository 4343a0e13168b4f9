// A connected stream socket on one core, with awaitable operations that each take a deadline. One reader and one writer
// at a time. Destroying a waiting operation withdraws it; destroying the Socket closes the connection. Errors:
// deadline_exceeded when the deadline came first, unavailable when the connection broke (Error::side is unset: only the
// caller knows who the other end is).
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <coroutine>
#include <functional>
#include <memory>
#include <span>

#include "base/chunk.h"
#include "base/error.h"
#include "base/time.h"
#include "runtime/io.h"
#include "runtime/loop.h"
#include "runtime/task.h"

namespace trellis {
inline namespace runtime {

class Socket;

namespace detail {
class SocketAwaiter : public IoWaiter {
 public:
  SocketAwaiter(const SocketAwaiter&) = delete;
  SocketAwaiter& operator=(const SocketAwaiter&) = delete;

 protected:
  SocketAwaiter(SocketState& state, Deadline deadline, Timer::Fire expire) noexcept
      : state_(state), deadline_(deadline), timer_(expire, this) {}
  ~SocketAwaiter() = default;
  void arm_timer() noexcept {
    if (deadline_ != kNever) timer_.set(Loop::current().timers(), deadline_);
  }

  SocketState& state_;
  Deadline deadline_;
  bool expired_ = false;
  std::coroutine_handle<> waiter_;
  Timer timer_;
};
}  // namespace detail

// The next received bytes; an empty chunk is the end of the stream.
class RecvAwaiter final : public detail::SocketAwaiter {
 public:
  RecvAwaiter(SocketState& state, Deadline deadline) noexcept;
  ~RecvAwaiter();
  bool await_ready() const noexcept { return state_.has_input(); }
  bool await_suspend(std::coroutine_handle<> waiter);
  Result<Chunk> await_resume();
  void io_done() noexcept override;

 private:
  static void expire(Timer& timer) noexcept;
};

// Waits until there may be something to read, for who reads by system calls of his own.
class ReadableAwaiter final : public detail::SocketAwaiter {
 public:
  ReadableAwaiter(SocketState& state, Deadline deadline) noexcept;
  ~ReadableAwaiter();
  bool await_ready() const noexcept { return state_.readable; }
  void await_suspend(std::coroutine_handle<> waiter);
  // False: the deadline came first.
  bool await_resume() const noexcept { return !expired_; }
  void io_done() noexcept override;

 private:
  static void expire(Timer& timer) noexcept;
};

// Sends all of the vectors (which it changes), or fails.
class SendAwaiter final : public detail::SocketAwaiter {
 public:
  SendAwaiter(SocketState& state, std::span<iovec> vectors, Deadline deadline) noexcept;
  ~SendAwaiter();
  bool await_ready() const noexcept { return state_.send_error != 0 || state_.vector_count == 0; }
  bool await_suspend(std::coroutine_handle<> waiter);
  Result<> await_resume();
  void io_done() noexcept override;

 private:
  static void expire(Timer& timer) noexcept;
};

// Waits for a connect or for room to send.
class WritableAwaiter final : public detail::SocketAwaiter {
 public:
  WritableAwaiter(SocketState& state, socklen_t connect_length, Deadline deadline) noexcept;
  ~WritableAwaiter();
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiter);
  Result<> await_resume();
  void io_done() noexcept override;

 private:
  static void expire(Timer& timer) noexcept;
  socklen_t connect_length_;  // 0: wait for room
};

class Socket {
 public:
  Socket() noexcept = default;
  Socket(Socket&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Socket& operator=(Socket&& other) noexcept {
    if (this != &other) {
      close();
      state_ = std::exchange(other.state_, nullptr);
    }
    return *this;
  }
  ~Socket() { close(); }

  // Takes over a connected descriptor, on the current loop.
  static Socket adopt(int fd);
  // A datagram socket, connected or not: hands are off it from the start, and stay so.
  static Socket adopt_datagrams(int fd);
  explicit operator bool() const noexcept { return state_ != nullptr; }
  int fd() const noexcept { return state_->fd; }

  RecvAwaiter recv(Deadline deadline) noexcept { return RecvAwaiter(*state_, deadline); }
  SendAwaiter send(std::span<iovec> vectors, Deadline deadline) noexcept {
    return SendAwaiter(*state_, vectors, deadline);
  }
  // All of a file's slice, by sendfile(2). data_loss when the file turned out shorter. May block on a cold page:
  // callers send large cold files from the blocking pool's read-ahead.
  Task<Result<>> send_file(int file, uint64_t offset, uint64_t size, Duration idle_timeout);

  // Instead of recv(), for datagrams and for bytes that stay in the kernel: the owner reads the descriptor himself
  // (MSG_DONTWAIT) until nothing is left, says so, and waits for more. False: bytes are on their way to recv() or wait
  // for it there. Back with hands_on().
  bool try_hands_off() noexcept;
  void hands_on() noexcept { state_->hands_off = false; }
  ReadableAwaiter readable(Deadline deadline) noexcept { return ReadableAwaiter(*state_, deadline); }
  void drained() noexcept { state_->readable = false; }
  // Waits until the kernel has room to send, for who sends himself and was told EAGAIN.
  WritableAwaiter writable(Deadline deadline) noexcept { return WritableAwaiter(*state_, 0, deadline); }

  // Puts bytes back before the next recv().
  void unread(Chunk chunk);
  bool has_input() const noexcept { return state_->has_input(); }  // recv() would not wait
  bool has_bytes() const noexcept { return state_->queued > 0; }
  bool at_end() const noexcept { return state_->queued == 0 && (state_->eof || state_->recv_error != 0); }
  // Asks for input even though nobody waits for it, so that the watcher learns of the other side's end. The watcher is
  // called from the top of the loop only: what is there already shows in has_input().
  void want_input() {
    if (!state_->has_input()) state_->io.start_recv(*state_);
  }
  // Nothing was received and, as far as is known, nothing waits in the kernel: for connections that should be silent.
  bool quiet() {
    want_input();
    return !state_->has_input() && !(state_->by_readiness && state_->readable);
  }
  void watch(GoneWatcher* watcher) noexcept { state_->watcher = watcher; }
  void shutdown_send() noexcept;
  void reset_on_close() noexcept;  // the other side learns that what it got is not all
  void close() noexcept;

 private:
  friend Task<Result<Socket>> connect_socket(sockaddr_storage address, socklen_t length, Deadline deadline);
  explicit Socket(SocketState* state) noexcept : state_(state) {}
  SocketState* state_ = nullptr;
};

// A TCP (no delay) or Unix connection from the current loop.
Task<Result<Socket>> connect_socket(sockaddr_storage address, socklen_t length, Deadline deadline);

// Accepts on a listening descriptor (borrowed) until stopped or destroyed. After "too many open files" it pauses 100
// ms.
class Acceptor final : private AcceptWaiter {
 public:
  Acceptor(int listening_fd, std::function<void(int fd)> on_connection);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;
  void start();
  // Connections that the kernel had already taken are still handed over until the Acceptor is destroyed.
  void stop() noexcept;
  uint64_t pauses() const noexcept { return pauses_; }

 private:
  void accepted(int fd_or_error) noexcept override;
  static void on_pause_over(Timer& timer) noexcept;
  int fd_;
  std::function<void(int)> on_connection_;
  AcceptState* state_ = nullptr;
  Timer pause_;
  uint64_t pauses_ = 0;
  bool running_ = false;
};

}  // namespace runtime
}  // namespace trellis
