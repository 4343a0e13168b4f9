// The key by which hash policies place a request: what `hash_on` names. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/handler.h"

namespace trellis::upstream {

class HashKey {
 public:
  // "client_address", "path", "header.NAME", "cookie.NAME" or "query.NAME", as UpstreamConfig::check() allows it.
  explicit HashKey(std::string_view hash_on);
  // None: the request has nothing of that name, and any host will do.
  std::optional<uint64_t> of(const http::Request& request, const http::RequestContext& context) const noexcept;

 private:
  enum class Kind : uint8_t { client_address, path, header, cookie, query };
  Kind kind_ = Kind::client_address;
  std::string name_;
};

// The value of a cookie, as the client sent it; none if it sent none (RFC 6265 section 4.2.1).
std::optional<std::string_view> cookie_of(const http::Request& request, std::string_view name) noexcept;

}  // namespace trellis::upstream
