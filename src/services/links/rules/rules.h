// A link's rules: where a click goes instead of the link's own URL. The rules are tried in order; the first whose
// conditions all hold gives the target, which is one URL or a split by weights. Rules are read once, strictly and with
// every mistake reported with its path, and evaluated for each click without allocating. Pure and immutable after
// reading; any core. Input is foreign: fuzz/services_links_rules_fuzz.cc.
//
//   [{"when": [{"device": ["phone", "tablet"]}, {"country": ["DE", "AT"]}], "url": "https://example.com/mobile"},
//    {"split": [{"url": "https://example.com/a", "weight": 3}, {"url": "https://example.com/b", "weight": 1}]}]
//
// Conditions, each an object of one member; every list means "one of them":
//   device, os, browser   names of user_agent.h
//   language              "de" holds for de and de-CH, "pt-br" for pt-BR only. Which of the languages in the link's
//                         rules a visitor likes best follows from Accept-Language; only that one holds
//   country               ISO 3166 codes of two letters
//   address               ranges such as "192.0.2.0/24" or "2001:db8::/32", or single addresses
//   query                 {"name": "ref"} is there; {"name": "ref", "equals": "mail"}; {"name": "ref", "has_value":
//   true}
//                         (or false: there, but empty)
//   date                  {"from": time, "before": time}, one or both
// A rule without "when" always holds. In a split a client stays with its target: the choice is a hash of its address
// (of IPv6 the /64) and the link, kept nowhere.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "services/links/clicks/user_agent.h"
#include "services/links/url.h"

namespace trellis::services::links {

inline constexpr size_t kMaxRules = 50;
inline constexpr size_t kMaxConditions = 20;  // of one rule
inline constexpr size_t kMaxChoices = 100;    // of one condition
inline constexpr size_t kMaxSplit = 16;
inline constexpr int64_t kMaxWeight = 10'000;
inline constexpr size_t kMaxRulesText = 256 << 10;
inline constexpr size_t kMaxQueryText = 256;  // of a name or value in a condition

// What is known of a click. Views live as long as the call.
struct Visit {
  UserAgent agent;
  std::string_view accept_language;
  std::string_view country;  // two capital letters; "": unknown
  std::string_view address;  // numeric, without brackets
  std::string_view query;    // of the request, still encoded, without the question mark
  int64_t now = 0;           // milliseconds since 1970
  uint64_t link = 0;         // the link's id
};

struct RuleProblem {
  std::string path;  // "[0].when[2].country[1]"; "" for the whole text
  std::string detail;
};

struct RuleTarget {
  std::string url;
  uint32_t weight = 1;
};

struct AddressRange {
  std::array<uint8_t, 16> bytes{};  // IPv4 in the first four
  uint8_t bits = 0;
  bool v6 = false;
};
// "192.0.2.0/24", "2001:db8::1"; nullopt also when bits are set behind its length.
std::optional<AddressRange> read_range(std::string_view text) noexcept;

struct DeviceIs {
  uint32_t set = 0;  // one bit a Device, as in the next two
};
struct OsIs {
  uint32_t set = 0;
};
struct BrowserIs {
  uint32_t set = 0;
};
struct LanguageIs {
  std::vector<std::string> tags;  // lower case
};
struct CountryIs {
  std::vector<std::array<char, 2>> codes;
};
struct AddressIn {
  std::vector<AddressRange> ranges;
};
struct QueryHas {
  enum class Want : uint8_t { present, equals, value, no_value };
  std::string name;
  Want want = Want::present;
  std::string equals;
};
struct DateIn {
  std::optional<int64_t> from;
  std::optional<int64_t> before;
};
using Condition = std::variant<DeviceIs, OsIs, BrowserIs, LanguageIs, CountryIs, AddressIn, QueryHas, DateIn>;

struct Rule {
  std::vector<Condition> when;
  std::vector<RuleTarget> targets;  // one, or the parts of a split
  uint64_t weight = 1;              // of all targets
};

// The schema of one rule, for the API's description.
std::string rule_schema();

class Rules {
 public:
  struct Match {
    size_t rule;
    size_t target;         // of a split, from 1; 0: the rule has one
    std::string_view url;  // lives as long as the rules
  };

  // All problems that there are, at most 100. `own`: where the service answers; a target there is refused.
  static std::expected<Rules, std::vector<RuleProblem>> read(std::string_view json, const OwnHosts& own);

  // nullopt: no rule holds, the link's own URL it is.
  std::optional<Match> find(const Visit& visit) const noexcept;

  // Reads back to the same rules.
  void append_json(std::string& out) const;

  std::vector<std::string_view> urls() const;  // of all targets; live as long as the rules

  size_t size() const noexcept { return rules_.size(); }
  bool empty() const noexcept { return rules_.empty(); }
  size_t memory() const noexcept { return sizeof(Rules) + memory_; }  // about
  // Whether finding needs Visit::country, so that no database is asked in vain.
  bool need_country() const noexcept { return need_country_; }

 private:
  class Reader;

  std::string_view language_of(std::string_view accept_language) const noexcept;

  std::vector<Rule> rules_;
  std::vector<std::string> languages_;  // of all conditions
  bool need_country_ = false;
  size_t memory_ = 0;
};

}  // namespace trellis::services::links
