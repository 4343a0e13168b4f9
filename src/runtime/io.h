// The seam of the two I/O backends, io_uring (io_uring.cc) and epoll (io_epoll.cc), one instance a loop. It moves bytes
// between file descriptors and the states below; waiting coroutines are the business of runtime/socket.h. Called on the
// loop's thread only, except wake().
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/chunk.h"
#include "base/error.h"
#include "base/time.h"
#include "runtime/loop.h"

namespace trellis {
inline namespace runtime {

class Io;

// Told of what happens while nobody receives: the other side is gone (error 0 means it ended its stream, which may be a
// half-close), or sent something. May close the socket.
class GoneWatcher {
 public:
  virtual void gone(int error) noexcept = 0;
  virtual void input() noexcept {}

 protected:
  ~GoneWatcher() = default;
};

// What a waiting coroutine gives the backend to be called back on; called from the top of the loop, never from inside
// start_*().
class IoWaiter {
 public:
  virtual void io_done() noexcept = 0;

 protected:
  ~IoWaiter() = default;
};

// A connected (or connecting) stream. Freed when it is closed and the kernel has let go of it.
struct SocketState {
  explicit SocketState(Io& backend, int descriptor) noexcept : io(backend), fd(descriptor) {}
  static void* operator new(size_t size);
  static void operator delete(void* memory, size_t size) noexcept;

  Io& io;
  int fd;
  uint32_t in_flight = 0;  // operations the kernel still holds
  bool closed = false;

  // Receiving. Chunks arrive in `first`, then `rest`.
  Chunk first;
  std::vector<Chunk> rest;
  size_t queued = 0;  // bytes in both
  bool recv_armed = false;
  bool eof = false;
  int recv_error = 0;
  // Where bytes stay in the kernel until somebody wants them (runtime/readiness.h): always with epoll, with io_uring
  // while they come in large pieces.
  bool by_readiness = false;
  bool readable = true;     // there may be bytes in the kernel
  bool ended = false;       // the other side's end was announced, a read will find it
  bool registered = false;  // the kernel tells of readiness
  bool hands_off = false;   // its owner reads by system calls of its own, and only wants to hear that he can
  uint8_t small_reads = 0;  // in a row, each less than kSmallReceive
  IoWaiter* reader = nullptr;
  GoneWatcher* watcher = nullptr;

  // Sending: the caller's vectors, which must stay until the waiter is told.
  iovec* vectors = nullptr;
  size_t vector_count = 0;
  bool sending = false;
  int send_error = 0;
  msghdr message{};
  IoWaiter* writer = nullptr;

  // Connecting and waiting for room share the writer's place.
  std::unique_ptr<sockaddr_storage> address;  // while it connects: most sockets never do

  void deliver(Chunk chunk);  // queue, then tell the reader
  void end_of_stream(int error) noexcept;
  Chunk take() noexcept;
  bool has_input() const noexcept { return queued > 0 || eof || recv_error != 0; }
};

// Who takes new connections: a descriptor, or -errno.
class AcceptWaiter {
 public:
  virtual void accepted(int fd_or_error) noexcept = 0;

 protected:
  ~AcceptWaiter() = default;
};

// A listening socket. Freed by the backend after stop_accept(), once the kernel has let go of it. Until its owner is
// gone it still gets the connections that the kernel had taken before the stop.
struct AcceptState {
  int fd = -1;
  AcceptWaiter* owner = nullptr;
  bool armed = false;
  bool stopped = false;
};

class Io {
 public:
  virtual ~Io() = default;
  virtual std::string_view name() const noexcept = 0;  // "io_uring" or "epoll"

  // Hands over what is queued, waits at most max_wait for something to happen and runs what did.
  virtual void turn(Duration max_wait) = 0;
  virtual void wake() noexcept = 0;  // any thread

  virtual void attach(SocketState& state) = 0;          // once for every descriptor, before anything else
  virtual void start_recv(SocketState& state) = 0;      // input wanted; may deliver at once
  virtual void start_readable(SocketState& state) = 0;  // hands_off: tells the reader once there is something
  virtual void start_send(SocketState& state) = 0;      // state.sending is false again when it finished at once
  virtual void start_connect(SocketState& state, socklen_t length) = 0;  // result in send_error
  virtual void start_writable(SocketState& state) = 0;                   // tells the writer once there is room
  // Afterwards the kernel touches the caller's vectors no more.
  virtual void cancel_send(SocketState& state) noexcept = 0;
  virtual void close(SocketState& state) noexcept = 0;  // frees the state, now or later
  virtual bool wants_nonblocking() const noexcept = 0;  // how descriptors must be opened

  virtual void start_accept(AcceptState& state) = 0;
  virtual void stop_accept(AcceptState& state) noexcept = 0;  // the owner may go after it
};

inline constexpr size_t kSmallReceive = 8 * 1024;
inline constexpr size_t kMaxQueuedInput = 256 * 1024;  // a socket's unread bytes beyond which receiving pauses

Result<std::unique_ptr<Io>> make_uring_io();
Result<std::unique_ptr<Io>> make_epoll_io();

// Drops `count` sent bytes off the front of the vectors.
void advance_vectors(SocketState& state, size_t count) noexcept;

}  // namespace runtime
}  // namespace trellis
