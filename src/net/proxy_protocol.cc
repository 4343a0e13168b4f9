#include "net/proxy_protocol.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "base/crc32c.h"
#include "runtime/socket.h"

namespace trellis::net {

namespace {

constexpr std::string_view kSignature{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr std::string_view kLineBegin = "PROXY ";
constexpr size_t kMaxLine = 107;  // CR LF included
constexpr size_t kBinaryHead = 16;
constexpr size_t kFourAddresses = 12;
constexpr size_t kSixAddresses = 36;
constexpr size_t kUnixAddresses = 216;
constexpr uint8_t kTlvChecksum = 0x03;
constexpr std::string_view kZeroes{"\0\0\0\0", 4};

uint8_t byte_at(std::string_view bytes, size_t at) noexcept { return static_cast<uint8_t>(bytes[at]); }
size_t number_at(std::string_view bytes, size_t at) noexcept {
  return static_cast<size_t>(byte_at(bytes, at)) << 8 | byte_at(bytes, at + 1);
}

Address four(std::string_view address, std::string_view port) noexcept {
  Address out;
  auto& place = reinterpret_cast<sockaddr_in&>(out.storage);
  place.sin_family = AF_INET;
  std::memcpy(&place.sin_addr, address.data(), 4);
  std::memcpy(&place.sin_port, port.data(), 2);
  out.length = sizeof place;
  return out;
}
Address six(std::string_view address, std::string_view port) noexcept {
  Address out;
  auto& place = reinterpret_cast<sockaddr_in6&>(out.storage);
  place.sin6_family = AF_INET6;
  std::memcpy(&place.sin6_addr, address.data(), 16);
  std::memcpy(&place.sin6_port, port.data(), 2);
  out.length = sizeof place;
  return out;
}

// --- version 1 ---

// Without leading zeros.
std::optional<uint16_t> parse_port(std::string_view text) noexcept {
  if (text.empty() || text.size() > 5 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port > 65535) return std::nullopt;
  return static_cast<uint16_t>(port);
}

std::optional<Address> parse_line_address(int family, std::string_view host, std::string_view port_text) noexcept {
  char text[INET6_ADDRSTRLEN];
  const std::optional<uint16_t> port = parse_port(port_text);
  if (!port || host.empty() || host.size() >= sizeof text || host.find('\0') != host.npos) return std::nullopt;
  std::memcpy(text, host.data(), host.size());
  text[host.size()] = '\0';
  char bytes[16];
  if (::inet_pton(family, text, bytes) != 1) return std::nullopt;
  const uint16_t wire = htons(*port);
  const std::string_view wire_text(reinterpret_cast<const char*>(&wire), sizeof wire);
  return family == AF_INET ? four({bytes, 4}, wire_text) : six({bytes, 16}, wire_text);
}

// Without CR LF.
ProxyFault parse_line(std::string_view line, ProxyHeader& header) noexcept {
  line.remove_prefix(kLineBegin.size());
  // What an UNKNOWN says beyond that is to be left out of account.
  if (line == "UNKNOWN" || line.starts_with("UNKNOWN ")) return ProxyFault::none;
  std::string_view words[5];
  for (size_t i = 0; i < 5; ++i) {
    const size_t space = line.find(' ');
    if ((space == std::string_view::npos) != (i == 4)) return ProxyFault::line;
    words[i] = line.substr(0, space);
    line.remove_prefix(i == 4 ? line.size() : space + 1);
  }
  if (words[0] != "TCP4" && words[0] != "TCP6") return ProxyFault::line;
  const int family = words[0] == "TCP4" ? AF_INET : AF_INET6;
  const auto from = parse_line_address(family, words[1], words[3]);
  const auto to = parse_line_address(family, words[2], words[4]);
  if (!from || !to) return ProxyFault::address;
  header = {true, *from, *to};
  return ProxyFault::none;
}

size_t read_line(std::string_view bytes, ProxyHeader& header, ProxyFault& fault) noexcept {
  const size_t known = std::min(bytes.size(), kLineBegin.size());
  if (bytes.substr(0, known) != kLineBegin.substr(0, known)) {
    fault = ProxyFault::signature;
    return 0;
  }
  const size_t end = bytes.substr(0, kMaxLine).find('\n');
  if (end == std::string_view::npos) {
    if (bytes.size() >= kMaxLine) fault = ProxyFault::too_long;
    return 0;
  }
  fault = bytes[end - 1] == '\r' ? parse_line(bytes.substr(0, end - 1), header) : ProxyFault::line;
  return fault == ProxyFault::none ? end + 1 : 0;
}

// --- version 2 ---

// `bytes`: the whole header; `tlvs` its end.
ProxyFault check_tlvs(std::string_view bytes, std::string_view tlvs) noexcept {
  while (!tlvs.empty()) {
    if (tlvs.size() < 3) return ProxyFault::tlv;
    const size_t size = number_at(tlvs, 1);
    if (size > tlvs.size() - 3) return ProxyFault::tlv;
    if (byte_at(tlvs, 0) == kTlvChecksum) {
      if (size != 4) return ProxyFault::tlv;
      const auto at = static_cast<size_t>(tlvs.data() + 3 - bytes.data());
      uint32_t said = 0;
      std::memcpy(&said, bytes.data() + at, sizeof said);
      const uint32_t found = crc32c(bytes.substr(at + 4), crc32c(kZeroes, crc32c(bytes.substr(0, at))));
      if (ntohl(said) != found) return ProxyFault::checksum;
    }
    tlvs.remove_prefix(3 + size);
  }
  return ProxyFault::none;
}

ProxyFault parse_binary(std::string_view bytes, ProxyHeader& header) noexcept {
  const bool local = (byte_at(bytes, 12) & 0x0F) == 0;
  const uint8_t family = byte_at(bytes, 13) >> 4;
  const std::string_view rest = bytes.substr(kBinaryHead);
  const size_t addresses =
      family == 1 ? kFourAddresses : (family == 2 ? kSixAddresses : (family == 3 ? kUnixAddresses : 0));
  if (family == 0) return ProxyFault::none;  // nothing is said about what follows
  if (rest.size() < addresses) return local ? ProxyFault::none : ProxyFault::length;
  if (const ProxyFault fault = check_tlvs(bytes, rest.substr(addresses)); fault != ProxyFault::none) return fault;
  if (local || family == 3) return ProxyFault::none;
  header.told = true;
  if (family == 1) {
    header.from = four(rest, rest.substr(8));
    header.to = four(rest.substr(4), rest.substr(10));
  } else {
    header.from = six(rest, rest.substr(32));
    header.to = six(rest.substr(16), rest.substr(34));
  }
  return ProxyFault::none;
}

size_t read_binary(std::string_view bytes, ProxyHeader& header, ProxyFault& fault) noexcept {
  const size_t known = std::min(bytes.size(), kSignature.size());
  if (bytes.substr(0, known) != kSignature.substr(0, known)) {
    fault = ProxyFault::signature;
    return 0;
  }
  if (bytes.size() > 12) {
    const uint8_t version = byte_at(bytes, 12);
    if (version >> 4 != 2) {
      fault = ProxyFault::version;
    } else if ((version & 0x0F) > 1) {
      fault = ProxyFault::command;
    }
  }
  if (fault == ProxyFault::none && bytes.size() > 13) {
    const uint8_t family = byte_at(bytes, 13) >> 4;
    const uint8_t transport = byte_at(bytes, 13) & 0x0F;
    // A connection is a stream: who speaks of datagrams on it is mistaken.
    if (family > 3 || transport > 1 || (family == 0) != (transport == 0)) fault = ProxyFault::family;
  }
  if (fault != ProxyFault::none || bytes.size() < kBinaryHead) return 0;
  const size_t size = kBinaryHead + number_at(bytes, 14);
  if (size > kMaxProxyHeader) {
    fault = ProxyFault::too_long;
    return 0;
  }
  if (bytes.size() < size) return 0;
  fault = parse_binary(bytes.substr(0, size), header);
  return fault == ProxyFault::none ? size : 0;
}

// An IPv4 address as the IPv4-mapped IPv6 one.
Address as_six(const Address& address) noexcept {
  if (address.storage.ss_family != AF_INET) return address;
  const auto& from = reinterpret_cast<const sockaddr_in&>(address.storage);
  char bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '\xff', '\xff'};
  std::memcpy(bytes + 12, &from.sin_addr, 4);
  return six({bytes, 16}, {reinterpret_cast<const char*>(&from.sin_port), 2});
}
// The other way round, where it is one.
Address as_four(const Address& address) noexcept {
  if (address.storage.ss_family != AF_INET6) return address;
  const auto& from = reinterpret_cast<const sockaddr_in6&>(address.storage);
  if (!IN6_IS_ADDR_V4MAPPED(&from.sin6_addr)) return address;
  return four({reinterpret_cast<const char*>(from.sin6_addr.s6_addr) + 12, 4},
              {reinterpret_cast<const char*>(&from.sin6_port), 2});
}
bool is_four(const Address& address) noexcept { return address.storage.ss_family == AF_INET; }

std::string six_text(const Address& address) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_addr, text, sizeof text);
  return text;
}

template <class T>
void append_raw(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

std::string_view to_string(ProxyFault fault) noexcept {
  switch (fault) {
    case ProxyFault::none: return "none";
    case ProxyFault::signature: return "signature";
    case ProxyFault::too_long: return "too_long";
    case ProxyFault::line: return "line";
    case ProxyFault::address: return "address";
    case ProxyFault::version: return "version";
    case ProxyFault::command: return "command";
    case ProxyFault::family: return "family";
    case ProxyFault::length: return "length";
    case ProxyFault::tlv: return "tlv";
    case ProxyFault::checksum: return "checksum";
  }
  return "none";
}

size_t read_proxy_header(std::string_view bytes, ProxyHeader& header, ProxyFault& fault) noexcept {
  header = {};
  fault = ProxyFault::none;
  if (bytes.empty()) return 0;
  if (bytes[0] == kSignature[0]) return read_binary(bytes, header, fault);
  return read_line(bytes, header, fault);
}

std::string write_proxy_header(ProxyVersion version, const Address& client, const Address& server) {
  std::string out;
  if (version == ProxyVersion::none) return out;
  Address from = as_four(client);
  Address to = as_four(server);
  const bool told = from.length > 0 && to.length > 0;
  const bool short_form = is_four(from) && is_four(to);
  if (!short_form) {
    from = as_six(from);
    to = as_six(to);
  }
  if (version == ProxyVersion::v1) {
    if (!told) return "PROXY UNKNOWN\r\n";
    const std::string source = short_form ? from.host() : six_text(from);
    const std::string destination = short_form ? to.host() : six_text(to);
    return std::string("PROXY ") + (short_form ? "TCP4 " : "TCP6 ") + source + " " + destination + " " +
           std::to_string(from.port()) + " " + std::to_string(to.port()) + "\r\n";
  }
  out = kSignature;
  if (!told) return out.append("\x20\0\0\0", 4);
  out += '\x21';
  out += short_form ? '\x11' : '\x21';
  append_raw(out, htons(static_cast<uint16_t>(short_form ? kFourAddresses : kSixAddresses)));
  if (short_form) {
    const auto& source = reinterpret_cast<const sockaddr_in&>(from.storage);
    const auto& destination = reinterpret_cast<const sockaddr_in&>(to.storage);
    append_raw(out, source.sin_addr);
    append_raw(out, destination.sin_addr);
    append_raw(out, source.sin_port);
    append_raw(out, destination.sin_port);
  } else {
    const auto& source = reinterpret_cast<const sockaddr_in6&>(from.storage);
    const auto& destination = reinterpret_cast<const sockaddr_in6&>(to.storage);
    append_raw(out, source.sin6_addr);
    append_raw(out, destination.sin6_addr);
    append_raw(out, source.sin6_port);
    append_raw(out, destination.sin6_port);
  }
  return out;
}

Task<Result<ProxyHeader>> receive_proxy_header(Socket& socket, Deadline deadline) {
  std::string bytes;  // only of a header that came in pieces
  while (true) {
    CO_TRY(Chunk chunk, co_await socket.recv(deadline));
    if (chunk.empty()) co_return fail(Code::unavailable, "the connection ended before its PROXY header");
    const size_t before = bytes.size();
    if (before > 0) bytes += chunk.view();
    ProxyHeader header;
    ProxyFault fault = ProxyFault::none;
    const size_t size = read_proxy_header(before > 0 ? std::string_view(bytes) : chunk.view(), header, fault);
    if (fault != ProxyFault::none) {
      co_return fail(Code::invalid_argument, "bad PROXY header: " + std::string(to_string(fault)));
    }
    if (size > 0) {
      chunk.drop_front(size - before);
      socket.unread(std::move(chunk));
      co_return header;
    }
    if (before == 0) bytes = chunk.view();
  }
}

}  // namespace trellis::net
