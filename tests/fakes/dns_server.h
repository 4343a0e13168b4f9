// A DNS server on a loopback port, UDP and TCP, that says what a test wants. Its own thread; the handler runs there.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "net/address.h"

namespace trellis::fakes {

// An answer in the making: names are written in full.
class DnsMessage {
 public:
  struct Question {
    std::string name;
    uint16_t type = 0;
    bool tcp = false;
  };

  static void put16(std::string& out, uint32_t value) {
    out += static_cast<char>(value >> 8 & 0xFF);
    out += static_cast<char>(value & 0xFF);
  }
  static void put32(std::string& out, uint32_t value) {
    put16(out, value >> 16);
    put16(out, value & 0xFFFF);
  }
  static std::string name(std::string text) {
    std::string out;
    while (!text.empty()) {
      const size_t dot = std::min(text.find('.'), text.size());
      out += static_cast<char>(dot);
      out += text.substr(0, dot);
      text.erase(0, dot + 1);
    }
    out += '\0';
    return out;
  }

  std::string records;
  uint16_t count = 0;
  uint16_t rcode = 0;
  bool truncated = false;

  DnsMessage& add(const std::string& owner, uint16_t type, uint32_t ttl, const std::string& data) {
    records += name(owner);
    put16(records, type);
    put16(records, 1);
    put32(records, ttl);
    put16(records, static_cast<uint32_t>(data.size()));
    records += data;
    ++count;
    return *this;
  }
  DnsMessage& a(const std::string& owner, uint32_t ttl, const std::string& address) {
    std::string data(4, '\0');
    ::inet_pton(AF_INET, address.c_str(), data.data());
    return add(owner, 1, ttl, data);
  }
  DnsMessage& aaaa(const std::string& owner, uint32_t ttl, const std::string& address) {
    std::string data(16, '\0');
    ::inet_pton(AF_INET6, address.c_str(), data.data());
    return add(owner, 28, ttl, data);
  }
  DnsMessage& cname(const std::string& owner, uint32_t ttl, const std::string& to) {
    return add(owner, 5, ttl, name(to));
  }
  DnsMessage& srv(const std::string& owner, uint32_t ttl, uint16_t priority, uint16_t weight, uint16_t port,
                  const std::string& target) {
    std::string data;
    put16(data, priority);
    put16(data, weight);
    put16(data, port);
    return add(owner, 33, ttl, data + name(target));
  }
  std::string bytes(uint16_t id, const Question& question) const {
    std::string out;
    put16(out, id);
    put16(out, 0x8180U | (truncated ? 0x0200U : 0U) | rcode);
    put16(out, 1);
    put16(out, count);
    put32(out, 0);
    out += name(question.name);
    put16(out, question.type);
    put16(out, 1);
    return out + records;
  }
};

class DnsServer {
 public:
  using Question = DnsMessage::Question;
  // The bytes of the answer; none: silence.
  using Handler = std::function<std::optional<std::string>(uint16_t id, const Question& question)>;

  explicit DnsServer(Handler handler) : handler_(std::move(handler)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int tries = 0; tries < 100; ++tries) {  // until a port is free for both
      udp_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      at.sin_port = 0;
      TRELLIS_ASSERT(::bind(udp_, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
      socklen_t size = sizeof at;
      ::getsockname(udp_, reinterpret_cast<sockaddr*>(&at), &size);
      tcp_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (::bind(tcp_, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0 && ::listen(tcp_, 16) == 0) break;
      ::close(udp_);
      ::close(tcp_);
    }
    address_ = *net::make_address("127.0.0.1", ntohs(at.sin_port));
    TRELLIS_ASSERT(::pipe(stop_) == 0);
    thread_ = std::thread([this] { run(); });
  }
  ~DnsServer() {
    ::close(stop_[1]);
    thread_.join();
    for (const int fd : {udp_, tcp_, stop_[0]}) ::close(fd);
  }
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;

  const net::Address& address() const noexcept { return address_; }
  int asked() const noexcept { return asked_.load(); }

 private:
  std::optional<std::string> answer(const std::string& query, bool tcp) {
    if (query.size() < 17) return std::nullopt;
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(query[i]); };
    Question question{.tcp = tcp};
    size_t at = 12;
    while (at < query.size() && byte(at) != 0) {
      if (!question.name.empty()) question.name += '.';
      question.name += query.substr(at + 1, byte(at));
      at += 1U + byte(at);
    }
    question.type = static_cast<uint16_t>(byte(at + 1) << 8 | byte(at + 2));
    ++asked_;
    return handler_(static_cast<uint16_t>(byte(0) << 8 | byte(1)), question);
  }
  void run() {
    while (true) {
      pollfd fds[3] = {{stop_[0], POLLIN, 0}, {udp_, POLLIN, 0}, {tcp_, POLLIN, 0}};
      ::poll(fds, 3, -1);
      if (fds[0].revents != 0) return;
      if (fds[1].revents != 0) {
        char buffer[2048];
        sockaddr_storage from{};
        socklen_t size = sizeof from;
        const ssize_t got = ::recvfrom(udp_, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size);
        if (got > 0) {
          if (const auto bytes = answer(std::string(buffer, static_cast<size_t>(got)), false))
            ::sendto(udp_, bytes->data(), bytes->size(), 0, reinterpret_cast<sockaddr*>(&from), size);
        }
      }
      if (fds[2].revents != 0) serve_tcp();
    }
  }
  void serve_tcp() {
    const int fd = ::accept(tcp_, nullptr, nullptr);
    if (fd < 0) return;
    char buffer[2048];
    size_t have = 0;
    // Queries of one connection until it ends.
    while (true) {
      const ssize_t got = ::recv(fd, buffer + have, sizeof buffer - have, 0);
      if (got <= 0) break;
      have += static_cast<size_t>(got);
      if (have < 2) continue;
      const size_t length = static_cast<size_t>(static_cast<uint8_t>(buffer[0]) << 8 | static_cast<uint8_t>(buffer[1]));
      if (have < 2 + length) continue;
      if (const auto bytes = answer(std::string(buffer + 2, length), true)) {
        std::string framed;
        DnsMessage::put16(framed, static_cast<uint32_t>(bytes->size()));
        framed += *bytes;
        ::send(fd, framed.data(), framed.size(), MSG_NOSIGNAL);
      }
      have -= 2 + length;
      std::copy(buffer + 2 + length, buffer + 2 + length + have, buffer);
    }
    ::close(fd);
  }

  Handler handler_;
  int udp_ = -1;
  int tcp_ = -1;
  int stop_[2] = {-1, -1};
  net::Address address_;
  std::atomic<int> asked_{0};
  std::thread thread_;
};

}  // namespace trellis::fakes
