// The target that leads across the network: makes the request fit for the upstream (RFC 9110 §7.6: Via comes, the
// forwarding fields say who really asked; what the client claimed and what was for its connection is gone already) and
// hands it to the cluster. One a route and core.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "http/handler.h"

namespace trellis::upstream {
class Cluster;
}

namespace trellis::proxy {

class Forward final : public http::Handler {
 public:
  Forward(std::shared_ptr<upstream::Cluster> cluster, std::string_view node);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;

 private:
  std::shared_ptr<upstream::Cluster> cluster_;
  std::array<std::string, 2> via_;  // of messages received as HTTP/1.0 and as 1.1: "1.1 edge-1"
};

// What Forward does to a request's fields, alone so that tests see it. Fields of these names that are there already
// stay and count: the configuration has set them.
void prepare_for_upstream(http::Request& request, const http::RequestContext& context, std::string_view via);

}  // namespace trellis::proxy
