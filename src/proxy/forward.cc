#include "proxy/forward.h"

#include "http/h1_writer.h"
#include "http/problem.h"
#include "proxy/trace.h"
#include "upstream/cluster.h"

namespace trellis::proxy {

using http::FieldId;

namespace {
constexpr size_t kMaxHops = 20;  // Via entries beyond which a request is taken for going round in circles
}

void prepare_for_upstream(http::Request& request, const http::RequestContext& context, std::string_view via) {
  Arena& arena = context.arena;
  http::Fields& fields = request.fields;
  http::remove_hop_by_hop(fields, false);
  // What a client says here proves nothing: the upstream hears what this node knows.
  fields.remove_if([](const http::Field& field) {
    switch (field.id) {
      case FieldId::x_forwarded_for:
      case FieldId::x_forwarded_host:
      case FieldId::x_forwarded_proto:
      case FieldId::forwarded:
      case FieldId::x_real_ip:
      case FieldId::traceparent:
      case FieldId::x_request_id: return true;
      default: return false;
    }
  });
  const bool six = context.client_address.find(':') != std::string_view::npos;
  fields.add(FieldId::x_forwarded_for, context.client_address);
  fields.add(FieldId::x_forwarded_proto, request.scheme);
  if (!request.authority.empty()) fields.add(FieldId::x_forwarded_host, request.authority);
  fields.add(FieldId::forwarded, arena.concat({"for=", six ? "\"[" : "", context.client_address, six ? "]\"" : "",
                                               ";proto=", request.scheme, request.authority.empty() ? "" : ";host=\"",
                                               request.authority, request.authority.empty() ? "" : "\""}));
  fields.add(FieldId::via, via);
  fields.add(FieldId::traceparent, format_traceparent(arena, context.trace));
  fields.add(FieldId::x_request_id, context.request_id);
}

Forward::Forward(std::shared_ptr<upstream::Cluster> cluster, std::string_view node)
    : cluster_(std::move(cluster)), via_("1.1 " + std::string(node)) {}

Task<Result<http::Response>> Forward::handle(http::Request& request, http::RequestContext& context) {
  if (request.fields.has(FieldId::via)) [[unlikely]] {
    size_t hops = 0;
    std::string_view list = request.fields.joined(FieldId::via);
    while (http::next_element(list)) ++hops;
    if (hops >= kMaxHops) {
      context.outcome = "loop_detected";
      context.failed_side = Side::self;
      co_return http::problem(context.arena, 508, "loop_detected", "The request went through too many proxies.", false,
                              context.request_id);
    }
  }
  prepare_for_upstream(request, context, via_);
  auto answer = co_await cluster_->send(request, context);
  if (answer) {
    http::remove_hop_by_hop(answer->fields, false);
    answer->fields.add(FieldId::via, via_);
  }
  co_return answer;
}

}  // namespace trellis::proxy
