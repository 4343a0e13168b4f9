#include "proxy/filters/addresses.h"

#include "proxy/refusal.h"

namespace trellis::proxy {

namespace {

Task<Result<http::Response>> forbidden(http::RequestContext& context) { co_return refuse(context, 403, "forbidden"); }

}  // namespace

Result<AddressBlock> AddressBlock::from_text(std::string_view text) {
  TRY(net::AddressSet::Block block, net::AddressSet::parse_block(text));
  return AddressBlock{block, std::string(text)};
}

AddressFilter::AddressFilter(const std::vector<AddressBlock>& blocks, bool allow) : allow_(allow) {
  std::vector<net::AddressSet::Block> ranges;
  for (const AddressBlock& each : blocks) ranges.push_back(each.block);
  set_ = net::AddressSet(std::move(ranges));
}

Task<Result<http::Response>> AddressFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  // An address that cannot be read passes neither list.
  const std::optional<net::AddressSet::Number> address = net::AddressSet::parse_address(context.client_address);
  if (!address || set_.has(*address) != allow_) return forbidden(context);
  return next(request, context);
}

}  // namespace trellis::proxy
