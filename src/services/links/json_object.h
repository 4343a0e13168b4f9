// JSON of clients, read strictly: what is no JSON, is nested beyond 16 levels, or has a member twice, which each reader
// takes differently, is refused. Pure; any core. Include nlohmann/json.hpp where it is called.
#pragma once

#include <cstdint>
#include <expected>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "services/links/link_json.h"

namespace trellis::services::links {

struct JsonTrouble {
  enum class Kind : uint8_t { invalid, deep, twice } kind = Kind::invalid;
  std::string member;  // that is there twice
  std::string inside;  // the member of the outermost object in which it stands; "": it is one itself
  std::string why;     // of what is invalid: "byte 17 does not fit"
};
// Why JSON of `size` bytes is invalid that could be read up to byte `at`, from 1.
std::string why_invalid(size_t at, size_t size);

std::expected<nlohmann::json, JsonTrouble> parse_strictly(std::string_view text);

// An object of which every member is known: what the bodies of our own interfaces begin with. Anything else is a Fault
// for the person who sent it.
std::expected<nlohmann::json, Fault> read_object(std::string_view body, std::span<const std::string_view> members);

}  // namespace trellis::services::links
