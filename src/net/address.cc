#include "net/address.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

namespace trellis::net {

std::string Address::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(storage).sin_addr, text, sizeof text);
  } else if (storage.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&six)) {
      inet_ntop(AF_INET, six.s6_addr + 12, text, sizeof text);
    } else {
      inet_ntop(AF_INET6, &six, text, sizeof text);
    }
  }
  return text;
}

uint16_t Address::port() const noexcept {
  if (storage.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port);
  if (storage.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(storage).sin6_port);
  return 0;
}

std::string Address::to_string() const {
  std::string text = host();
  if (text.find(':') != std::string::npos) text = "[" + text + "]";
  return text + ":" + std::to_string(port());
}

Result<std::pair<std::string, uint16_t>> split_host_port(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) {
    return fail(Code::invalid_argument, "\"" + std::string(text) + "\" is no HOST:PORT");
  }
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  unsigned port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port > 65535) {
    return fail(Code::invalid_argument, "\"" + std::string(digits) + "\" is no port (0 to 65535)");
  }
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return fail(Code::invalid_argument, "an IPv6 address wants brackets: [" + std::string(host) + "]");
  }
  return std::pair(std::string(host), static_cast<uint16_t>(port));
}

Result<Address> make_address(std::string_view numeric_host, uint16_t port) {
  const std::string host(numeric_host);
  Address address;
  auto& four = reinterpret_cast<sockaddr_in&>(address.storage);
  auto& six = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (inet_pton(AF_INET, host.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    address.length = sizeof four;
    return address;
  }
  if (inet_pton(AF_INET6, host.c_str(), &six.sin6_addr) == 1) {
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(port);
    address.length = sizeof six;
    return address;
  }
  return fail(Code::invalid_argument, "\"" + host + "\" is no IP address");
}

Result<Address> parse_address(std::string_view text) {
  TRY(auto parts, split_host_port(text));
  if (parts.first == "*") parts.first = "0.0.0.0";
  if (parts.first == "localhost") parts.first = "127.0.0.1";
  return make_address(parts.first, parts.second);
}

Address peer_of(int fd) noexcept {
  Address address;
  address.length = sizeof address.storage;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) address = Address();
  return address;
}

Address local_of(int fd) noexcept {
  Address address;
  address.length = sizeof address.storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) address = Address();
  return address;
}

Result<> probe_free(const Address& address, int type) {
  if (address.port() == 0) return {};
  const int fd = ::socket(address.storage.ss_family, type | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(errno_error("socket", errno));
  const int on = 1;
  // Of UDP it would let two share the address.
  if (type == SOCK_STREAM) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool is_free = ::bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0;
  const int error = errno;
  ::close(fd);
  if (is_free) return {};
  return fail(errno_error("listen on " + address.to_string(), error));
}

Result<int> bind_tcp(const Address& address) {
  const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(errno_error("socket", errno));
  const int on = 1;
  const bool ready = ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                     ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 &&
                     ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
                     ::bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0;
  if (!ready) {
    const int error = errno;
    ::close(fd);
    return fail(errno_error("listen on " + address.to_string(), error));
  }
  return fd;
}

Result<> start_listening(int fd, int backlog) {
  if (::listen(fd, backlog) == 0) return {};
  return fail(errno_error("listen on " + local_of(fd).to_string(), errno));
}

Result<int> listen_tcp(const Address& address, int backlog) {
  TRY(const int fd, bind_tcp(address));
  if (Result<> listens = start_listening(fd, backlog); !listens) {
    ::close(fd);
    return fail(std::move(listens).error());
  }
  return fd;
}

namespace {

constexpr auto kHandshake = std::chrono::milliseconds(100);  // to its end, once it has begun
constexpr auto kLongestAccepting = std::chrono::seconds(2);

// Drops what asks for a new connection: SYN without ACK in the TCP header's flags.
void drop_new(int fd) noexcept {
  constexpr uint32_t kFlags = 13;
  constexpr uint32_t kSyn = 0x02;
  constexpr uint32_t kAck = 0x10;
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlags),      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kSyn | kAck),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kSyn, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  const sock_fprog program{.len = std::size(code), .filter = code};
  // Where the kernel has no filters, connections that come in the next moment are lost as they were before.
  ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

}  // namespace

void let_last_ones_in(std::span<const int> listening) {
  if (listening.empty()) return;
  std::vector<pollfd> backlogs;
  for (const int fd : listening) {
    drop_new(fd);
    backlogs.push_back({fd, POLLIN, 0});
  }
  const auto begun = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(kHandshake);
  while (::poll(backlogs.data(), backlogs.size(), 0) > 0 &&
         std::chrono::steady_clock::now() < begun + kLongestAccepting)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

}  // namespace trellis::net
