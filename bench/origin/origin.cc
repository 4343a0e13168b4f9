// A server with fixed answers, as cheap as a plain epoll loop can be: what stands behind the proxies while they are
// measured, so that as little as possible of the machine goes to it. One thread; keep-alive and pipelining; bodies of
// requests are skipped by their Content-Length, and answered behind them. It is no server for anything else: it reads
// only what it must of a request.
//
//   trellis_origin [PORT]     listens on 127.0.0.1:PORT (9000; 0: any) and prints "listening on PORT"
//
// /small and /slow 100 bytes, /1k, /64k, /1m, /echo a WebSocket whose messages come back, /cached/1k, 16k, 64k and 1m
// with anything behind a further slash: what may be stored for an hour. 404 for the rest.
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace trellis::origin {
namespace {

constexpr size_t kBuffer = 64 * 1024;
constexpr size_t kMaxHead = 32 * 1024;
constexpr std::string_view kEndOfHead = "\r\n\r\n";

std::string answer(std::string_view status, size_t size, std::string_view more = "") {
  return fmt::format("HTTP/1.1 {}\r\nServer: origin\r\nContent-Type: text/plain\r\n{}Content-Length: {}\r\n\r\n{}",
                     status, more, size, std::string(size, 'o'));
}

std::string cacheable(size_t size) {
  return answer("200 OK", size,
                "Cache-Control: public, max-age=3600\r\nLast-Modified: Sun, 01 Nov 2026 08:00:00 GMT\r\n"
                "ETag: \"5f1e-60a1c2b3d4e5f\"\r\n");
}

struct Connection {
  int fd = -1;
  uint64_t skip = 0;                  // bytes of a request's body still to come
  const std::string* then = nullptr;  // what is answered behind them
  bool echo = false;                  // speaks WebSocket
  std::string partial;                // the piece of a head that has come so far
  std::string_view unsent;            // of an answer that the socket did not take at once
  std::string queued;                 // answers to pipelined requests behind it
  std::string sending;                // what `unsent` is part of, when it was queued
};

class Origin {
 public:
  Origin() : small_(answer("200 OK", 100)), missing_(answer("404 Not Found", 0)) {
    answers_["/slow"] = small_;
    answers_["/1k"] = answer("200 OK", 1024);
    answers_["/64k"] = answer("200 OK", 64 * 1024);
    answers_["/1m"] = answer("200 OK", 1024 * 1024);
    answers_["/cached/1k"] = cacheable(1024);
    answers_["/cached/16k"] = cacheable(16 * 1024);
    answers_["/cached/64k"] = cacheable(64 * 1024);
    answers_["/cached/1m"] = cacheable(1024 * 1024);
  }

  int run(uint16_t port) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    constexpr int kBacklog = 4096;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, kBacklog) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      std::perror("trellis_origin");
      return 1;
    }
    fmt::print("listening on {}\n", ntohs(address.sin_port));
    std::fflush(stdout);
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{EPOLLIN, {.ptr = nullptr}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event);
    constexpr int kEvents = 256;
    epoll_event events[kEvents];
    for (;;) {
      int count = epoll_wait(epoll_, events, kEvents, -1);
      for (int i = 0; i < count; ++i) {
        if (events[i].data.ptr == nullptr) {
          accept_all();
          continue;
        }
        auto& c = *static_cast<Connection*>(events[i].data.ptr);
        if ((events[i].events & EPOLLOUT) != 0 && !c.unsent.empty() && !flush(c)) continue;
        if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read(c);
      }
    }
  }

 private:
  void accept_all() {
    for (;;) {
      int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      auto c = std::make_unique<Connection>();
      c->fd = fd;
      epoll_event event{EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = c.get()}};
      epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
      connections_[fd] = std::move(c);
    }
  }

  void drop(Connection& c) {
    int fd = c.fd;
    close(fd);
    connections_.erase(fd);
  }

  void read(Connection& c) {
    for (;;) {
      ssize_t n = recv(c.fd, buffer_, kBuffer, 0);
      if (n == 0 || (n < 0 && errno != EAGAIN)) return drop(c);
      if (n < 0) return;
      if (!take(c, {buffer_, static_cast<size_t>(n)})) return drop(c);
      if (static_cast<size_t>(n) < kBuffer) return;
    }
  }

  // Answers every request that is complete; false when the connection is of no use any more.
  bool take(Connection& c, std::string_view data) {
    std::string joined;
    if (!c.partial.empty()) {
      joined = std::move(c.partial);
      c.partial.clear();
      joined += data;
      data = joined;
    }
    while (!data.empty()) {
      if (c.skip > 0) {
        size_t part = std::min<uint64_t>(c.skip, data.size());
        c.skip -= part;
        data.remove_prefix(part);
        if (c.skip == 0 && !send_answer(c, *c.then)) return false;
        continue;
      }
      if (c.echo) return echo(c, data);
      size_t end = data.find(kEndOfHead);
      if (end == std::string_view::npos) {
        c.partial.assign(data);
        return data.size() <= kMaxHead;
      }
      std::string_view head = data.substr(0, end);
      data.remove_prefix(end + kEndOfHead.size());
      // GET and HEAD carry no body here, and they are all that is measured hot.
      if (head[0] == 'P') c.skip = body_length(head);
      const std::string& chosen = choose(head);
      c.echo = &chosen == &upgraded_;
      if (c.skip > 0) {
        c.then = &chosen;
      } else if (!send_answer(c, chosen)) {
        return false;
      }
    }
    return true;
  }

  const std::string& choose(std::string_view head) const {
    size_t space = head.find(' ');
    if (space == std::string_view::npos) return missing_;
    head.remove_prefix(space + 1);
    std::string_view path = head.substr(0, head.find(' '));
    if (path == "/small") return small_;
    if (path == "/echo") return upgraded_;
    // Of "/cached/1k/17" what stands before the third slash.
    constexpr std::string_view kCached = "/cached/";
    if (path.starts_with(kCached)) path = path.substr(0, path.find('/', kCached.size()));
    auto found = answers_.find(std::string(path));
    return found == answers_.end() ? missing_ : found->second;
  }

  // Whole messages of a client, in one frame each, go back unmasked.
  bool echo(Connection& c, std::string_view data) {
    constexpr size_t kMask = 4;
    constexpr size_t kLong = 126;  // the length follows in two bytes; longer forms are not spoken here
    std::string back;
    while (data.size() >= 2) {
      const auto byte = [&data](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(data[i])); };
      size_t head = 2;
      size_t size = byte(1) & 0x7f;
      if (size > kLong || byte(1) < 0x80) return false;
      if (size == kLong) {
        head = 4;
        if (data.size() < head) break;
        size = byte(2) << 8 | byte(3);
      }
      if (data.size() < head + kMask + size) break;
      back += data[0];
      back += static_cast<char>(byte(1) & 0x7f);
      back += data.substr(2, head - 2);
      for (size_t i = 0; i < size; ++i) {
        back += static_cast<char>(data[head + kMask + i] ^ data[head + i % kMask]);
      }
      data.remove_prefix(head + kMask + size);
    }
    c.partial.assign(data);
    return back.empty() || send_copy(c, std::move(back));
  }

  static uint64_t body_length(std::string_view head) {
    std::string line(head);
    const char* found = strcasestr(line.c_str(), "\ncontent-length:");
    constexpr size_t kName = sizeof("\ncontent-length:") - 1;
    return found == nullptr ? 0 : std::strtoull(found + kName, nullptr, 10);
  }

  bool send_answer(Connection& c, const std::string& bytes) {
    if (!c.unsent.empty()) {
      c.queued += bytes;
      return c.queued.size() < (size_t{64} << 20);
    }
    c.unsent = bytes;
    return push(c);
  }

  bool send_copy(Connection& c, std::string bytes) {
    if (!c.unsent.empty()) return send_answer(c, bytes);
    c.sending = std::move(bytes);
    c.unsent = c.sending;
    return push(c);
  }

  bool push(Connection& c) {
    while (!c.unsent.empty()) {
      ssize_t n = send(c.fd, c.unsent.data(), c.unsent.size(), MSG_NOSIGNAL);
      if (n < 0) return errno == EAGAIN;
      c.unsent.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  // False when the connection was dropped.
  bool flush(Connection& c) {
    while (true) {
      if (!push(c)) {
        drop(c);
        return false;
      }
      if (!c.unsent.empty() || c.queued.empty()) return true;
      c.sending = std::move(c.queued);
      c.queued.clear();
      c.unsent = c.sending;
    }
  }

  std::string small_;
  std::string missing_;
  // To the key that the load generator has, which is the one of RFC 6455 section 1.3.
  std::string upgraded_ =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
  std::unordered_map<std::string, std::string> answers_;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
  int listener_ = -1;
  int epoll_ = -1;
  char buffer_[kBuffer];
};

}  // namespace
}  // namespace trellis::origin

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  constexpr int kDefaultPort = 9000;
  int port = argc > 1 ? std::atoi(argv[1]) : kDefaultPort;
  auto origin = std::make_unique<trellis::origin::Origin>();
  return origin->run(static_cast<uint16_t>(port));
}
