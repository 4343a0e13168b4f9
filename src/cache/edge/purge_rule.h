// What can be purged, in which words, and what of an object is compared with them. Pure; any thread.
//
// A rule is about URLs as clients say them, without the scheme and without the port: "shop.example.com/a?b=1". So one
// rule reaches an object under http and https, and behind a load balancer that listens somewhere else; it may reach an
// object of another port of the same host as well, which costs a miss. Paths have the one form that routing sees
// (http/target.h), hosts are in lower case, the parameters of a query are sorted, so that their order does not matter;
// tags stay as they were written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace trellis::http {
struct Field;
class Fields;
}  // namespace trellis::http

namespace trellis::cache {

inline constexpr size_t kMaxPurgeText = size_t{16} << 10;  // bytes of a rule's text
inline constexpr size_t kMaxTags = 1024;                   // of an object; the ones behind them are passed over
inline constexpr size_t kMaxTag = 1024;                    // bytes; a longer one is passed over

struct PurgeRule {
  enum class Kind : uint8_t {
    key,     // one URL, with all its variants
    prefix,  // all URLs that begin so
    host,    // all URLs of a host
    tag,     // all objects whose answer said so in Surrogate-Key or Cache-Tag
    all,
  };
  Kind kind = Kind::key;
  std::string text;   // "" for all
  bool soft = false;  // objects become stale and may be validated and served as such; hard ones are gone

  bool operator==(const PurgeRule&) const = default;
};
std::string_view to_string(PurgeRule::Kind kind) noexcept;
std::optional<PurgeRule::Kind> purge_kind_from(std::string_view text) noexcept;

// A rule from what a person or a program wrote: a URL with or without "https://", a prefix with or without "*" at its
// end ("example.com/img/*"; a host alone means all of it), a host, a tag. invalid_argument says what is wrong.
Result<PurgeRule> make_purge_rule(PurgeRule::Kind kind, std::string_view text, bool soft);

// Appends the URL that rules are compared with. The authority is a request's (lower case, with or without a port or a
// dot behind its name), the path normalised, the query without '?'. Without an authority it is that of an answer that
// hosts share: it is met by what names one of them, whichever that is.
void append_purge_url(std::string& out, std::string_view authority, std::string_view path, std::string_view query);
// The host of such a URL: a view into it.
std::string_view host_of_purge_url(std::string_view url) noexcept;

// The tags of an answer, as numbers that may be stored: the words of its Surrogate-Key fields and the elements of its
// Cache-Tag fields. Sorted, each once.
std::vector<uint64_t> tag_hashes(const http::Fields& answer);
uint64_t tag_hash(std::string_view tag) noexcept;

// A field of the answer that ends at this cache: Surrogate-Key, Cache-Tag, Surrogate-Control. CDN-Cache-Control is for
// a CDN in front of it as well (RFC 9213 §3.1).
bool is_cache_only_field(const http::Field& field) noexcept;

}  // namespace trellis::cache
