// allow, deny: by the client's address (after trusted proxies have been believed). `allow` refuses whom it does not
// name, `deny` whom it names; both together: deny first. One instance a route and core; immutable, costs no frame when
// it passes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "net/address_set.h"
#include "proxy/filter.h"

namespace trellis::proxy {

// One line of `allow` or `deny`.
struct AddressBlock {
  net::AddressSet::Block block;
  std::string text;
  static constexpr std::string_view kText = "address block such as 10.0.0.0/8 or 2001:db8::/32";
  static Result<AddressBlock> from_text(std::string_view text);
  std::string to_text() const { return text; }
};

class AddressFilter final : public Filter {
 public:
  AddressFilter(const std::vector<AddressBlock>& blocks, bool allow);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override;

 private:
  net::AddressSet set_;
  bool allow_;
};

}  // namespace trellis::proxy
