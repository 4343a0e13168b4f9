// A purge by a request of method PURGE, signed with a key that the route's configuration names: for publishing systems
// that reach the site and not its control port. The request says what goes:
//
//   PURGE /item/7?lang=de HTTP/1.1
//   Host: shop.example.com
//   X-Trellis-Purge: key                 (or prefix, host, all, tag=product-7; with "; soft" behind it)
//   X-Trellis-Purge-Time: 1795420800     (seconds since 1970; five minutes off at most)
//   X-Trellis-Purge-Signature: hexadecimal HMAC-SHA256 of these lines, each ended by a line feed:
//     PURGE | the Host field in lower case | the target as sent | X-Trellis-Purge | X-Trellis-Purge-Time
//
// To send it once more does no harm: it purges the same again. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/time.h"
#include "cache/edge/purge_rule.h"
#include "http/message.h"

namespace trellis::proxy {

inline constexpr Duration kPurgeValidity = std::chrono::minutes(5);

// The rule that a request asks for. permission_denied: no signature by this key, or an old one; invalid_argument:
// signed, and still nothing that can be purged. For prefix the request's URL is the prefix, a `*` at its end is left
// away.
Result<cache::PurgeRule> purge_rule_of(const http::Request& request, std::string_view key, WallTime now);

// The three fields of a request, for tests and for whoever sends one.
struct PurgeFields {
  std::string what;
  std::string time;
  std::string signature;
};
PurgeFields sign_purge(std::string_view key, std::string_view host, std::string_view target, std::string_view what,
                       WallTime now);

}  // namespace trellis::proxy
