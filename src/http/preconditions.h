// Conditional requests (RFC 9110 §13) against one representation: pure rules, any core. Who answers passes the
// validators it would send; what comes back is to go on, to say 304 or to say 412.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace trellis::http {

struct Validators {
  std::string_view etag;                 // with quotes, perhaps W/; "" none
  std::optional<int64_t> last_modified;  // seconds since 1970
};

enum class Verdict : uint8_t { proceed, not_modified, failed };

// In the order of §13.2.2: If-Match, else If-Unmodified-Since; then If-None-Match, else If-Modified-Since.
Verdict evaluate(const Request& request, const Validators& validators, int64_t now);

// What a request asks of the ETag of what it changes, for who decides when the request may have gone: a copy of
// If-Match and If-None-Match.
struct EtagConditions {
  std::optional<std::string> match = std::nullopt;
  std::optional<std::string> none_match = std::nullopt;

  static EtagConditions of(const Request& request);
  // Whether the change may be made; false is a 412.
  bool hold(std::string_view etag) const noexcept;
};

// May a Range be honoured (§13.1.5)? True without If-Range. A date counts only when it is a strong validator: the
// representation was last changed more than a second before `now`.
bool if_range_allows(const Request& request, const Validators& validators, int64_t now);

// Is `etag` in the list of If-Match or If-None-Match? "*" is for the caller.
bool etag_listed(std::string_view list, std::string_view etag, bool weak_comparison) noexcept;

}  // namespace trellis::http
