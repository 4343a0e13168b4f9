// What the resources of the links service that are known by a number (keys, domains, blocked destinations, webhooks,
// reports) have in common: their number in a path, the version that an ETag names, the page of a list that is asked
// for, and how their routes are described. Pure; any core.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/routes.h"
#include "services/links/link_json.h"

namespace trellis::services::links {

// From 0; nothing if the text is something else.
std::optional<int64_t> number_of(std::string_view text) noexcept;

// "7-2", with its quotes: number 7 after its first change.
std::string etag_of(int64_t id, int64_t version);

struct PageAsked {
  int64_t limit = 20;  // 1 to 100
  int64_t after = 0;   // the last number of the page before
};
// `first`: what `after` is without a cursor.
std::expected<PageAsked, Fault> page_asked(std::string_view query, int64_t first = 0);

http::RouteDoc doc_of(const char* id, http::Scope scope, const char* summary, const char* description);
http::ParameterDoc id_parameter(const char* description, const char* schema = R"({"type":"integer","minimum":1})");
http::ParameterDoc if_match_parameter();
// Of page_asked(). `items`: such as "Keys a page.".
std::vector<http::ParameterDoc> page_parameters(const char* items);

}  // namespace trellis::services::links
