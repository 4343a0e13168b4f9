#include "queues/socket_load.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>
#include <vector>

namespace trellis::bench {
namespace {

struct Connection {
  int fd = -1;
  std::unique_ptr<Conversation> conversation;
  std::string in;
  std::string out;
  uint64_t asked = 0;
};

class Connections {
 public:
  ~Connections() {
    for (const Connection& connection : all) {
      if (connection.fd >= 0) ::close(connection.fd);
    }
    if (epoll >= 0) ::close(epoll);
  }
  int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<Connection> all;
};

Result<int> open_socket(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(errno_error("socket", errno));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    const int err = errno;
    ::close(fd);
    return fail(errno_error("connect", err));
  }
  return fd;
}

// Requests are small and one at a time, so a socket takes them whole; should it not, the call waits.
bool ask(Connection& connection) {
  connection.out.clear();
  connection.conversation->say(connection.out);
  connection.asked = now_nanos();
  for (size_t sent = 0; sent < connection.out.size();) {
    const ssize_t n = ::send(connection.fd, connection.out.data() + sent, connection.out.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

// False: the connection is of no more use.
bool listen_to(Connection& connection, Tally& tally) {
  std::array<char, size_t{64} << 10> buffer;
  const ssize_t n = ::recv(connection.fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) {
    tally.fail("the server closed a connection");
    return false;
  }
  connection.in.append(buffer.data(), static_cast<size_t>(n));
  while (true) {
    const Reply reply = connection.conversation->hear(connection.in);
    if (reply.kind == Reply::Kind::partial) return true;
    if (reply.kind == Reply::Kind::failed) {
      tally.fail(connection.in.substr(0, std::min<size_t>(reply.bytes, 300)));
      return false;
    }
    connection.in.erase(0, reply.bytes);
    if (reply.kind == Reply::Kind::ignored) continue;
    if (reply.events > 0) tally.record(reply.events, now_nanos() - connection.asked);
    if (tally.stopped()) return false;
    if (!ask(connection)) {
      tally.fail("the server takes nothing more");
      return false;
    }
  }
}

void converse(Connections& connections, Tally& tally) {
  std::array<epoll_event, 256> events;
  size_t open = connections.all.size();
  while (open > 0 && !tally.stopped()) {
    const int count = ::epoll_wait(connections.epoll, events.data(), static_cast<int>(events.size()), 50);
    for (int i = 0; i < count; ++i) {
      Connection& connection = connections.all[events[static_cast<size_t>(i)].data.u64];
      if (listen_to(connection, tally)) continue;
      ::epoll_ctl(connections.epoll, EPOLL_CTL_DEL, connection.fd, nullptr);
      --open;
    }
  }
}

}  // namespace

Result<std::string> run_socket(const Options& options, const MakeConversation& make) {
  Connections connections;
  for (size_t i = 0; i < options.producers; ++i) {
    Connection& connection = connections.all.emplace_back();
    TRY(connection.fd, open_socket(options.port));
    connection.conversation = make(i);
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    ::epoll_ctl(connections.epoll, EPOLL_CTL_ADD, connection.fd, &event);
    if (!ask(connection)) return fail(Code::unavailable, "the server takes no requests");
  }
  Tally tally;
  std::thread thread([&] { converse(connections, tally); });
  const Result<Measurement> found = measure(options, tally);
  tally.phase.store(Phase::stop);
  thread.join();
  if (!found) return fail(found.error().clone());
  return as_json(*found, tally, "");
}

}  // namespace trellis::bench
