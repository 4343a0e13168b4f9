// Links, rules and bodies in Shlink's words, and back into ours. Reading leaves the judgement to our own readers: a
// body becomes one of ours, and what those say of it is told with Shlink's name of the member. Pure; any core. Input is
// foreign: fuzz/services_links_shlink_fuzz.cc.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "services/links/link_json.h"

namespace trellis::services::links {

class DomainTable;

void append_shlink_link(std::string& out, const Link& link, const DomainTable& domains);

// "2026-03-01T12:34:56+00:00"
std::string shlink_time(int64_t millis);

struct ShlinkNew {
  std::string ours;  // a body that read_new_link() takes
  bool find_if_exists = false;
  std::string domain;
};
std::expected<ShlinkNew, Fault> read_shlink_new(std::string_view body);
// A body that read_link_patch() takes.
std::expected<std::string, Fault> read_shlink_patch(std::string_view body);
// Shlink's name of a member of ours.
std::string_view shlink_name(std::string_view ours) noexcept;

// {"redirectRules":[...]} as our rules; "" when there are none.
std::expected<std::string, Fault> read_shlink_rules(std::string_view body);
// Appends an array of those rules that Shlink can express, and says whether these are all.
bool append_shlink_rules(std::string& out, std::string_view ours);

}  // namespace trellis::services::links
