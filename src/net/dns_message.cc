#include "net/dns_message.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

namespace trellis::net {

namespace {

constexpr size_t kHeader = 12;
constexpr size_t kMaxName = 255;  // RFC 1035 section 2.3.4
constexpr size_t kMaxAliases = 16;
constexpr uint16_t kInternet = 1;
constexpr uint16_t kA = 1;
constexpr uint16_t kCname = 5;
constexpr uint16_t kAaaa = 28;
constexpr uint16_t kSrv = 33;

bool fits_a_host(uint8_t c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// Reads on until something does not fit; then every further read gives nothing.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> message) noexcept : message_(message) {}

  bool good() const noexcept { return good_; }
  size_t at() const noexcept { return at_; }
  size_t size() const noexcept { return message_.size(); }
  void move_to(size_t at) noexcept { at_ = at; }
  void skip(size_t count) noexcept {
    if (claim(count)) at_ += count;
  }
  uint16_t u16() noexcept {
    if (!claim(2)) return 0;
    const auto value = static_cast<uint16_t>(message_[at_] << 8 | message_[at_ + 1]);
    at_ += 2;
    return value;
  }
  uint32_t u32() noexcept {
    const uint32_t high = u16();
    return high << 16 | u16();
  }
  void bytes(void* out, size_t count) noexcept {
    if (!claim(count)) return;
    std::memcpy(out, message_.data() + at_, count);
    at_ += count;
  }
  // In lower case, "" for the root. A pointer must lead backwards, so there is no circle.
  std::string name() {
    std::string text;
    size_t at = at_;
    size_t lowest = at_;
    std::optional<size_t> behind;
    while (good_) {
      if (at >= message_.size()) break;
      const uint8_t length = message_[at];
      if ((length & 0xC0) == 0xC0) {
        if (at + 1 >= message_.size()) break;
        const size_t to = static_cast<size_t>(length & 0x3F) << 8 | message_[at + 1];
        if (!behind) behind = at + 2;
        if (to >= lowest) break;
        at = lowest = to;
        continue;
      }
      if (length == 0) {
        at_ = behind.value_or(at + 1);
        return text;
      }
      if (length > 63 || at + 1 + length > message_.size() || text.size() + length + 2 > kMaxName) break;
      if (!text.empty()) text += '.';
      for (size_t i = 1; i <= length; ++i) {
        uint8_t c = message_[at + i];
        if (c >= 'A' && c <= 'Z') c = static_cast<uint8_t>(c | 0x20);
        if (!fits_a_host(c)) {
          good_ = false;
          return {};
        }
        text += static_cast<char>(c);
      }
      at += 1 + length;
    }
    good_ = false;
    return {};
  }

 private:
  bool claim(size_t count) noexcept {
    good_ = good_ && count <= message_.size() - at_;
    return good_;
  }
  std::span<const uint8_t> message_;
  size_t at_ = 0;
  bool good_ = true;
};

struct Record {
  std::string owner;
  uint32_t ttl = 0;
  std::optional<Address> address;
  std::optional<DnsService> service;
  std::string alias;  // where the owner's records are
};

Address address_of(Reader& in, uint16_t type) {
  Address address;
  if (type == kA) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
    v4.sin_family = AF_INET;
    in.bytes(&v4.sin_addr, sizeof v4.sin_addr);
    address.length = sizeof v4;
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    v6.sin6_family = AF_INET6;
    in.bytes(&v6.sin6_addr, sizeof v6.sin6_addr);
    address.length = sizeof v6;
  }
  return address;
}

Error unreadable() { return Error(Code::data_loss, "the server's answer cannot be read").from(Side::upstream); }

}  // namespace

bool is_dns_name(std::string_view name) noexcept {
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty() || name.size() > 253) return false;
  size_t label = 0;
  for (const char c : name) {
    if (c == '.') {
      if (label == 0) return false;
      label = 0;
      continue;
    }
    const bool fits =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (!fits || ++label > 63) return false;
  }
  return label > 0;
}

Result<DnsRecords> read_dns_answer(std::span<const uint8_t> message) {
  if (message.size() < kHeader) return fail(unreadable());
  Reader in(message);
  in.skip(4);
  const uint16_t questions = in.u16();
  const uint16_t answers = in.u16();
  in.skip(4);
  if (questions != 1) return fail(unreadable());
  std::string wanted = in.name();
  in.skip(4);
  std::vector<Record> records;
  for (uint16_t i = 0; in.good() && i < answers && records.size() < kMaxDnsRecords + kMaxAliases; ++i) {
    Record record;
    record.owner = in.name();
    const uint16_t type = in.u16();
    const uint16_t klass = in.u16();
    record.ttl = in.u32();
    if (record.ttl > INT32_MAX) record.ttl = 0;  // RFC 2181 section 8
    const size_t length = in.u16();
    if (!in.good() || length > in.size() - in.at()) return fail(unreadable());
    const size_t end = in.at() + length;
    const bool known = klass == kInternet && ((type == kA && length == 4) || (type == kAaaa && length == 16) ||
                                              (type == kSrv && length >= 7) || type == kCname);
    if (!known) {
      in.move_to(end);
      continue;
    }
    if (type == kSrv) {
      DnsService service;
      service.priority = in.u16();
      service.weight = in.u16();
      service.port = in.u16();
      service.target = in.name();
      record.service = std::move(service);
    } else if (type == kCname) {
      record.alias = in.name();
    } else {
      record.address = address_of(in, type);
    }
    if (!in.good() || in.at() != end) return fail(unreadable());
    records.push_back(std::move(record));
  }
  if (!in.good()) return fail(unreadable());

  DnsRecords found;
  uint32_t ttl = INT32_MAX;
  for (size_t hops = 0; hops < kMaxAliases; ++hops) {
    const auto alias = std::ranges::find_if(
        records, [&](const Record& record) { return !record.alias.empty() && record.owner == wanted; });
    if (alias == records.end()) break;
    ttl = std::min(ttl, alias->ttl);
    wanted = alias->alias;
  }
  for (Record& record : records) {
    if (record.owner != wanted || !record.alias.empty()) continue;
    if (found.addresses.size() + found.services.size() == kMaxDnsRecords) break;
    ttl = std::min(ttl, record.ttl);
    if (record.address) found.addresses.push_back(*record.address);
    if (record.service) found.services.push_back(*std::move(record.service));
  }
  found.ttl = std::chrono::seconds(ttl);
  return found;
}

}  // namespace trellis::net
