// Text with variables, for header values and redirect targets: "https://${host}${path}?${query}". Parsed when the
// configuration is read, so that a wrong name is a problem there; written into the exchange's arena for each request.
// Immutable; any core.
//
//   ${client.address} ${request_id} ${host} (without port) ${path} ${query} (without '?') ${uri} (path, and ?query if
//   there is one)
//   ${method} ${route} ${scheme} ${listener} ${client.port} ${trace_id}
//   ${header.NAME} ${cookie.NAME} of the request: what the client says, "" where it does not
//   ${upstream} ${upstream.host} ${way} (of a split): known once there is an answer
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace trellis::http {
struct Request;
struct RequestContext;
}  // namespace trellis::http

namespace trellis::proxy {

class TextTemplate {
 public:
  // Refuses unknown variables and bytes that may not stand in a field's value. `$${` is a plain `${`.
  static Result<TextTemplate> parse(std::string_view text);

  // In the arena, or the constant text itself, which then must outlive the exchange (it does: filters outlive their
  // requests). Bytes that would split a header become '?'.
  std::string_view write(const http::Request& request, const http::RequestContext& context) const;

  // True when the text begins with a variable, so that its first characters come from the request.
  bool begins_with_variable() const noexcept;
  std::string_view source() const noexcept { return source_; }

 private:
  enum class Variable : uint8_t {
    none,
    client_address,
    client_port,
    request_id,
    host,
    path,
    query,
    uri,
    method,
    route,
    scheme,
    listener,
    trace_id,
    header,
    cookie,
    upstream,
    upstream_host,
    way
  };
  struct Part {
    Variable variable = Variable::none;
    std::string text;  // of a constant; the name of a header or cookie
  };
  static std::string_view value_of(const Part& part, const http::Request& request, const http::RequestContext& context);

  std::string source_;
  std::vector<Part> parts_;
};

// The host of an authority without its port; an IPv6 address keeps its brackets.
std::string_view host_without_port(std::string_view authority) noexcept;

}  // namespace trellis::proxy
