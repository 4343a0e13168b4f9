// Sends the client elsewhere: 301, 302, 303, 307 or 308 with a Location made from the request. The end of a chain, or a
// filter that always answers (filters/redirect.h). One instance a core; immutable, nothing suspends.
#pragma once

#include <string>

#include "config/fields.h"
#include "http/handler.h"
#include "proxy/text_template.h"

namespace trellis::proxy {

struct RedirectConfig {
  std::string to;
  int status = 302;
  static config::Fields<RedirectConfig> fields();
  void check(config::Checker& at) const;
};

class RedirectTarget final : public http::Handler {
 public:
  // The config has been checked.
  explicit RedirectTarget(const RedirectConfig& config);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;
  // The same without a task, for the filter.
  http::Response answer(const http::Request& request, const http::RequestContext& context) const;

 private:
  TextTemplate to_;
  int status_;
};

}  // namespace trellis::proxy
