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

// RFC 7239: the client first, with what it asked for, then the proxies before this node.
std::string_view forwarded(const http::Request& request, const http::RequestContext& context, std::string_view host) {
  const auto opening = [](std::string_view address) {
    return address.find(':') == std::string_view::npos ? std::string_view("for=") : std::string_view("for=\"[");
  };
  const auto closing = [](std::string_view address) {
    return address.find(':') == std::string_view::npos ? std::string_view() : std::string_view("]\"");
  };
  const std::string_view client = context.client_address;
  std::string_view text = context.arena.concat({opening(client), client, closing(client), ";proto=", request.scheme,
                                                host.empty() ? "" : ";host=\"", host, host.empty() ? "" : "\""});
  std::string_view way = context.forwarded_for;
  while (const auto proxy = http::next_element(way)) {
    if (proxy->data() == context.forwarded_for.data()) continue;  // the client
    text = context.arena.concat({text, ", ", opening(*proxy), *proxy, closing(*proxy)});
  }
  return text;
}
}  // namespace

void prepare_for_upstream(http::Request& request, const http::RequestContext& context, std::string_view via) {
  Arena& arena = context.arena;
  http::Fields& fields = request.fields;
  // The client's own are gone (take_off_received): what is there the configuration has set, and it counts.
  uint64_t set = 0;
  for (const http::Field& field : fields) set |= uint64_t{1} << (static_cast<unsigned>(field.id) & 63U);
  const auto add = [&](FieldId id, std::string_view value) {
    const bool maybe = (set >> (static_cast<unsigned>(id) & 63U) & 1U) != 0;
    if (!maybe || !fields.has(id)) fields.add(id, value);
  };
  const std::string_view host = context.forwarded_host.empty() ? request.authority : context.forwarded_host;
  add(FieldId::x_forwarded_for, context.forwarded_for.empty() ? context.client_address : context.forwarded_for);
  add(FieldId::x_forwarded_proto, request.scheme);
  if (!host.empty()) add(FieldId::x_forwarded_host, host);
  add(FieldId::forwarded, forwarded(request, context, host));
  fields.add(FieldId::via, via);
  add(FieldId::traceparent, format_traceparent(arena, context.trace));
  add(FieldId::x_request_id, context.request_id);
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
  if (answer && context.failed_side == Side::unset) {  // not one that a limit of this node gave
    http::remove_hop_by_hop(answer->fields, answer->status == 101 || answer->status == 426);
    answer->fields.add(FieldId::via, via_[std::min<size_t>(answer->version_minor, 1)]);
  }
  co_return answer;
}

}  // namespace trellis::proxy
