// The answers that the links service's interfaces share: refusals as problem+json, JSON bodies, what is asked of a
// request before it is read. Everything belongs to the exchange whose context is given.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "http/handler.h"
#include "services/links/link_json.h"

namespace trellis::services::links {

inline constexpr uint64_t kMaxBody = 64 * 1024;  // of a request about one link

http::Response refuse(http::RequestContext& context, int status, std::string_view code, std::string_view detail);
http::Response refuse(http::RequestContext& context, const Fault& fault);
http::Response not_found(http::RequestContext& context);
http::Response gone(http::RequestContext& context);
// `limit`: of the body, in words.
http::Response body_failed(const Error& error, http::RequestContext& context, std::string_view limit = "64 KiB");
http::Response json_answer(http::RequestContext& context, int status, std::string body);
// The same with the ETag of the resource that `body` is.
http::Response json_answer(http::RequestContext& context, int status, std::string body, std::string_view etag);
// Of a GET: 200 with `body`, 304 for who has this version, 412 for who wants another. `what`: such as "link".
http::Response read_answer(const http::Request& request, http::RequestContext& context, std::string_view what,
                           std::string body, std::string_view etag);
// 412: the If-Match of a change named another version.
http::Response changed_meanwhile(http::RequestContext& context, std::string_view what);

// 406 or 415, or nothing when the request may go on. `patch`: a merge patch is taken too.
std::optional<http::Response> refuse_media(const http::Request& request, http::RequestContext& context, bool has_body,
                                           bool patch);
// What no route of the API takes: a parameter that is there twice, which each reader takes differently (400), and a
// body in a content coding (415). Nothing when the request may go on.
std::optional<http::Response> refuse_unclear(const http::Request& request, http::RequestContext& context);

}  // namespace trellis::services::links
