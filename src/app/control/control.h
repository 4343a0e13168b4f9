// The control listener: /metrics, /healthz, /readyz, and the control API as JSON (status, reload, log level). Runs on
// core 0. `trellis ctl` speaks to it. Only this machine may steer the node; worker nodes on others may claim and settle
// jobs, with a token.
#pragma once

#include <functional>
#include <string>

#include "app/node/node.h"
#include "http/server.h"

namespace trellis::app {

class Control final : public http::Application {
 public:
  // `token`: of worker nodes on other machines; "": nobody elsewhere is answered.
  Control(Node& node, std::string token) noexcept : node_(node), token_(std::move(token)) {}
  void on_reload(Node::ReloadRequest request) { reload_ = std::move(request); }
  void on_upgrade(Node::UpgradeRequest request) { upgrade_ = std::move(request); }

  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;
  void finished(const http::Request&, http::RequestContext&, const http::Sent&) noexcept override {}
  void refused(std::string_view, int, http::H1Error) noexcept override {}

 private:
  Task<Result<http::Response>> reload(http::RequestContext& context);
  Task<Result<http::Response>> upgrade(http::RequestContext& context);
  Task<Result<http::Response>> log_level(http::Request& request, http::RequestContext& context);

  bool knows(const http::Request& request) const noexcept;

  Node& node_;
  std::string token_;
  Node::ReloadRequest reload_;
  Node::UpgradeRequest upgrade_;
};

}  // namespace trellis::app
