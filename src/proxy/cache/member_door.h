// Where the messages of other members come in, on every HTTP listener of the node: paths below Members::kPath, whatever
// the host, before any route. Without a member's mark they are answered as if nothing was there. One a core.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "http/handler.h"
#include "proxy/cache/members.h"

namespace trellis::proxy {

class MemberDoor final : public http::Handler {
 public:
  // By the cache's name.
  using Caches = std::map<std::string, std::shared_ptr<Members>, std::less<>>;
  explicit MemberDoor(Caches caches) noexcept : caches_(std::move(caches)) {}

  static bool is_for(std::string_view path) noexcept { return path.starts_with(Members::kPath); }
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;

 private:
  static Task<Result<http::Response>> nothing(http::RequestContext& context);
  const Caches caches_;
};

}  // namespace trellis::proxy
