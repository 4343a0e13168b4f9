// /v1/domains: the API of the domains that short links stand on. Owned by the service; any core.
#pragma once

#include <string_view>

#include "base/error.h"
#include "http/routes.h"
#include "runtime/task.h"

namespace trellis::services::links {

class Domains;

class DomainApi {
 public:
  // Borrows the domains, which outlive it.
  explicit DomainApi(Domains& domains) noexcept : domains_(domains) {}
  void mount(http::Routes& routes);

 private:
  Task<Result<http::Response>> create(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> list(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> show(http::Request& request, http::RequestContext& context, std::string_view id);
  Task<Result<http::Response>> change(http::Request& request, http::RequestContext& context, std::string_view id);
  Task<Result<http::Response>> remove(http::Request& request, http::RequestContext& context, std::string_view id);

  Domains& domains_;
};

}  // namespace trellis::services::links
