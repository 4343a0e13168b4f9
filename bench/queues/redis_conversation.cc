#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <vector>

#include "base/rng.h"
#include "queues/conversation.h"

namespace trellis::bench {
namespace {

constexpr int kMostDepth = 8;

void append_command(std::string& out, const std::vector<std::string_view>& words) {
  out += fmt::format("*{}\r\n", words.size());
  for (const std::string_view word : words) {
    out += fmt::format("${}\r\n", word.size());
    out += word;
    out += "\r\n";
  }
}

struct Value {
  char kind = 0;            // + - : $ *
  std::string_view text;    // of all but *
  std::vector<Value> list;  // of *
};

// A whole value at the front of `bytes`, taken off it; none when it is not all there.
std::optional<Value> take_value(std::string_view& bytes, int depth = 0) {
  const size_t end = bytes.find("\r\n");
  if (end == std::string_view::npos || end == 0 || depth > kMostDepth) return std::nullopt;
  Value value;
  value.kind = bytes[0];
  value.text = bytes.substr(1, end - 1);
  std::string_view rest = bytes.substr(end + 2);
  if (value.kind == '$' || value.kind == '*') {
    int64_t count = 0;
    std::from_chars(value.text.data(), value.text.data() + value.text.size(), count);
    value.text = {};
    if (value.kind == '$' && count >= 0) {
      const auto size = static_cast<size_t>(count);
      if (rest.size() < size + 2) return std::nullopt;
      value.text = rest.substr(0, size);
      rest.remove_prefix(size + 2);
    }
    for (int64_t i = 0; value.kind == '*' && i < count; ++i) {
      std::optional<Value> one = take_value(rest, depth + 1);
      if (!one) return std::nullopt;
      value.list.push_back(std::move(*one));
    }
  }
  bytes = rest;
  return value;
}

class Producer final : public Conversation {
 public:
  Producer(const std::string& stream, const std::string& payload) {
    append_command(request_, {"XADD", stream, "*", "v", payload});
  }
  void say(std::string& out) override { out += request_; }
  Reply hear(std::string_view bytes) override {
    std::string_view rest = bytes;
    const std::optional<Value> value = take_value(rest);
    if (!value) return {};
    return {value->kind == '$' ? Reply::Kind::answered : Reply::Kind::failed, bytes.size() - rest.size(), 1};
  }

 private:
  std::string request_;
};

class Consumer final : public Conversation {
 public:
  Consumer(std::string stream, std::string group, std::string name, size_t most)
      : stream_(std::move(stream)), group_(std::move(group)) {
    append_command(read_, {"XREADGROUP", "GROUP", group_, name, "COUNT", std::to_string(most), "BLOCK", "100",
                           "STREAMS", stream_, ">"});
  }
  void say(std::string& out) override {
    if (ids_.empty()) {
      out += read_;
      return;
    }
    std::vector<std::string_view> words{"XACK", stream_, group_};
    words.insert(words.end(), ids_.begin(), ids_.end());
    append_command(out, words);
    words = {"XDEL", stream_};
    words.insert(words.end(), ids_.begin(), ids_.end());
    append_command(out, words);
  }
  Reply hear(std::string_view bytes) override {
    std::string_view rest = bytes;
    const std::optional<Value> value = take_value(rest);
    if (!value) return {};
    if (value->kind == '-') return {Reply::Kind::failed, bytes.size() - rest.size(), 0};
    if (!ids_.empty()) {  // of the XACK and of the XDEL
      const std::optional<Value> deleted = take_value(rest);
      if (!deleted) return {};
      const uint64_t events = ids_.size();
      ids_.clear();
      return {deleted->kind == ':' ? Reply::Kind::answered : Reply::Kind::failed, bytes.size() - rest.size(), events};
    }
    // [[stream, [[id, [field, value]], ...]]], or nothing within the time.
    if (!value->list.empty() && value->list[0].list.size() == 2) {
      for (const Value& entry : value->list[0].list[1].list) {
        if (!entry.list.empty()) ids_.emplace_back(entry.list[0].text);
      }
    }
    return {Reply::Kind::answered, bytes.size() - rest.size(), 0};
  }

 private:
  std::string stream_;
  std::string group_;
  std::string read_;
  std::vector<std::string> ids_;  // read and not acknowledged
};

class Reader final : public Conversation {
 public:
  Reader(size_t keys, uint64_t seed) : keys_(keys), rng_(seed) {}
  void say(std::string& out) override {
    const std::string key = fmt::format("key{}", rng_.below(keys_));
    append_command(out, {"GET", key});
  }
  Reply hear(std::string_view bytes) override {
    std::string_view rest = bytes;
    const std::optional<Value> value = take_value(rest);
    if (!value) return {};
    return {value->kind == '$' && !value->text.empty() ? Reply::Kind::answered : Reply::Kind::failed,
            bytes.size() - rest.size(), 1};
  }

 private:
  size_t keys_;
  Rng rng_;
};

}  // namespace

std::unique_ptr<Conversation> redis_producer(std::string stream, std::string payload) {
  return std::make_unique<Producer>(stream, payload);
}
std::unique_ptr<Conversation> redis_consumer(std::string stream, std::string group, std::string name, size_t most) {
  return std::make_unique<Consumer>(std::move(stream), std::move(group), std::move(name), most);
}
std::unique_ptr<Conversation> redis_reader(size_t keys, uint64_t seed) { return std::make_unique<Reader>(keys, seed); }

}  // namespace trellis::bench
