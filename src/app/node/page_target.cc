#include "app/node/page_target.h"

#include <algorithm>

#include "app/node/web_assets.h"
#include "http/preconditions.h"
#include "http/problem.h"

namespace trellis::app {

using http::FieldId;

Task<Result<http::Response>> PageTarget::handle(http::Request& request, http::RequestContext& context) {
  const auto assets = web_assets();
  const auto found = std::lower_bound(assets.begin(), assets.end(), request.path,
                                      [](const WebAsset& asset, std::string_view path) { return asset.path < path; });
  if (found == assets.end() || found->path != request.path) {
    co_return http::problem(context.arena, 404, "not_found", "Nothing is found at this address.", false,
                            context.request_id);
  }
  if (request.method != http::Method::get && request.method != http::Method::head) {
    http::Response refused =
        http::problem(context.arena, 405, "method_not_allowed", "A page can only be read.", false, context.request_id);
    refused.fields.add(FieldId::allow, "GET, HEAD");
    co_return refused;
  }
  http::Response response(context.arena);
  response.fields.add(FieldId::etag, found->etag);
  response.fields.add(FieldId::cache_control, found->cache_control);
  response.fields.add(FieldId::vary, "Accept-Encoding");
  response.fields.add(FieldId::content_security_policy, kWebPolicy);
  response.fields.add(FieldId::x_content_type_options, "nosniff");
  response.fields.add("Referrer-Policy", "same-origin");
  if (http::evaluate(request, {.etag = found->etag, .last_modified = std::nullopt}, 0) == http::Verdict::not_modified) {
    response.status = 304;
    co_return response;
  }
  response.fields.add(FieldId::content_type, found->content_type);
  const bool packed = !found->gzip.empty() && http::list_has(request.fields.joined(FieldId::accept_encoding), "gzip");
  if (packed) response.fields.add(FieldId::content_encoding, "gzip");
  response.body = http::Body::of_static(packed ? found->gzip : found->body);
  co_return response;
}

}  // namespace trellis::app
