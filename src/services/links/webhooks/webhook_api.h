// /v1/webhooks: the API of webhooks, for keys of the scope admin. A secret is in one answer, that to its making, and
// nowhere else. Owned by the service; any core.
#pragma once

#include <string_view>

#include "base/error.h"
#include "http/routes.h"
#include "runtime/task.h"

namespace trellis::store {
class SqliteStore;
}

namespace trellis::services::links {

class WebhookApi {
 public:
  explicit WebhookApi(store::SqliteStore& store) noexcept : store_(store) {}
  void mount(http::Routes& routes);

 private:
  Task<Result<http::Response>> create(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> list(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> show(http::Request& request, http::RequestContext& context, std::string_view id);
  Task<Result<http::Response>> change(http::Request& request, http::RequestContext& context, std::string_view id);
  Task<Result<http::Response>> remove(http::Request& request, http::RequestContext& context, std::string_view id);

  store::SqliteStore& store_;
};

}  // namespace trellis::services::links
