#include "services/links/resource.h"

#include <charconv>
#include <string>

#include "http/target.h"

namespace trellis::services::links {

namespace {

constexpr int64_t kMostListed = 100;

}  // namespace

std::optional<int64_t> number_of(std::string_view text) noexcept {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

std::string etag_of(int64_t id, int64_t version) {
  return "\"" + std::to_string(id) + "-" + std::to_string(version) + "\"";
}

std::expected<PageAsked, Fault> page_asked(std::string_view query, int64_t first) {
  PageAsked page;
  page.after = first;
  while (const auto parameter = http::next_parameter(query)) {
    const std::optional<int64_t> value = number_of(parameter->value);
    if (parameter->key == "limit") {
      if (!value || *value < 1 || *value > kMostListed)
        return std::unexpected(Fault{"limit", "The limit is a number from 1 to 100."});
      page.limit = *value;
    } else if (parameter->key == "cursor") {
      if (!value) return std::unexpected(Fault{"cursor", "This cursor was not made here."});
      page.after = *value;
    } else {
      return std::unexpected(
          Fault{std::string(parameter->key.substr(0, 64)), "There is limit and cursor.", "unknown_parameter"});
    }
  }
  return page;
}

http::RouteDoc doc_of(const char* id, http::Scope scope, const char* summary, const char* description) {
  http::RouteDoc doc;
  doc.id = id;
  doc.scope = scope;
  doc.summary = summary;
  doc.description = description;
  return doc;
}

http::ParameterDoc id_parameter(const char* description, const char* schema) {
  return {"id", "path", description, schema};
}

http::ParameterDoc if_match_parameter() {
  return {"If-Match", "header", "The ETag that was read; another version answers 412."};
}

std::vector<http::ParameterDoc> page_parameters(const char* items) {
  return {{"limit", "query", items, R"({"type":"integer","minimum":1,"maximum":100,"default":20})"},
          {"cursor", "query", "next of the page before."}};
}

}  // namespace trellis::services::links
