// Real loops, real TCP connections on loopback and whoever talks over them as text: what the tests of the server, the
// client and the cluster share. Everything runs on the loop of the test; nothing waits for a clock but deadlines of a
// few milliseconds, or it takes the manual clock.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "http/handler.h"
#include "net/address.h"
#include "runtime/loop.h"
#include "runtime/socket.h"
#include "runtime/sync.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::http::test {

class OnBothBackends : public testing::TestWithParam<IoKind> {
 protected:
  void SetUp() override {
    auto made = Loop::make({.io = GetParam(), .clock = clock_});
    if (!made && GetParam() == IoKind::uring) GTEST_SKIP() << "no io_uring here: " << made.error().to_string();
    ASSERT_TRUE(made) << made.error().to_string();
    loop_ = *std::move(made);
  }
  Deadline soon() const { return after(loop_->now(), std::chrono::seconds(30)); }
  Deadline in(int ms) const { return after(loop_->now(), std::chrono::milliseconds(ms)); }
  void turns(int count) {
    for (int i = 0; i < count; ++i) loop_->run_once(Duration::zero());
  }
  // Turns until it is so; false after half a minute: machines that test are busy.
  template <class F>
  bool until(F is_so) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!is_so()) {
      if (std::chrono::steady_clock::now() > end) return false;
      loop_->run_once(std::chrono::milliseconds(1));
    }
    return true;
  }
  fakes::ManualClock manual_clock_;
  Clock* clock_ = &system_clock();  // of the loop that SetUp makes
  std::unique_ptr<Loop> loop_;
};
inline std::string io_name(const testing::TestParamInfo<IoKind>& p) {
  return p.param == IoKind::uring ? "uring" : "epoll";
}

// A listening socket on a free port of loopback; closed at the end.
struct Listening {
  Listening() {
    auto made = net::listen_tcp(*net::parse_address("127.0.0.1:0"));
    TRELLIS_ASSERT(made.has_value());
    fd = *made;
    address = net::local_of(fd);
  }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  ~Listening() { close(); }
  void close() {
    if (fd >= 0) ::close(std::exchange(fd, -1));
  }
  int fd = -1;
  net::Address address;
};

// Two ends of a TCP connection: the descriptor for who is tested, the socket for the test.
struct TcpPair {
  int fd = -1;
  Socket far;
};
inline TcpPair tcp_pair(Loop& loop, int receive_buffer = 0) {
  Listening listening;
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (receive_buffer > 0) ::setsockopt(client, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  TRELLIS_ASSERT(
      ::connect(client, reinterpret_cast<const sockaddr*>(&listening.address.storage), listening.address.length) == 0);
  const int flags = SOCK_CLOEXEC | (loop.io().wants_nonblocking() ? SOCK_NONBLOCK : 0);
  const int server = ::accept4(listening.fd, nullptr, nullptr, flags);
  TRELLIS_ASSERT(server >= 0);
  if (loop.io().wants_nonblocking()) TRELLIS_ASSERT(::fcntl(client, F_SETFL, O_NONBLOCK) == 0);
  return {server, Socket::adopt(client)};
}
// Closing it now sends a reset.
inline void reset_on_close(const Socket& socket) {
  const linger hard{1, 0};
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

inline Task<Result<>> send_text(Socket& socket, std::string text, Deadline deadline) {
  iovec vector{text.data(), text.size()};
  auto sent = co_await socket.send({&vector, 1}, deadline);
  co_return sent;
}
// All that comes until `mark` has come (or the end of the stream, if mark is "").
inline Task<Result<std::string>> receive_until(Socket& socket, std::string mark, Deadline deadline) {
  std::string text;
  while (mark.empty() || text.find(mark) == std::string::npos) {
    CO_TRY(Chunk chunk, co_await socket.recv(deadline));
    if (chunk.empty()) break;
    text += chunk.view();
  }
  co_return text;
}
inline Task<Result<std::string>> receive_bytes(Socket& socket, size_t size, Deadline deadline) {
  std::string text;
  while (text.size() < size) {
    CO_TRY(Chunk chunk, co_await socket.recv(deadline));
    if (chunk.empty()) break;
    text += chunk.view();
  }
  co_return text;
}
template <class T>
Task<> into(Task<T> task, std::optional<T>& out) {
  out.emplace(co_await task);
}

inline size_t times(std::string_view text, std::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) ++count;
  return count;
}
// What follows the head of an answer.
inline std::string body_of(const std::string& answer) {
  const size_t end = answer.find("\r\n\r\n");
  return end == std::string::npos ? "no head" : answer.substr(end + 4);
}

// A server behind the one that is tested: each connection is talked to by what the test gives, with its number.
class FarServer {
 public:
  using Talk = std::function<Task<>(Socket& socket, int number)>;
  FarServer(Loop& loop, Talk talk)
      : talk_(std::move(talk)),
        acceptor_(listening_.fd, [this](int fd) { group_.spawn(serve(*this, Socket::adopt(fd), connections++)); }) {
    (void)loop;
    acceptor_.start();
  }
  const net::Address& address() const { return listening_.address; }
  int connections = 0;

 private:
  static Task<> serve(FarServer& self, Socket socket, int number) { co_await self.talk_(socket, number); }
  Talk talk_;
  Listening listening_;
  TaskGroup group_;
  Acceptor acceptor_;
};

}  // namespace trellis::http::test
