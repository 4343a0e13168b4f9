#include "services/links/url.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/ascii.h"
#include "net/address.h"
#include "services/links/domains/host_name.h"

namespace trellis::services::links {

namespace {

std::unexpected<Error> refuse(std::string why) {
  return fail(Error(Code::invalid_argument, std::move(why)).from(Side::client));
}

bool starts_with_nocase(std::string_view text, std::string_view prefix) noexcept {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(), [](char a, char b) { return a == ascii_lower(b); });
}

bool is_control(char c) noexcept { return static_cast<uint8_t>(c) < 0x20 || c == 0x7f; }

bool is_ipv6(std::string_view text) { return text.find(':') != std::string_view::npos && net::make_address(text, 0); }

// As everybody reads it alike, if there is such a form; else as it is.
std::string plain_host(std::string_view host) {
  if (is_ascii(host)) return std::string(host);
  std::string normal = normal_host(host);
  // A letter that looks like a slash becomes one: such a host is none.
  const Result<UrlHost> again = check_url("http://" + normal);
  return is_ascii(normal) && again && again->host == normal ? normal : std::string(host);
}

// One more than what browsers refuse in a host: no '%', which would hide the others.
constexpr std::string_view kNotInHosts = " #%/:<>?@[\\]^|";

constexpr std::array<std::string_view, 18> kReserved = {
    "v1",     "v2",  "healthz", "readyz", "livez",   "metrics", "_trellis", "trellis", "assets",
    "static", "api", "status",  "admin",  "console", "login",   "logout",   "index",   "well-known"};

}  // namespace

Result<UrlHost> check_url(std::string_view url) {
  if (url.empty()) return refuse("The URL is empty.");
  if (url.size() > kMaxUrl) return refuse("The URL is longer than 8192 bytes.");
  if (std::any_of(url.begin(), url.end(), is_control)) return refuse("The URL has control characters.");
  if (url.front() == ' ' || url.back() == ' ') return refuse("The URL begins or ends with a space.");
  const bool http = starts_with_nocase(url, "http://");
  if (!http && !starts_with_nocase(url, "https://")) return refuse("The URL must begin with http:// or https://.");
  std::string_view rest = url.substr(http ? 7 : 8);
  // Some readers end the host at a backslash, some do not: a link must not lead to two places.
  if (rest.substr(0, rest.find_first_of("/?#")).find('\\') != std::string_view::npos) {
    return refuse("The URL has a backslash in its host.");
  }
  rest = rest.substr(0, rest.find_first_of("/?#"));
  if (rest.find('@') != std::string_view::npos) return refuse("The URL has a user name before its host.");

  UrlHost out;
  std::string_view host = rest;
  std::string_view port;
  if (rest.starts_with('[')) {
    const size_t end = rest.find(']');
    if (end == std::string_view::npos || !is_ipv6(rest.substr(1, end - 1)))
      return refuse("The host of the URL is no IPv6 address.");
    host = rest.substr(0, end + 1);
    rest.remove_prefix(end + 1);
    if (!rest.empty() && rest.front() != ':') return refuse("The host of the URL is not valid.");
    port = rest.substr(rest.empty() ? 0 : 1);
  } else {
    const size_t colon = rest.find(':');
    host = rest.substr(0, colon);
    if (colon != std::string_view::npos) port = rest.substr(colon + 1);
    if (host.find_first_of(kNotInHosts) != std::string_view::npos)
      return refuse("The host of the URL has a character no host may have.");
    if (host.ends_with('.')) host.remove_suffix(1);
  }
  if (host.empty() || host == ".") return refuse("The URL has no host.");
  if (host.size() > 255) return refuse("The host of the URL is longer than 255 bytes.");

  out.port = http ? 80 : 443;
  if (!port.empty()) {
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), value);
    if (error != std::errc() || end != port.data() + port.size() || value > 65535 || port.size() > 5) {
      return refuse("The port of the URL is not valid.");
    }
    out.default_port = value == out.port;
    out.port = static_cast<uint16_t>(value);
  }
  out.host.assign(host);
  std::transform(out.host.begin(), out.host.end(), out.host.begin(), ascii_lower);
  return out;
}

bool same_host(const UrlHost& url, const UrlHost& own) noexcept {
  return url.host == own.host && (url.port == own.port || (url.default_port && own.default_port));
}

OwnHosts::OwnHosts(UrlHost only) : OwnHosts(std::vector<UrlHost>{std::move(only)}) {}

OwnHosts::OwnHosts(std::vector<UrlHost> all) : hosts_(std::move(all)) {
  for (UrlHost& each : hosts_) each.host = normal_host(each.host);
  std::sort(hosts_.begin(), hosts_.end(), [](const UrlHost& a, const UrlHost& b) { return a.host < b.host; });
}

bool OwnHosts::has(const UrlHost& url) const noexcept {
  UrlHost wanted = url;
  wanted.host = normal_host(url.host);
  auto at = std::lower_bound(hosts_.begin(), hosts_.end(), wanted.host,
                             [](const UrlHost& each, const std::string& host) { return each.host < host; });
  for (; at != hosts_.end() && at->host == wanted.host; ++at) {
    if (same_host(wanted, *at)) return true;
  }
  return false;
}

std::string location_of(std::string_view url) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  if (is_ascii(url)) return std::string(url);
  const size_t begin = std::min(url.find("//") + 2, url.size());
  const size_t end = std::min(url.find_first_of(":/?#", begin), url.size());
  const std::string host = plain_host(url.substr(begin, end - begin));
  std::string out;
  out.reserve(url.size());
  const auto append = [&out](std::string_view text) {
    for (const char c : text) {
      const auto byte = static_cast<uint8_t>(c);
      if (byte < 0x80) {
        out.push_back(c);
        continue;
      }
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  };
  append(url.substr(0, begin));
  append(host);
  append(url.substr(end));
  return out;
}

bool is_code_text(std::string_view text) noexcept {
  if (text.empty() || text.size() > kMaxAlias) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
  });
}

bool is_reserved(std::string_view alias) noexcept {
  return std::any_of(kReserved.begin(), kReserved.end(), [alias](std::string_view name) {
    return name.size() == alias.size() && starts_with_nocase(alias, name);
  });
}

}  // namespace trellis::services::links
