#include "http/detached.h"

#include "runtime/loop.h"

namespace trellis::http {

Detached::Detached(const Request& from, const RequestContext& its)
    : context{.arena = arena, .loop = its.loop, .started = its.loop.now()} {
  request.method = from.method;
  request.version_minor = from.version_minor;
  request.method_text = arena.copy(from.method_text);
  request.target = arena.copy(from.target);
  request.scheme = arena.copy(from.scheme);
  request.authority = arena.copy(from.authority);
  request.path = arena.copy(from.path);
  request.query = arena.copy(from.query);
  for (const Field& field : from.fields)
    request.fields.add({arena.copy(field.name), arena.copy(field.value), field.id});
  context.client_address = arena.copy(its.client_address);
  context.client_port = its.client_port;
  context.forwarded_for = arena.copy(its.forwarded_for);
  context.from_stranger = its.from_stranger;
  context.forwarded_host = arena.copy(its.forwarded_host);
  context.listener = arena.copy(its.listener);
  context.trace = its.trace;
  context.request_id = arena.copy(its.request_id);
  context.route = arena.copy(its.route);
  context.route_index = its.route_index;
}

}  // namespace trellis::http
