// Where a click came from, for the statistics: the host of the page behind it, and the campaign parameters (UTM) of the
// short link's query. Both are what a client sends, so both are cut to size and cleaned before they become names in a
// count; of the page's address only the host is kept, never its path. Pure; any core. Input is foreign:
// fuzz/services_links_referrer_fuzz.cc.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace trellis::services::links {

inline constexpr size_t kMaxReferrerHost = 253;
inline constexpr size_t kMaxUtm = 100;  // bytes, cut at the beginning of a character

// The host of a Referer field in lower case, without "www." and without a port: "example.com". "" when there is none or
// it is no http or https URL. An Android application ("android-app://com.example") counts by its name.
std::string referrer_host(std::string_view referrer);

struct Utm {
  std::string source;
  std::string medium;
  std::string campaign;
  std::string term;
  std::string content;

  bool empty() const noexcept {
    return source.empty() && medium.empty() && campaign.empty() && term.empty() && content.empty();
  }
  friend bool operator==(const Utm&, const Utm&) = default;
};

// Of an encoded query without its question mark. Values are decoded, without control characters or blanks around, and
// valid UTF-8; of a parameter that is there twice the first one counts.
Utm read_utm(std::string_view query);

}  // namespace trellis::services::links
