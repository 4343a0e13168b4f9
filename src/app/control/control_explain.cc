// The control API's key for explanations, with the listeners that take it (docs/explain.md). Who may steer the node may
// know why it does what it does.
#include <array>

#include "app/control/control_area.h"
#include "app/node/node.h"

namespace trellis::app {

namespace {

using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;

Task<Result<Response>> tell(Node& node, Request&, RequestContext& context) {
  std::string text;
  JsonWriter json(text);
  json.begin_object().member("key", node.explain_key()).key("listeners").begin_array();
  for (const ListenerStatus& listener : node.listeners()) {
    if (listener.scheme != "http") continue;
    json.begin_object().member("listener", listener.name).member("address", listener.address).end_object();
  }
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(text));
}

constexpr std::array<ControlEndpoint, 1> kEndpoints = {{{"/v1/explain", Method::get, &tell}}};

}  // namespace

std::span<const ControlEndpoint> explain_endpoints() noexcept { return kEndpoints; }

}  // namespace trellis::app
