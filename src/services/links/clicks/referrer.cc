#include "services/links/clicks/referrer.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/ascii.h"
#include "base/encoding.h"

namespace trellis::services::links {

namespace {

constexpr size_t kMaxQuery = 8192;  // what follows is not looked at

bool starts_with_nocase(std::string_view text, std::string_view prefix) noexcept {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(), [](char a, char b) { return a == ascii_lower(b); });
}

bool in_host(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

// The size of the UTF-8 character at the front, 0 when there is none.
size_t character_size(std::string_view text) noexcept {
  const auto byte = [&](size_t at) { return at < text.size() ? static_cast<uint8_t>(text[at]) : 0u; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  for (size_t i = 1; i < size; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const unsigned second = byte(1);
  // Longer than needed, a surrogate, or beyond the last code point.
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)) return 0;
  if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return 0;
  return size;
}

std::string decoded(std::string_view encoded) {
  std::string raw;
  // A little more than is kept, so that blanks in front do not cost the value.
  for (size_t i = 0; i < encoded.size() && raw.size() < 4 * kMaxUtm; ++i) {
    if (encoded[i] == '+') {
      raw.push_back(' ');
    } else if (encoded[i] == '%' && i + 2 < encoded.size() && hex_digit(encoded[i + 1]) >= 0 &&
               hex_digit(encoded[i + 2]) >= 0) {
      raw.push_back(static_cast<char>(hex_digit(encoded[i + 1]) * 16 + hex_digit(encoded[i + 2])));
      i += 2;
    } else {
      raw.push_back(encoded[i]);
    }
  }
  return raw;
}

// What is no character or a control character is left out.
std::string cleaned(std::string_view raw) {
  std::string out;
  while (!raw.empty()) {
    const size_t size = character_size(raw);
    const bool control = size == 1 && (static_cast<uint8_t>(raw[0]) < 0x20 || raw[0] == 0x7f);
    const bool leading_blank = out.empty() && raw[0] == ' ';
    if (size > 0 && !control && !leading_blank) {
      if (out.size() + size > kMaxUtm) break;
      out.append(raw.substr(0, size));
    }
    raw.remove_prefix(std::max<size_t>(size, 1));
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

}  // namespace

std::string referrer_host(std::string_view referrer) {
  bool found = false;
  for (const std::string_view scheme : {"https://", "http://", "android-app://"}) {
    if (!starts_with_nocase(referrer, scheme)) continue;
    referrer.remove_prefix(scheme.size());
    found = true;
    break;
  }
  if (!found) return {};
  std::string_view host = referrer.substr(0, referrer.find_first_of("/?#\\"));
  host.remove_prefix(host.rfind('@') + 1);  // a user name before it; npos + 1 is 0
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    const bool address = end != std::string_view::npos && end > 2 && end < 48 &&
                         std::all_of(
                             host.begin() + 1, host.begin() + static_cast<ptrdiff_t>(end),
                             [](char c) { return hex_digit(c) >= 0 || c == ':' || c == '.'; });
    if (!address) return {};
    host = host.substr(0, end + 1);
  } else {
    host = host.substr(0, host.find(':'));
  }
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host.empty() || host.size() > kMaxReferrerHost) return {};
  std::string out(host);
  std::transform(out.begin(), out.end(), out.begin(), ascii_lower);
  if (out[0] == '[') return out;
  if (!std::all_of(out.begin(), out.end(), in_host)) return {};
  // "www.com" is a host of its own.
  if (out.starts_with("www.") && out.find('.', 4) != std::string::npos) out.erase(0, 4);
  return out.front() == '.' ? std::string() : out;
}

Utm read_utm(std::string_view query) {
  Utm utm;
  struct Parameter {
    std::string_view name;
    std::string Utm::* member;
    bool seen = false;
  };
  std::array<Parameter, 5> parameters = {{{"utm_source", &Utm::source},
                                          {"utm_medium", &Utm::medium},
                                          {"utm_campaign", &Utm::campaign},
                                          {"utm_term", &Utm::term},
                                          {"utm_content", &Utm::content}}};
  query = query.substr(0, kMaxQuery);
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    for (Parameter& parameter : parameters) {
      if (parameter.seen || pair.substr(0, equals) != parameter.name) continue;
      parameter.seen = true;
      utm.*parameter.member = cleaned(decoded(pair.substr(equals + 1)));
    }
  }
  return utm;
}

}  // namespace trellis::services::links
