// The key of a stored answer, made from a template. There is no way to leave out scheme or path, and what the key
// leaves out of the query is to be left out of what the origin is asked: keyed_query() is for both. Attacks this stops:
//
// - unkeyed input: an answer depends on what the key does not hold (a header, a parameter), and one client's input is
//   served to all. The default key holds the whole query as received, and a client's X-Forwarded-Host and its like
//   never reach the origin (proxy/received_fields.h); what else may stand for the target is names_another_target(). A
//   route that takes some requests of a URI only (by a header, a cookie, a listener) has keys of its own;
// - path confusion: the path is in its one normal form (http/target.h), the form that is forwarded: %2F stays %2F, so
//   "/a%2Fb" and "/a/b" are two keys, and dot segments are gone before;
// - parameter cloaking: some origins split at ';' too, so "utm=1;admin=1" would hide a parameter inside one that is
//   left out. A query with a ';', or with a key that cannot be decoded, is kept whole whatever the template says;
// - fat GET: a GET with a body is not cached (storing.h), since the body is not in the key.
//
// One for a route, immutable, any core.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/fields.h"
#include "http/message.h"

namespace trellis::cache {

enum class KeyQuery : uint8_t { all, sorted, none };

struct KeyConfig {
  bool host = true;
  KeyQuery query = KeyQuery::all;
  std::vector<std::string> only;     // parameters that count; none: all of them
  std::vector<std::string> without;  // parameters that do not count; "utm_*": by their beginning
  std::vector<std::string> headers;
  std::vector<std::string> cookies;
  static config::Fields<KeyConfig> fields();
  void check(config::Checker& at) const;
};

// Does the request hold a field that frameworks take for the real target or method (X-Original-URL, X-Rewrite-URL,
// X-HTTP-Method-Override, ...)? Its answer may belong to another URI than the key says: it is not cached.
bool names_another_target(const http::Fields& request) noexcept;

// Without the port that the scheme means anyway: "example.com:80" and "example.com" are one host.
std::string_view without_default_port(std::string_view authority, std::string_view scheme) noexcept;

class KeyTemplate {
 public:
  KeyTemplate() : KeyTemplate(KeyConfig{}) {}
  // The config has been checked. `apart`: what else keeps the answers of this route from others of the same URI.
  // `hosts`: the pattern of the hosts that the route takes, which stands for them where the key leaves them out.
  explicit KeyTemplate(const KeyConfig& config, std::string apart = "", std::string hosts = "");

  // Appends "https://example.com/path?query", then lines for `apart` and each header and cookie. Allocates nothing but
  // what `out` needs to grow, unless parameters are picked or sorted.
  void append(std::string& out, const http::Request& request) const;
  // The same for a URI without a request, for purges and invalidation; headers and cookies count as absent.
  void append(std::string& out, std::string_view scheme, std::string_view authority, std::string_view path,
              std::string_view query) const;

  // The host as purges are to meet it: "" where the hosts of the route share their answers.
  std::string_view purge_host(std::string_view authority) const noexcept {
    return config_.host ? authority : std::string_view();
  }
  // The query as the key holds it; `query` itself, or in the arena.
  std::string_view keyed_query(std::string_view query, Arena& arena) const;
  bool takes_all_of_query() const noexcept;

 private:
  void append_uri(std::string& out, std::string_view scheme, std::string_view authority, std::string_view path,
                  std::string_view query) const;
  bool keeps(std::string_view parameter) const noexcept;

  KeyConfig config_;
  std::string apart_;
  std::string hosts_;
};

}  // namespace trellis::cache
