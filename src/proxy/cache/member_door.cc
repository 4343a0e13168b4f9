#include "proxy/cache/member_door.h"

#include "http/problem.h"

namespace trellis::proxy {

Task<Result<http::Response>> MemberDoor::handle(http::Request& request, http::RequestContext& context) {
  const auto found = caches_.find(Members::cache_of_path(request.path));
  return found == caches_.end() ? nothing(context) : found->second->answer(request, context);
}

Task<Result<http::Response>> MemberDoor::nothing(http::RequestContext& context) {
  context.outcome = "not_found";
  context.failed_side = Side::client;
  co_return http::problem(context.arena, 404, context.outcome, "Nothing is found at this address.", false,
                          context.request_id);
}

}  // namespace trellis::proxy
