// The control API's stores: copies of a running node's store (docs/store.md#back-up).
#include <array>

#include "app/control/control_area.h"
#include "app/node/node.h"
#include "app/node/open_store.h"
#include "app/node/store_backup.h"

namespace trellis::app {

namespace {

using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;

std::string_view to_string(StoreBackup::Phase phase) noexcept {
  switch (phase) {
    case StoreBackup::Phase::running: return "running";
    case StoreBackup::Phase::done: return "done";
    case StoreBackup::Phase::failed: return "failed";
    default: return "none";
  }
}

Response backup_answer(RequestContext& context, int status, const StoreBackup& backup) {
  const StoreBackup::State state = backup.state();
  std::string text;
  JsonWriter(text)
      .begin_object()
      .member("state", to_string(state.phase))
      .member("file", state.file)
      .member("done_bytes", state.done_bytes)
      .member("total_bytes", state.total_bytes)
      .member("error", state.error)
      .member("error_code", state.error_code)
      .end_object();
  return json_answer(context, status, std::move(text));
}

Task<Result<Response>> begin(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"store", "name", "force"}));
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  CO_TRY(const std::optional<std::string> name, text_parameter(request, context, "name"));
  CO_TRY(const std::optional<bool> force, flag_parameter(request, context, "force"));
  if (!name) co_return fail(refused(Code::invalid_argument, "name is missing: what the copy is to be called"));
  CO_TRY_VOID(store->backup->begin(*name, force.value_or(false)));
  co_return backup_answer(context, 202, *store->backup);
}

Task<Result<Response>> state(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"store"}));
  CO_TRY(const std::shared_ptr<OpenStore> store, store_parameter(node, request, context));
  co_return backup_answer(context, 200, *store->backup);
}

constexpr std::array<ControlEndpoint, 2> kEndpoints = {
    {{"/v1/store/backup", Method::post, &begin}, {"/v1/store/backup/state", Method::get, &state}}};

}  // namespace

std::span<const ControlEndpoint> store_endpoints() noexcept { return kEndpoints; }

}  // namespace trellis::app
