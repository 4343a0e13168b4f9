// What nginx adds to the fields of requests and answers, in words of Trellis: its variables, proxy_set_header,
// add_header, expires, gzip. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "app/import/draft.h"
#include "app/import/nginx/location.h"
#include "app/import/nginx/settings.h"
#include "app/import/remark.h"

namespace trellis::app {

// nginx's variables as those of Trellis; nothing when one is unknown, which `unknown` then names.
std::optional<std::string> template_of(std::string_view text, const NginxServer& server, const NginxSettings& settings,
                                       std::string& unknown);

// proxy_set_header. True: the Host that hosts hear was spoken of; it cannot be changed, which has been told.
bool add_request_fields(const NginxServer& server, const NginxSettings& settings, RouteDraft& route, Remarks& remarks);

// Encodings as a list of Trellis, best first.
std::string encodings_of(bool gzip, bool brotli);

// add_header, expires and compression. Files have Cache-Control of their own, and fixed answers their type.
enum class AnswerOf : uint8_t { anything, files, fixed };
void add_answer_fields(AnswerOf what, const NginxServer& server, const NginxSettings& settings, RouteDraft& route,
                       Remarks& remarks);

}  // namespace trellis::app
