#include "services/links/json_object.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "config/problems.h"

namespace trellis::services::links {

namespace {

using Json = nlohmann::json;

std::unexpected<Fault> fault(std::string field, std::string detail) {
  return std::unexpected(Fault{std::move(field), std::move(detail)});
}

constexpr size_t kMaxDepth = 16;

}  // namespace

std::string why_invalid(size_t at, size_t size) {
  return at > size ? "it ends too early" : "byte " + std::to_string(at) + " does not fit";
}

std::expected<Json, JsonTrouble> parse_strictly(std::string_view text) {
  std::vector<std::unordered_set<std::string>> members;  // of the objects that are open; an array has none
  std::string outermost;
  std::optional<JsonTrouble> trouble;
  const Json::parser_callback_t watch = [&](int, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (trouble) return false;
    if (event == Event::object_start || event == Event::array_start) {
      if (members.size() == kMaxDepth) trouble = JsonTrouble{JsonTrouble::Kind::deep, {}, {}, {}};
      members.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      members.pop_back();
    } else if (event == Event::key) {
      const auto& name = parsed.get_ref<const std::string&>();
      const bool outer = members.size() == 1;
      if (outer) outermost = name;
      if (!members.back().insert(name).second)
        trouble = JsonTrouble{JsonTrouble::Kind::twice, name, outer ? std::string() : outermost, {}};
    }
    return !trouble;
  };
  const auto invalid = [&trouble](std::string why) {
    if (!trouble) trouble = JsonTrouble{JsonTrouble::Kind::invalid, {}, {}, std::move(why)};
  };
  Json json;
  try {
    json = Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::parse_error& error) {
    invalid(why_invalid(error.byte, text.size()));
  } catch (const Json::exception&) {
    invalid("a number is too large");
  }
  if (trouble) return std::unexpected(*std::move(trouble));
  return json;
}

std::expected<Json, Fault> read_object(std::string_view body, std::span<const std::string_view> members) {
  auto read = parse_strictly(body);
  if (!read) {
    const JsonTrouble& trouble = read.error();
    switch (trouble.kind) {
      case JsonTrouble::Kind::invalid:
        return std::unexpected(Fault{"", "The body is not valid JSON: " + trouble.why + ".", "invalid_json"});
      case JsonTrouble::Kind::deep: return std::unexpected(Fault{"", "The body is nested too deeply.", "invalid_json"});
      case JsonTrouble::Kind::twice: break;
    }
    // The names are the client's: cut, so that an answer stays small.
    if (trouble.inside.empty()) return fault(trouble.member.substr(0, 64), "The member is there twice.");
    return fault(trouble.inside.substr(0, 64), "The member \"" + trouble.member.substr(0, 64) + "\" is there twice.");
  }
  Json json = *std::move(read);
  if (!json.is_object()) return fault("", "The body must be a JSON object.");
  for (const auto& [name, value] : json.items()) {
    if (std::find(members.begin(), members.end(), name) != members.end()) continue;
    std::string detail =
        "There is no member \"" + name.substr(0, 64) + "\"; " + config::suggest(name.substr(0, 64), members);
    return std::unexpected(Fault{name.substr(0, 64), std::move(detail), "unknown_member"});
  }
  return json;
}

}  // namespace trellis::services::links
