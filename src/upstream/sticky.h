// Sticky clients: a cookie that says which host answered first, so that the next requests of the client go there, too.
// The value is a signature of the host's name (HMAC-SHA256, RFC 2104): it tells nothing of the host, and nobody makes
// up one for a host of his choice. Every node with the same secret understands it. Pure; any core.
#pragma once

#include <string>
#include <string_view>

#include "base/arena.h"
#include "base/time.h"
#include "config/fields.h"

namespace trellis::upstream {

enum class SameSite : uint8_t { lax, strict, none };

struct StickyConfig {
  std::string cookie = "host_id";
  std::string secret;
  Duration max_age{0};  // 0: as long as the browser's session
  std::string path = "/";
  bool secure = false;
  SameSite same_site = SameSite::lax;
  static config::Fields<StickyConfig> fields();
  void check(config::Checker& at) const;
};

// What the cookie says of a host: 32 characters.
std::string sticky_token(const StickyConfig& config, std::string_view upstream, std::string_view host);
// The value of Set-Cookie.
std::string_view sticky_cookie(const StickyConfig& config, std::string_view token, Arena& arena);

}  // namespace trellis::upstream
