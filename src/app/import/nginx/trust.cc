#include "app/import/nginx/trust.h"

#include <algorithm>
#include <string>
#include <vector>

#include "http/fields.h"
#include "proxy/filters/addresses.h"

namespace trellis::app {

FieldLines nginx_trust(const NginxSettings& settings, const NginxDirective& listen, bool proxy_protocol,
                       Remarks& remarks) {
  const bool by_header = http::iequal(settings.real_ip_header, "proxy_protocol");
  const bool by_field = http::iequal(settings.real_ip_header, "X-Forwarded-For");
  std::vector<std::string> blocks;
  for (const NginxSettings::Access& one : settings.trusted) {
    if (!proxy::AddressBlock::from_text(one.block)) {
      remarks.left_out(one.at, "set_real_ip_from", "no block of addresses: " + one.block,
                       "listeners.NAME.trusted: [10.0.0.0/8]");
    } else if (!by_header && !by_field) {
      remarks.left_out(one.at, "set_real_ip_from",
                       "the client is read from X-Forwarded-For or Forwarded, not from " + settings.real_ip_header,
                       "let the proxy before Trellis write X-Forwarded-For, then listeners.NAME.trusted");
    } else {
      blocks.push_back(one.block);
    }
  }
  if (by_field && !blocks.empty() && !settings.real_ip_recursive)
    remarks.differs(settings.trusted.front().at, "set_real_ip_from",
                    "of X-Forwarded-For the last address counts that is not trusted itself, as with real_ip_recursive");
  if (proxy_protocol && (!by_header || blocks.empty())) {
    remarks.left_out(listen.at, "listen ... proxy_protocol",
                     "whose headers are believed must be said (real_ip_header proxy_protocol, set_real_ip_from)",
                     "listeners.NAME: { proxy_protocol: in, trusted: [10.0.0.0/8] }");
    return {};
  }
  if (blocks.empty()) return {};
  if (by_header && !proxy_protocol) {
    remarks.left_out(settings.trusted.front().at, "set_real_ip_from",
                     "connections of this listener bring no PROXY header");
    return {};
  }
  FieldLines out;
  if (by_header) out.emplace_back("proxy_protocol", "in");
  out.emplace_back("trusted", yaml_list(blocks));
  return out;
}

bool same_trust(const NginxSettings& a, const NginxSettings& b) {
  return http::iequal(a.real_ip_header, b.real_ip_header) && a.real_ip_recursive == b.real_ip_recursive &&
         std::ranges::equal(a.trusted, b.trusted, {}, &NginxSettings::Access::block, &NginxSettings::Access::block);
}

}  // namespace trellis::app
