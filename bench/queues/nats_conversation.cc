#include <fmt/format.h>

#include <charconv>

#include "queues/conversation.h"

namespace trellis::bench {
namespace {

class Publisher final : public Conversation {
 public:
  Publisher(const std::string& subject, size_t number, const std::string& payload)
      : greeting_(fmt::format("CONNECT {{\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"lang\":\"bench\","
                              "\"version\":\"1\"}}\r\nSUB _INBOX.{} 1\r\n",
                              number)),
        request_(fmt::format("PUB {} _INBOX.{} {}\r\n{}\r\n", subject, number, payload.size(), payload)) {}
  void say(std::string& out) override {
    out += greeting_;
    greeting_.clear();
    out += request_;
  }
  Reply hear(std::string_view bytes) override {
    const size_t end = bytes.find("\r\n");
    if (end == std::string_view::npos) return {};
    const std::string_view line = bytes.substr(0, end);
    if (line.starts_with("-ERR")) return {Reply::Kind::failed, end + 2, 0};
    if (!line.starts_with("MSG ")) return {Reply::Kind::ignored, end + 2, 0};  // INFO, PING
    size_t size = 0;
    const std::string_view last = line.substr(line.rfind(' ') + 1);
    std::from_chars(last.data(), last.data() + last.size(), size);
    if (bytes.size() < end + 2 + size + 2) return {};
    const std::string_view body = bytes.substr(end + 2, size);
    const bool good = body.find("\"seq\"") != std::string_view::npos;
    return {good ? Reply::Kind::answered : Reply::Kind::failed, end + 2 + size + 2, 1};
  }

 private:
  std::string greeting_;
  std::string request_;
};

}  // namespace

std::unique_ptr<Conversation> nats_producer(std::string subject, size_t number, std::string payload) {
  return std::make_unique<Publisher>(subject, number, payload);
}

}  // namespace trellis::bench
