#include "proxy/redirect_target.h"

namespace trellis::proxy {

config::Fields<RedirectConfig> RedirectConfig::fields() {
  return {{"to", "where to: a URL or a path; ${host} ${path} ${query} ${uri} come from the request",
           &RedirectConfig::to, config::kRequired},
          {"status", "301, 302, 303, 307 or 308", &RedirectConfig::status, config::range(301, 308)}};
}

void RedirectConfig::check(config::Checker& at) const {
  if (status > 303 && status < 307) at.problem("status", "is no redirect", "use 301, 302, 303, 307 or 308");
  const Result<TextTemplate> parsed = TextTemplate::parse(to);
  if (!parsed) {
    at.problem("to", parsed.error().what());
  } else if (to.find_first_of(" \t\"<>\\^`") != std::string::npos) {
    at.problem("to", "holds a character that no URL has", "write it percent-encoded");
  } else if (to.starts_with("//")) {
    at.problem("to", "begins with '//', which leads to another host", "write the scheme too: https://...");
  }
}

RedirectTarget::RedirectTarget(const RedirectConfig& config) : status_(config.status) {
  Result<TextTemplate> to = TextTemplate::parse(config.to);
  TRELLIS_ASSERT(to.has_value());
  to_ = std::move(*to);
}

http::Response RedirectTarget::answer(const http::Request& request, const http::RequestContext& context) const {
  std::string_view location = to_.write(request, context);
  if (location.ends_with('?')) location.remove_suffix(1);  // of "...?${query}" without a query
  if (to_.begins_with_variable() || location.starts_with("//")) {
    // "//other.example" and "/\other.example" would lead to another host: a path of the client's choice must not.
    size_t slashes = 0;
    while (slashes < location.size() && (location[slashes] == '/' || location[slashes] == '\\')) ++slashes;
    if (slashes > 1) location = context.arena.concat({"/", location.substr(slashes)});
  }
  http::Response response(context.arena, status_);
  response.fields.add(http::FieldId::location, location);
  return response;
}

Task<Result<http::Response>> RedirectTarget::handle(http::Request& request, http::RequestContext& context) {
  co_return answer(request, context);
}

}  // namespace trellis::proxy
