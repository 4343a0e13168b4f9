#include "net/client_hello.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace trellis::net {

namespace {

constexpr size_t kRecordHead = 5;
constexpr size_t kMessageHead = 4;
constexpr size_t kMaxRecord = 16 * 1024;
constexpr uint8_t kHandshake = 22;
// From change_cipher_spec to heartbeat (RFC 8446 section 5.1, RFC 6520).
constexpr bool is_record_type(uint8_t type) noexcept { return type >= 20 && type <= 24; }
constexpr uint8_t kClientHello = 1;
constexpr size_t kServerName = 0;
constexpr size_t kAlpn = 16;

uint8_t byte_at(std::string_view bytes, size_t at) noexcept { return static_cast<uint8_t>(bytes[at]); }
size_t number_at(std::string_view bytes, size_t at, size_t width) noexcept {
  size_t number = 0;
  for (size_t i = 0; i < width; ++i) number = number << 8 | byte_at(bytes, at + i);
  return number;
}

// Takes fields off the front of a message; a field that is not there makes all later ones empty and good() false.
class Fields {
 public:
  explicit Fields(std::string_view bytes) noexcept : left_(bytes) {}
  std::string_view bytes(size_t count) noexcept {
    if (count > left_.size()) {
      good_ = false;
      left_ = {};
      return {};
    }
    const std::string_view out = left_.substr(0, count);
    left_.remove_prefix(count);
    return out;
  }
  size_t number(size_t width) noexcept {
    const std::string_view text = bytes(width);
    return good_ ? number_at(text, 0, width) : 0;
  }
  // A length of `width` bytes, then so many.
  std::string_view sized(size_t width) noexcept { return bytes(number(width)); }
  bool good() const noexcept { return good_; }
  bool more() const noexcept { return good_ && !left_.empty(); }
  bool done() const noexcept { return good_ && left_.empty(); }

 private:
  std::string_view left_;
  bool good_ = true;
};

// A host name as DNS and certificates write it. Addresses are none (RFC 6066), but what looks like one does no harm.
std::optional<std::string> host_name(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty() || text.size() > 253 || text.front() == '.') return std::nullopt;
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (!plain) return std::nullopt;
  }
  if (out.find("..") != std::string::npos) return std::nullopt;
  return out;
}

bool read_server_name(std::string_view extension, ClientHello& hello) {
  Fields outer(extension);
  Fields names(outer.sized(2));
  const size_t type = names.number(1);
  const std::string_view name = names.sized(2);
  // One name of the one type there is.
  if (!outer.done() || !names.done() || type != 0) return false;
  std::optional<std::string> host = host_name(name);
  if (!host) return false;
  hello.server_name = *std::move(host);
  return true;
}

bool read_alpn(std::string_view extension, ClientHello& hello) {
  Fields outer(extension);
  Fields names(outer.sized(2));
  if (!outer.done() || !names.more()) return false;
  while (names.more()) {
    const std::string_view name = names.sized(1);
    if (!names.good() || name.empty()) return false;
    hello.alpn.emplace_back(name);
  }
  return true;
}

// `body`: of the message, without its head.
bool read_body(std::string_view body, ClientHello& hello) {
  Fields fields(body);
  const size_t version = fields.number(2);
  fields.bytes(32);  // random
  const std::string_view session = fields.sized(1);
  const std::string_view suites = fields.sized(2);
  const std::string_view compressions = fields.sized(1);
  if (!fields.good() || version >> 8 != 3 || session.size() > 32 || suites.size() < 2 || suites.size() % 2 != 0 ||
      compressions.empty())
    return false;
  if (fields.done()) return true;  // before TLS 1.3 there may be no extensions
  Fields extensions(fields.sized(2));
  if (!fields.done()) return false;
  bool names = false;
  bool protocols = false;
  while (extensions.more()) {
    const size_t type = extensions.number(2);
    const std::string_view extension = extensions.sized(2);
    if (!extensions.good()) return false;
    // No type may come twice (RFC 8446 section 4.2): who reads the other one would route elsewhere.
    if (type == kServerName) {
      if (std::exchange(names, true) || !read_server_name(extension, hello)) return false;
    } else if (type == kAlpn) {
      if (std::exchange(protocols, true) || !read_alpn(extension, hello)) return false;
    }
  }
  return extensions.good();
}

// The message's first `count` bytes, taken out of the records that hold them.
std::string gather(std::string_view bytes, size_t count) {
  std::string out;
  for (size_t at = 0; out.size() < count;) {
    const size_t size = number_at(bytes, at + 3, 2);
    out += bytes.substr(at + kRecordHead, std::min(size, count - out.size()));
    at += kRecordHead + size;
  }
  return out;
}

}  // namespace

std::string_view to_string(HelloState state) noexcept {
  switch (state) {
    case HelloState::incomplete: return "incomplete";
    case HelloState::complete: return "complete";
    case HelloState::not_tls: return "not_tls";
    case HelloState::malformed: return "malformed";
    case HelloState::too_long: return "too_long";
  }
  return "incomplete";
}

HelloState ClientHelloReader::read(std::string_view bytes, ClientHello& hello) {
  bytes = bytes.substr(0, kMaxClientHello);
  const HelloState state = step(bytes, hello);
  return state == HelloState::incomplete && bytes.size() >= kMaxClientHello ? HelloState::too_long : state;
}

HelloState ClientHelloReader::step(std::string_view bytes, ClientHello& hello) {
  while (true) {
    const std::string_view record = bytes.substr(std::min(record_, bytes.size()));
    const HelloState broken = record_ == 0 ? HelloState::not_tls : HelloState::malformed;
    if (!record.empty() && !is_record_type(byte_at(record, 0))) return broken;
    if (record.size() > 1 && byte_at(record, 1) != 3) return broken;
    // Nothing comes before a hello; but there are servers that pass over an empty record of another type, too.
    if (record.size() > 1 && byte_at(record, 0) != kHandshake) return HelloState::malformed;
    if (record.size() < kRecordHead) return HelloState::incomplete;
    const size_t size = number_at(record, 3, 2);
    // Also of the first one: the same servers pass over it.
    if (size == 0 || size > kMaxRecord) return HelloState::malformed;
    const size_t there = std::min(size, record.size() - kRecordHead);
    if (record_ == 0 && there > 0 && byte_at(record, kRecordHead) != kClientHello) return HelloState::malformed;
    if (wanted_ == SIZE_MAX && handshake_ + there >= kMessageHead) {
      wanted_ = kMessageHead + number_at(gather(bytes, kMessageHead), 1, 3);
      if (wanted_ > kMaxClientHello - kRecordHead) return HelloState::too_long;
    }
    if (handshake_ + there >= wanted_) break;
    if (there < size) return HelloState::incomplete;
    handshake_ += size;
    record_ += kRecordHead + size;
  }
  const bool one_record = record_ == 0;
  const std::string joined = one_record ? std::string() : gather(bytes, wanted_);
  const std::string_view message = one_record ? bytes.substr(kRecordHead, wanted_) : std::string_view(joined);
  return read_body(message.substr(kMessageHead), hello) ? HelloState::complete : HelloState::malformed;
}

std::string_view unrecognized_name_alert() noexcept {
  static constexpr std::string_view kAlert{"\x15\x03\x03\0\x02\x02\x70", 7};
  return kAlert;
}

}  // namespace trellis::net
