// The target `page`: the web page that the binary carries (app/node/web_assets.h), with validators and the packed
// bodies. One a core.
#pragma once

#include "http/handler.h"

namespace trellis::app {

class PageTarget final : public http::Handler {
 public:
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;
};

}  // namespace trellis::app
