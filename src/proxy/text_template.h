// Text with variables, for header values and redirect targets: "https://${host}${path}?${query}". Parsed when the
// configuration is read, so that a wrong name is a problem there; written into the exchange's arena for each request.
// Immutable; any core.
//
//   ${client.address} ${request_id} ${host} (without port) ${path} ${query} (without '?') ${uri} (path, and ?query if
//   there is one)
//   ${method} ${route} ${scheme}
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
  enum class Variable : uint8_t { none, client_address, request_id, host, path, query, uri, method, route, scheme };
  struct Part {
    Variable variable = Variable::none;
    std::string text;  // of a constant
  };
  static std::string_view value_of(Variable variable, const http::Request& request,
                                   const http::RequestContext& context);

  std::string source_;
  std::vector<Part> parts_;
};

// The host of an authority without its port; an IPv6 address keeps its brackets.
std::string_view host_without_port(std::string_view authority) noexcept;

}  // namespace trellis::proxy
