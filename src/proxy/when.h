// A condition on one request: a header field, a cookie, or either of them. For filters that concern some requests only:
// a canary for those who ask for it, a fault for those who test. Immutable; any core.
//
//   when: { header: "x-canary: 1" }     the field has this value; "x-canary" alone: it is there
//   when: { cookie: "canary=1" }        likewise
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "config/fields.h"

namespace trellis::http {
struct Request;
}

namespace trellis::proxy {

struct WhenConfig {
  std::string header;
  std::string cookie;
  static config::Fields<WhenConfig> fields();
  void check(config::Checker& at) const;
  // "": it does not go by one.
  std::string_view header_name() const noexcept;
  std::string_view cookie_name() const noexcept;
};

class When {
 public:
  // The config has been checked.
  explicit When(const WhenConfig& config);
  bool holds(const http::Request& request) const noexcept;

 private:
  struct Wanted {
    std::string name;
    std::optional<std::string> value;  // none: any
  };
  static std::optional<Wanted> wanted(std::string_view text, char between);

  std::optional<Wanted> header_;
  std::optional<Wanted> cookie_;
};

}  // namespace trellis::proxy
