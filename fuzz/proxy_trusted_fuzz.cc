// X-Forwarded-For and Forwarded as trusted proxies hand them on, with whatever a client put in front: the client is
// always an address, what is told to the upstream is made of addresses only, and nothing to the left of what a proxy
// wrote changes whom it named.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "http/handler.h"
#include "proxy/forward.h"
#include "proxy/received_fields.h"
#include "proxy/trusted_proxies.h"

namespace {

using namespace trellis;
using namespace trellis::proxy;

void require(bool holds) {
  if (!holds) std::abort();
}

std::string client_of(const TrustedProxies& trusted, bool forwarded, std::string_view text) {
  alignas(64) static char place[64];
  Arena arena;
  http::Request request(arena);
  request.scheme = "http";
  request.path = "/";
  http::RequestContext context{.arena = arena, .loop = reinterpret_cast<runtime::Loop&>(place), .started = Time{}};
  context.client_address = "10.0.0.1";
  request.fields.add(forwarded ? http::FieldId::forwarded : http::FieldId::x_forwarded_for, text);
  request.fields.add(http::FieldId::x_forwarded_host, text);
  request.fields.add(http::FieldId::x_forwarded_proto, text);
  trusted.believe(request, context);
  require(net::AddressSet::parse_address(context.client_address).has_value());
  require(context.forwarded_for.empty() || context.forwarded_for.ends_with(", 10.0.0.1"));
  std::string_view way = context.forwarded_for;
  while (const auto address = http::next_element(way)) require(net::AddressSet::parse_address(*address).has_value());
  require(request.scheme == "http" || request.scheme == "https");
  take_off_received(request);
  prepare_for_upstream(request, context, "1.1 edge");
  require(request.fields.value(http::FieldId::forwarded).find_first_of("\r\n\\") == std::string_view::npos);
  return std::string(context.client_address);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 4096) return 0;
  const bool forwarded = data[0] == 'f';
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (text.find_first_of("\r\n") != std::string::npos || text.find('\0') != std::string::npos) return 0;
  const TrustedProxies trusted(net::AddressSet({*net::AddressSet::parse_block("10.0.0.0/8")}),
                               forwarded ? TrustedProxies::Reads::forwarded : TrustedProxies::Reads::x_forwarded_for);
  client_of(trusted, forwarded, text);
  const std::string written = forwarded ? "for=198.51.100.1;proto=https, for=10.2.0.1" : "198.51.100.1, 10.2.0.1";
  require(client_of(trusted, forwarded, text + ", " + written) == "198.51.100.1");
  return 0;
}
