// What may be shortened, and how it stands in a Location field. A URL is kept byte for byte as it was given; only what
// may not stand in a header field in a way that everybody reads alike is percent-encoded, and only there. Pure; any
// core. Input is foreign: fuzz/services_links_url_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace trellis::services::links {

inline constexpr size_t kMaxUrl = 8192;
inline constexpr size_t kMaxAlias = 128;

// Host (lower case, without a final dot) and port of an http or https URL.
struct UrlHost {
  std::string host;
  uint16_t port = 0;
  bool default_port = true;  // 80 for http, 443 for https
};

// invalid_argument (side client) with a sentence for the person who gave it. It ends a host where browsers do, which is
// also at a backslash.
Result<UrlHost> check_url(std::string_view url);

// Whether `url` leads to `own`: the same host, and the same port or both on a default one.
bool same_host(const UrlHost& url, const UrlHost& own) noexcept;

// Where the service itself answers: the hosts of all its domains.
class OwnHosts {
 public:
  OwnHosts() = default;
  OwnHosts(UrlHost only);  // NOLINT(google-explicit-constructor): one host is a set of hosts
  explicit OwnHosts(std::vector<UrlHost> all);

  // Whether `url` leads to one of them.
  bool has(const UrlHost& url) const noexcept;

 private:
  std::vector<UrlHost> hosts_;  // by host
};

// The value of the Location field: bytes beyond ASCII percent-encoded, in the host as Punycode (RFC 3986 §3.2.2).
// Precondition: check_url() accepted the URL.
std::string location_of(std::string_view url);

// 1 to 128 of A-Z a-z 0-9 _ -: the form of every code there may be.
bool is_code_text(std::string_view text) noexcept;

// Names that the node answers itself, in any case of letters.
bool is_reserved(std::string_view alias) noexcept;

}  // namespace trellis::services::links
