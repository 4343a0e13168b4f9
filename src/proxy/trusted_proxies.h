// The proxies before this node whose word counts. From one of them (by the address of its connection) the way of the
// request is read from the right: each address is believed because a trusted proxy wrote it, up to the first one that
// is not trusted itself: that is the client, for logs, rules and limits. What stands further left the client may have
// made up, and it goes no further. Without trusted proxies, and from anybody else, nothing is believed.
//
// One field is read, X-Forwarded-For or Forwarded (RFC 7239): a proxy that writes the one often hands on the other as
// the client sent it. One object a listener; immutable, any core.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "net/address_set.h"

namespace trellis::http {
struct Request;
struct RequestContext;
}  // namespace trellis::http

namespace trellis::proxy {

class TrustedProxies {
 public:
  enum class Reads : uint8_t { x_forwarded_for, forwarded };

  TrustedProxies() = default;
  TrustedProxies(net::AddressSet addresses, Reads reads) : addresses_(std::move(addresses)), reads_(reads) {}
  bool empty() const noexcept { return addresses_.empty(); }

  // From a trusted proxy: sets the context's client_address, forwarded_for and forwarded_host and the request's scheme.
  // From anybody else: the ids of trace and request that came along are removed, and the context says so.
  void believe(http::Request& request, http::RequestContext& context) const;

 private:
  net::AddressSet addresses_;
  Reads reads_ = Reads::x_forwarded_for;
};

}  // namespace trellis::proxy
