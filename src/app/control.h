// The control listener: /metrics, /healthz, /readyz, and the control API as JSON (status, reload, log level). Runs on
// core 0 and listens on loopback only. `trellis ctl` speaks to it.
#pragma once

#include <functional>
#include <string>

#include "app/node.h"
#include "http/server.h"

namespace trellis::app {

class Control final : public http::Application {
 public:
  explicit Control(Node& node) noexcept : node_(node) {}
  void on_reload(Node::ReloadRequest request) { reload_ = std::move(request); }

  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;
  void finished(const http::Request&, http::RequestContext&, const http::Sent&) noexcept override {}
  void refused(std::string_view, int, http::H1Error) noexcept override {}

 private:
  Task<Result<http::Response>> reload(http::RequestContext& context);
  Task<Result<http::Response>> log_level(http::Request& request, http::RequestContext& context);

  Node& node_;
  Node::ReloadRequest reload_;
};

}  // namespace trellis::app
