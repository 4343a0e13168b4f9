#include "load/idle_connections.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>

#include "load/response_reader.h"

namespace trellis::load {
namespace {

constexpr unsigned kPerAddress = 20'000;
constexpr uint32_t kFirstSource = (127U << 24) + 2;  // 127.0.0.2

Result<> one_request(int fd, std::string_view request, bool head_request) {
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) {
    return fail(errno_error("send", errno));
  }
  ResponseReader reader;
  reader.start(head_request);
  char buffer[16 * 1024];
  while (!reader.complete() && !reader.broken()) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0) return fail(errno_error("recv", errno));
    if (n == 0) return fail(Code::unavailable, "closed by the server");
    reader.feed(buffer, static_cast<size_t>(n));
  }
  if (reader.broken()) return fail(Code::data_loss, std::string("framing: ") += to_string(reader.fault()));
  if (reader.server_closes()) return fail(Code::unavailable, "the server does not keep connections");
  return {};
}

}  // namespace

IdleConnections::~IdleConnections() {
  for (int fd : sockets_) close(fd);
}

Result<> IdleConnections::open(unsigned count, const sockaddr_in& server, std::string_view request, bool head_request) {
  sockets_.reserve(count);
  for (unsigned i = 0; i < count; ++i) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(errno_error(fmt::format("idle connection {}", i + 1), errno));
    sockets_.push_back(fd);
    timeval limit{5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (count > kPerAddress) {
      int on = 1;
      setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
      sockaddr_in source{};
      source.sin_family = AF_INET;
      source.sin_addr.s_addr = htonl(kFirstSource + i / kPerAddress);
      if (bind(fd, reinterpret_cast<const sockaddr*>(&source), sizeof source) != 0) {
        return fail(errno_error("bind", errno));
      }
    }
    if (connect(fd, reinterpret_cast<const sockaddr*>(&server), sizeof server) != 0) {
      return fail(errno_error(fmt::format("idle connection {}", i + 1), errno));
    }
    if (auto done = one_request(fd, request, head_request); !done) {
      return fail(Error(Code::unavailable, fmt::format("idle connection {}", i + 1)).because(std::move(done).error()));
    }
  }
  return {};
}

unsigned IdleConnections::alive() const noexcept {
  unsigned count = 0;
  for (int fd : sockets_) {
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) ++count;
  }
  return count;
}

}  // namespace trellis::load
