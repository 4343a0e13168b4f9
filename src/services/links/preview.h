// The preview of a link, `/{code}+`: where it leads, before one goes there. A page for people, JSON for programs. It is
// no visit: nothing is counted, nothing is granted. What a password protects is not shown. Everything that came from
// outside is escaped, and the page allows neither script nor foreign sources. Pure, but for answer_preview(); any core.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "http/handler.h"

namespace trellis::services::links {

class LinkBook;

// What may be said of a link to everybody.
struct Preview {
  std::string code;
  std::string short_url;
  std::string url;  // as in a Location field; "": not said
  std::string title;
  bool varies = false;     // rules send some visitors elsewhere
  int64_t created_at = 0;  // milliseconds since 1970
  int64_t expires_at = INT64_MAX;
};

std::string preview_page(const Preview& preview);
std::string preview_json(const Preview& preview);
// A page in the same clothes that says why there is nothing.
std::string refusal_page(std::string_view headline, std::string_view sentence);
// Allows the style of these pages and nothing else.
std::string_view preview_policy();
// A refusal as a page where the client is a browser; else it stays the problem that it is.
void show_refusal(http::Response& refusal, const http::Request& request, std::string_view headline,
                  std::string_view sentence);

// "&", "<", ">" and both quotation marks as entities; control characters as U+FFFD.
void append_html(std::string& out, std::string_view text);

// What a client would rather have, by its Accept field: a page or JSON; either: it does not say.
enum class Wish : uint8_t { either, page, json };
Wish wish_of(std::string_view accept) noexcept;

// GET /{code}+
Task<Result<http::Response>> answer_preview(LinkBook& book, http::Request& request, http::RequestContext& context,
                                            std::string code);

}  // namespace trellis::services::links
