// /v1/blocklist: the destinations that may not be linked, but for those of a file. Owned by the links service; serves
// all cores; its routes are described beside the handlers.
#pragma once

#include <string_view>

#include "http/routes.h"
#include "runtime/task.h"

namespace trellis::services::links {

class Blocklist;

class BlocklistApi {
 public:
  // Borrows the list, which outlives it.
  explicit BlocklistApi(Blocklist& blocklist) noexcept : blocklist_(blocklist) {}
  void mount(http::Routes& routes);

 private:
  Task<Result<http::Response>> add(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> list(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> show(http::RequestContext& context, std::string_view id);
  Task<Result<http::Response>> remove(http::RequestContext& context, std::string_view id);

  Blocklist& blocklist_;
};

}  // namespace trellis::services::links
