#include "proxy/forward.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "http/h1_writer.h"
#include "http/problem.h"
#include "proxy/received_fields.h"
#include "proxy/trace.h"
#include "upstream/cluster.h"

namespace trellis::proxy {

using http::FieldId;

namespace {
constexpr size_t kMaxHops = 20;  // Via entries beyond which a request is taken for going round in circles

// OPTIONS tells how far it may go (RFC 9110 section 7.6.2).
enum class Hop : uint8_t { on, last, bad };
Hop count_down(http::Fields& fields, Arena& arena) {
  const std::string_view text = fields.joined(FieldId::max_forwards);
  uint32_t left = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), left);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) return Hop::bad;
  if (error == std::errc::result_out_of_range) left = UINT32_MAX;
  if (left == 0) return Hop::last;
  fields.set(FieldId::max_forwards, arena.copy(std::to_string(left - 1)));
  return Hop::on;
}
}  // namespace

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
    : cluster_(std::move(cluster)), via_{"1.0 " + std::string(node), "1.1 " + std::string(node)} {}

Task<Result<http::Response>> Forward::handle(http::Request& request, http::RequestContext& context) {
  if (request.fields.has(FieldId::via)) [[unlikely]] {
    if (via_hops(request.fields.joined(FieldId::via)) >= kMaxHops) {
      context.outcome = "loop_detected";
      context.failed_side = Side::self;
      co_return http::problem(context.arena, 508, "loop_detected", "The request went through too many proxies.", false,
                              context.request_id);
    }
  }
  if (request.method == http::Method::options && request.fields.has(FieldId::max_forwards)) [[unlikely]] {
    const Hop hop = count_down(request.fields, context.arena);
    if (hop == Hop::bad) {
      context.outcome = "bad_max_forwards";
      context.failed_side = Side::client;
      co_return http::problem(context.arena, 400, context.outcome, "Max-Forwards is one number.", false,
                              context.request_id);
    }
    if (hop == Hop::last) {
      http::Response response(context.arena, 204);
      response.fields.add(FieldId::allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
      co_return response;
    }
  }
  prepare_for_upstream(request, context, via_[std::min<size_t>(request.version_minor, 1)]);
  auto answer = co_await cluster_->send(request, context);
  if (answer) {
    http::remove_hop_by_hop(answer->fields, false);
    answer->fields.add(FieldId::via, via_[std::min<size_t>(answer->version_minor, 1)]);
  }
  co_return answer;
}

}  // namespace trellis::proxy
