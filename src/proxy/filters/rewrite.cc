#include "proxy/filters/rewrite.h"

#include "http/explain.h"
#include "proxy/path_pattern.h"

namespace trellis::proxy {

namespace {

// The literal path in a request's normal form, without '/' at its end; the error says what is wrong.
Result<std::string> plain_prefix(const std::string& text) {
  std::string_view view = text;
  while (view.ends_with('/')) view.remove_suffix(1);
  if (view.empty()) return std::string();
  TRY(PathPattern pattern, PathPattern::parse(view));
  std::string out;
  for (const PathPattern::Segment& segment : pattern.segments()) {
    if (segment.kind != PathPattern::Kind::literal) return fail(Code::invalid_argument, "`*` cannot stand in a prefix");
    if (segment.text.empty()) return fail(Code::invalid_argument, "holds an empty segment");
    out += '/' + segment.text;
  }
  return out;
}

}  // namespace

config::Fields<RewriteConfig> RewriteConfig::fields() {
  return {{"strip_prefix", "path segments taken off the front, if they are there", &RewriteConfig::strip_prefix},
          {"add_prefix", "path segments put in front", &RewriteConfig::add_prefix}};
}

void RewriteConfig::check(config::Checker& at) const {
  const Result<std::string> strip = plain_prefix(strip_prefix);
  if (!strip) at.problem("strip_prefix", strip.error().what());
  const Result<std::string> add = plain_prefix(add_prefix);
  if (!add) at.problem("add_prefix", add.error().what());
  if (strip && add && strip->empty() && add->empty())
    at.problem("", "changes nothing", "give strip_prefix, add_prefix or both");
}

RewriteFilter::RewriteFilter(const RewriteConfig& config)
    : strip_(plain_prefix(config.strip_prefix).value_or("")), add_(plain_prefix(config.add_prefix).value_or("")) {}

Task<Result<http::Response>> RewriteFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  const std::string_view before = request.path;
  std::string_view path = before;
  if (!path.starts_with('/')) {
    Result<http::Response> untouched = co_await next(request, context);
    co_return untouched;
  }
  if (path.starts_with(strip_) && (path.size() == strip_.size() || path[strip_.size()] == '/')) {
    path.remove_prefix(strip_.size());
  }
  if (!add_.empty()) path = context.arena.concat({add_, path});
  if (path.empty()) path = "/";
  request.path = path;
  if (context.explain) [[unlikely]]
    context.explain->add("filter", "rewrite: the path is " + std::string(path) + " now");
  Result<http::Response> result = co_await next(request, context);
  request.path = before;
  co_return result;
}

}  // namespace trellis::proxy
