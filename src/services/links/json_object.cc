#include "services/links/json_object.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/error.h"
#include "config/problems.h"

namespace trellis::services::links {

namespace {

using Json = nlohmann::json;

std::unexpected<Fault> fault(std::string field, std::string detail) {
  return std::unexpected(Fault{std::move(field), std::move(detail)});
}

}  // namespace

std::expected<Json, Fault> read_object(std::string_view body, std::span<const std::string_view> members) {
  // A key written twice is read differently by each reader, and so by none here.
  std::array<bool, 32> seen{};
  TRELLIS_ASSERT(members.size() <= seen.size());
  std::string twice;
  int depth = 0;
  bool deep = false;
  const Json::parser_callback_t watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start)
      deep = deep || ++depth > 16;
    if (event == Json::parse_event_t::object_end || event == Json::parse_event_t::array_end) --depth;
    if (event == Json::parse_event_t::key && depth == 1) {
      const auto at = std::find(members.begin(), members.end(), parsed.get_ref<const std::string&>());
      if (at != members.end()) {
        bool& mark = seen[static_cast<size_t>(at - members.begin())];
        if (mark) twice = *at;
        mark = true;
      }
    }
    return true;
  };
  Json json = Json::parse(body.begin(), body.end(), watch, false);
  if (json.is_discarded()) return std::unexpected(Fault{"", "The body is not valid JSON.", "invalid_json"});
  if (deep) return std::unexpected(Fault{"", "The body is nested too deeply.", "invalid_json"});
  if (!json.is_object()) return fault("", "The body must be a JSON object.");
  if (!twice.empty()) return fault(twice, "The member is there twice.");
  for (const auto& [name, value] : json.items()) {
    if (std::find(members.begin(), members.end(), name) != members.end()) continue;
    // The name is the client's: cut, so that an answer stays small.
    std::string detail =
        "There is no member \"" + name.substr(0, 64) + "\"; " + config::suggest(name.substr(0, 64), members);
    return std::unexpected(Fault{name.substr(0, 64), std::move(detail), "unknown_member"});
  }
  return json;
}

}  // namespace trellis::services::links
