#include "services/links/domains/host_name.h"

#include <arpa/inet.h>
#include <idn2.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>

#include "base/ascii.h"

namespace trellis::services::links {

namespace {

constexpr size_t kMaxHost = 1024;

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
std::string dotted(const std::array<uint8_t, 4>& bytes) {
  std::string out;
  for (const uint8_t byte : bytes) {
    if (!out.empty()) out += '.';
    out += std::to_string(byte);
  }
  return out;
}

std::string normal_ipv6(std::string_view host) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const std::string inside(host.substr(1, host.size() - 2));
  in6_addr address{};
  if (::inet_pton(AF_INET6, inside.c_str(), &address) != 1) return std::string(host);
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    std::array<uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), address.s6_addr + 12, bytes.size());
    return dotted(bytes);
  }
  if (!::inet_ntop(AF_INET6, &address, text.data(), text.size())) return std::string(host);
  return "[" + std::string(text.data()) + "]";
}

// A part of an IPv4 address: decimal, octal (0...) or hexadecimal (0x...).
std::optional<uint64_t> ipv4_part(std::string_view text) noexcept {
  int base = 10;
  if (text.starts_with("0x")) {
    base = 16;
    text.remove_prefix(2);
    if (text.empty()) return 0;
  } else if (text.size() > 1 && text.front() == '0') {
    base = 8;
    text.remove_prefix(1);
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// 127.1, 0x7f000001 and 2130706433 are 127.0.0.1 to a browser (WHATWG URL, "IPv4 parser").
std::optional<std::array<uint8_t, 4>> ipv4_of(std::string_view host) noexcept {
  std::array<uint64_t, 4> parts{};
  size_t count = 0;
  while (true) {
    const size_t dot = std::min(host.find('.'), host.size());
    const std::optional<uint64_t> part =
        dot > 0 && count < parts.size() ? ipv4_part(host.substr(0, dot)) : std::nullopt;
    if (!part) return std::nullopt;
    parts[count++] = *part;
    if (dot == host.size()) break;
    host.remove_prefix(dot + 1);
  }
  // The last part fills the bytes that are left.
  const size_t left = 5 - count;
  if (parts[count - 1] >= uint64_t{1} << (8 * left)) return std::nullopt;
  uint64_t value = parts[count - 1];
  for (size_t i = 0; i + 1 < count; ++i) {
    if (parts[i] > 255) return std::nullopt;
    value |= parts[i] << (8 * (3 - i));
  }
  return std::array<uint8_t, 4>{static_cast<uint8_t>(value >> 24), static_cast<uint8_t>(value >> 16),
                                static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)};
}

std::optional<std::string> looked_up(std::string_view label, int flags) {
  uint8_t* made = nullptr;
  const std::string text(label);
  if (::idn2_lookup_u8(reinterpret_cast<const uint8_t*>(text.c_str()), &made, flags) != IDN2_OK) return std::nullopt;
  std::string out(reinterpret_cast<const char*>(made));
  ::idn2_free(made);
  return out;
}

size_t size_of_letter(char first) noexcept {
  const auto byte = static_cast<uint8_t>(first);
  return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// Letters that are another way to write ASCII ones, such as fullwidth ones, as those.
std::string folded(std::string_view label) {
  std::string out;
  while (!label.empty()) {
    const std::string_view letter = label.substr(0, size_of_letter(label.front()));
    label.remove_prefix(letter.size());
    // Between others, for some may not stand at an end.
    const auto plain = is_ascii(letter)
                           ? std::nullopt
                           : looked_up("a" + std::string(letter) + "a", IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    out += plain && !plain->starts_with("xn--") ? plain->substr(1, plain->size() - 2) : std::string(letter);
  }
  return out;
}

// Sharp s, final sigma and joiners: older rules read them as something else.
bool has_deviation(std::string_view label) noexcept {
  constexpr std::array<std::string_view, 5> kLetters = {"\xc3\x9f", "\xe1\xba\x9e", "\xcf\x82", "\xe2\x80\x8c",
                                                        "\xe2\x80\x8d"};
  return std::any_of(kLetters.begin(), kLetters.end(),
                     [&](std::string_view each) { return label.find(each) != std::string_view::npos; });
}

// Label by label: one that no domain may have hides nothing of the others. The library is stricter than browsers are:
// what it refuses is tried by older rules, which allow symbols, and letter by letter, whatever its hyphens.
std::string punycode(std::string_view label) {
  if (auto name = looked_up(label, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL)) return *std::move(name);
  const std::string plain = folded(label);
  if (is_ascii(plain) || has_deviation(plain)) return plain;
  return looked_up(plain, IDN2_NFC_INPUT | IDN2_TRANSITIONAL).value_or(plain);
}

// The full stops of UTS #46 as dots.
std::string with_dots(std::string_view host) {
  constexpr std::array<std::string_view, 3> kStops = {"\xe3\x80\x82", "\xef\xbc\x8e", "\xef\xbd\xa1"};
  std::string out;
  while (!host.empty()) {
    const auto* stop = std::find_if(kStops.begin(), kStops.end(), [&](auto each) { return host.starts_with(each); });
    out += stop == kStops.end() ? host.front() : '.';
    host.remove_prefix(stop == kStops.end() ? 1 : stop->size());
  }
  return out;
}

std::string international(std::string_view host) {
  const std::string dotted_host = with_dots(host);
  std::string out;
  for (std::string_view rest = dotted_host;;) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view label = rest.substr(0, dot);
    out += is_ascii(label) ? std::string(label) : punycode(label);
    if (dot == rest.size()) return out;
    out += '.';
    rest.remove_prefix(dot + 1);
  }
}

}  // namespace

bool is_ascii(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

std::string normal_host(std::string_view host) {
  if (host.size() > kMaxHost) return std::string(host);
  std::string out(host);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') return normal_ipv6(out);
  if (!is_ascii(host)) out = international(host);
  std::transform(out.begin(), out.end(), out.begin(), ascii_lower);
  while (out.ends_with('.')) out.pop_back();
  if (const auto address = ipv4_of(out)) return dotted(*address);
  return out;
}

bool is_address(std::string_view normal_host) noexcept {
  if (normal_host.starts_with('[')) return true;
  return std::count(normal_host.begin(), normal_host.end(), '.') == 3 &&
         std::all_of(normal_host.begin(), normal_host.end(), [](char c) { return is_digit(c) || c == '.'; });
}

}  // namespace trellis::services::links
