// An SMTP server of one thread on the loopback that says what a test tells it to and keeps the mails it took.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace trellis::services::mail {

class SmtpFake {
 public:
  // What it answers instead of the usual, by the first word of a command ("" is the greeting, "login" the password,
  // "data" and "." the first line and the end of the data).
  // An answer "" closes the connection without a word.
  using Answers = std::map<std::string, std::string>;

  explicit SmtpFake(Answers answers = {}) : answers_(std::move(answers)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listener_, 16), 0);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    EXPECT_EQ(::pipe2(stop_, O_CLOEXEC), 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~SmtpFake() {
    EXPECT_EQ(::write(stop_[1], "x", 1), 1);
    thread_.join();
    ::close(stop_[0]);
    ::close(stop_[1]);
    ::close(listener_);
  }
  SmtpFake(const SmtpFake&) = delete;
  SmtpFake& operator=(const SmtpFake&) = delete;

  uint16_t port() const noexcept { return port_; }
  void answer(const std::string& word, const std::string& reply) {
    const std::lock_guard lock(mutex_);
    answers_[word] = reply;
  }
  std::vector<std::string> commands() {
    const std::lock_guard lock(mutex_);
    return commands_;
  }
  // Their data, with the dots that SMTP adds taken off.
  std::vector<std::string> mails() {
    const std::lock_guard lock(mutex_);
    return mails_;
  }

 private:
  bool readable(int fd) {
    pollfd both[2] = {{fd, POLLIN, 0}, {stop_[0], POLLIN, 0}};
    return ::poll(both, 2, -1) > 0 && (both[1].revents & POLLIN) == 0;
  }
  void serve() {
    while (readable(listener_)) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      talk(fd);
      ::close(fd);
    }
  }
  bool say(int fd, const std::string& word, const std::string& usual) {
    std::string reply = usual;
    {
      const std::lock_guard lock(mutex_);
      const auto found = answers_.find(word);
      if (found != answers_.end()) reply = found->second;
    }
    if (reply.empty()) return false;
    reply += "\r\n";
    return ::send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(reply.size());
  }
  bool line(int fd, std::string& rest, std::string& out) {
    while (true) {
      const size_t end = rest.find("\r\n");
      if (end != std::string::npos) {
        out = rest.substr(0, end);
        rest.erase(0, end + 2);
        return true;
      }
      char bytes[4096];
      if (!readable(fd)) return false;
      const ssize_t got = ::recv(fd, bytes, sizeof(bytes), 0);
      if (got <= 0) return false;
      rest.append(bytes, static_cast<size_t>(got));
    }
  }
  void talk(int fd) {
    std::string rest;
    std::string text;
    if (!say(fd, "", "220 fake ready")) return;
    while (line(fd, rest, text)) {
      const std::string word = text.substr(0, text.find(' '));
      {
        const std::lock_guard lock(mutex_);
        commands_.push_back(text);
      }
      const std::string usual = word == "EHLO"   ? "250-fake\r\n250 AUTH PLAIN"
                                : word == "DATA" ? "354 go on"
                                : word == "AUTH" ? "334 "
                                : word == "QUIT" ? "221 bye"
                                                 : "250 fine";
      if (!say(fd, word, usual) || word == "QUIT") return;
      if (word == "AUTH") {
        if (!line(fd, rest, text)) return;
        {
          const std::lock_guard lock(mutex_);
          commands_.push_back(text);
        }
        if (!say(fd, "login", "235 welcome")) return;
      }
      if (word != "DATA") continue;
      {
        const std::lock_guard lock(mutex_);
        if (answers_.contains("DATA") && !answers_["DATA"].starts_with("354")) continue;
      }
      std::string data;
      while (line(fd, rest, text)) {
        if (text == ".") break;
        if (text.starts_with("..")) text.erase(0, 1);
        data += text + "\r\n";
        const std::lock_guard lock(mutex_);
        if (answers_.contains("data")) return;  // drops it in the middle
      }
      {
        const std::lock_guard lock(mutex_);
        mails_.push_back(std::move(data));
      }
      if (!say(fd, ".", "250 taken")) return;
    }
  }

  std::mutex mutex_;
  Answers answers_;
  std::vector<std::string> commands_;
  std::vector<std::string> mails_;
  int listener_ = -1;
  int stop_[2] = {-1, -1};
  uint16_t port_ = 0;
  std::thread thread_;
};

}  // namespace trellis::services::mail
