// Reading and writing of rules; finding is in rules.cc.
#include <arpa/inet.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/json.h"
#include "config/problems.h"
#include "services/links/json_object.h"
#include "services/links/link_json.h"
#include "services/links/rules/rules.h"
#include "services/links/url.h"

namespace trellis::services::links {

namespace {

using Json = nlohmann::json;

constexpr size_t kMaxProblems = 100;

void append_address(std::string& out, const AddressRange& range) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(range.v6 ? AF_INET6 : AF_INET, range.bytes.data(), text.data(), text.size());
  out += text.data();
  out += "/" + std::to_string(range.bits);
}

template <class Enum>
void write_set(JsonWriter& json, std::string_view name, uint32_t set) {
  json.key(name).begin_array();
  for (unsigned i = 0; i < 32; ++i)
    if ((set >> i) & 1) json.value(to_string(static_cast<Enum>(i)));
  json.end_array();
}

struct ConditionWriter {
  JsonWriter& json;

  void operator()(const DeviceIs& is) { write_set<Device>(json, "device", is.set); }
  void operator()(const OsIs& is) { write_set<Os>(json, "os", is.set); }
  void operator()(const BrowserIs& is) { write_set<Browser>(json, "browser", is.set); }
  void operator()(const LanguageIs& is) {
    json.key("language").begin_array();
    for (const std::string& tag : is.tags) json.value(tag);
    json.end_array();
  }
  void operator()(const CountryIs& is) {
    json.key("country").begin_array();
    for (const auto& code : is.codes) json.value(std::string_view(code.data(), code.size()));
    json.end_array();
  }
  void operator()(const AddressIn& in) {
    json.key("address").begin_array();
    for (const AddressRange& range : in.ranges) {
      std::string text;
      append_address(text, range);
      json.value(text);
    }
    json.end_array();
  }
  void operator()(const QueryHas& has) {
    json.key("query").begin_object().member("name", has.name);
    if (has.want == QueryHas::Want::equals) json.member("equals", has.equals);
    if (has.want == QueryHas::Want::value) json.member("has_value", true);
    if (has.want == QueryHas::Want::no_value) json.member("has_value", false);
    json.end_object();
  }
  void operator()(const DateIn& in) {
    json.key("date").begin_object();
    if (in.from) json.member("from", format_time(*in.from));
    if (in.before) json.member("before", format_time(*in.before));
    json.end_object();
  }
};

std::string said(const JsonTrouble& trouble) {
  switch (trouble.kind) {
    case JsonTrouble::Kind::invalid: return "The rules are not valid JSON: " + trouble.why + ".";
    case JsonTrouble::Kind::deep: return "The rules are nested too deeply.";
    case JsonTrouble::Kind::twice: break;
  }
  return "The member \"" + trouble.member.substr(0, 64) + "\" is there twice.";
}

std::string at(const std::string& path, size_t index) { return path + "[" + std::to_string(index) + "]"; }

std::string lowered(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  return text;
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// "de", "pt-BR", "zh-Hant-TW": parts of 1 to 8 letters or digits, the first of letters.
bool is_language(std::string_view text) noexcept {
  size_t part = 0;
  bool first = true;
  for (const char c : text) {
    if (c == '-') {
      if (part == 0) return false;
      part = 0;
      first = false;
    } else if (!(is_letter(c) || (!first && c >= '0' && c <= '9')) || ++part > 8) {
      return false;
    }
  }
  return part > 0 && text.size() <= 35;
}

}  // namespace

class Rules::Reader {
 public:
  explicit Reader(const OwnHosts& own) : own_(own) {}

  std::vector<RuleProblem> problems;
  Rules rules;

  void read(const Json& json) {
    if (!json.is_array()) return wrong("", "The rules must be a list.");
    if (json.size() > kMaxRules) return wrong("", "There are more than " + std::to_string(kMaxRules) + " rules.");
    for (size_t i = 0; i < json.size(); ++i) read_rule(at("", i), json[i]);
  }

 private:
  void wrong(const std::string& path, std::string detail) {
    if (problems.size() < kMaxProblems) problems.push_back({path, std::move(detail)});
  }

  // False when it is no object; other members than these are problems.
  bool check_members(const std::string& path, const Json& json, std::span<const std::string_view> members) {
    if (!json.is_object()) {
      wrong(path, "It must be an object.");
      return false;
    }
    for (const auto& [name, value] : json.items()) {
      if (std::find(members.begin(), members.end(), name) != members.end()) continue;
      const std::string shown = name.substr(0, 64);
      wrong(path, "There is no member \"" + shown + "\"; " + config::suggest(shown, members));
    }
    return true;
  }

  void read_rule(const std::string& path, const Json& json) {
    static constexpr std::string_view kMembers[] = {"when", "url", "split"};
    if (!check_members(path, json, kMembers)) return;
    Rule rule;
    if (json.contains("when")) {
      const Json& when = json["when"];
      if (!when.is_array() || when.size() > kMaxConditions) {
        wrong(path + ".when", "It must be a list of at most " + std::to_string(kMaxConditions) + " conditions.");
      } else {
        for (size_t i = 0; i < when.size(); ++i) read_condition(at(path + ".when", i), when[i], rule);
      }
    }
    if (json.contains("url") == json.contains("split")) {
      wrong(path, "A rule has a \"url\" or a \"split\", one of them.");
    } else if (json.contains("url")) {
      rule.targets.push_back({read_url(path + ".url", json["url"]), 1});
    } else {
      read_split(path + ".split", json["split"], rule);
    }
    rules.rules_.push_back(std::move(rule));
  }

  std::string read_url(const std::string& path, const Json& json) {
    if (!json.is_string()) {
      wrong(path, "The URL must be a string.");
      return {};
    }
    const auto& url = json.get_ref<const std::string&>();
    const auto host = check_url(url);
    if (!host) {
      wrong(path, host.error().what());
    } else if (own_.has(*host)) {
      wrong(path, "The URL leads to this service itself; such a link could run in a circle.");
    }
    return url;
  }

  void read_split(const std::string& path, const Json& json, Rule& rule) {
    if (!json.is_array() || json.size() < 2 || json.size() > kMaxSplit)
      return wrong(path, "It must be a list of 2 to " + std::to_string(kMaxSplit) + " targets.");
    rule.weight = 0;
    for (size_t i = 0; i < json.size(); ++i) {
      static constexpr std::string_view kMembers[] = {"url", "weight"};
      const std::string here = at(path, i);
      if (!check_members(here, json[i], kMembers)) continue;
      if (!json[i].contains("url") || !json[i].contains("weight")) {
        wrong(here, "A target has a \"url\" and a \"weight\".");
        continue;
      }
      const Json& weight = json[i]["weight"];
      RuleTarget target{read_url(here + ".url", json[i]["url"]), 1};
      if (!weight.is_number_integer() || weight.get<int64_t>() < 1 || weight.get<int64_t>() > kMaxWeight) {
        wrong(here + ".weight", "The weight must be a whole number from 1 to " + std::to_string(kMaxWeight) + ".");
      } else {
        target.weight = static_cast<uint32_t>(weight.get<int64_t>());
      }
      rule.weight += target.weight;
      rule.targets.push_back(std::move(target));
    }
  }

  void read_condition(const std::string& path, const Json& json, Rule& rule) {
    static constexpr std::string_view kKinds[] = {"device",  "os",      "browser", "language",
                                                  "country", "address", "query",   "date"};
    if (!check_members(path, json, kKinds)) return;
    if (json.size() != 1) return wrong(path, "A condition has one member; write several conditions instead.");
    const std::string& kind = json.begin().key();
    const Json& value = json.begin().value();
    const std::string here = path + "." + kind;
    if (kind == "device") rule.when.emplace_back(DeviceIs{read_set(here, value, "device", device_names())});
    if (kind == "os") rule.when.emplace_back(OsIs{read_set(here, value, "system", os_names())});
    if (kind == "browser") rule.when.emplace_back(BrowserIs{read_set(here, value, "browser", browser_names())});
    if (kind == "language") rule.when.emplace_back(read_languages(here, value));
    if (kind == "country") rule.when.emplace_back(read_countries(here, value));
    if (kind == "address") rule.when.emplace_back(read_ranges(here, value));
    if (kind == "query") rule.when.emplace_back(read_query(here, value));
    if (kind == "date") rule.when.emplace_back(read_date(here, value));
  }

  // Calls `take` with the path and text of each element; it gives what is wrong with it, or "".
  template <class Take>
  void read_list(const std::string& path, const Json& json, Take take) {
    if (!json.is_array() || json.empty() || json.size() > kMaxChoices)
      return wrong(path, "It must be a list of 1 to " + std::to_string(kMaxChoices) + " texts.");
    for (size_t i = 0; i < json.size(); ++i) {
      std::string detail = "It must be a string.";
      if (json[i].is_string()) detail = take(json[i].template get_ref<const std::string&>());
      if (!detail.empty()) wrong(at(path, i), std::move(detail));
    }
  }

  uint32_t read_set(const std::string& path, const Json& json, const char* what,
                    std::span<const std::string_view> names) {
    uint32_t set = 0;
    read_list(path, json, [&](const std::string& name) -> std::string {
      const auto found = std::ranges::find(names, name);
      if (found == names.end()) {
        const std::string shown = name.substr(0, 64);
        return std::string("There is no ") + what + " \"" + shown + "\"; " + config::suggest(shown, names);
      }
      set |= 1u << (found - names.begin());
      return {};
    });
    return set;
  }

  LanguageIs read_languages(const std::string& path, const Json& json) {
    LanguageIs is;
    read_list(path, json, [&](const std::string& tag) -> std::string {
      if (!is_language(tag)) return "It must be a language tag such as de or pt-BR.";
      is.tags.push_back(lowered(tag));
      return {};
    });
    for (const std::string& tag : is.tags)
      if (std::find(rules.languages_.begin(), rules.languages_.end(), tag) == rules.languages_.end())
        rules.languages_.push_back(tag);
    return is;
  }

  CountryIs read_countries(const std::string& path, const Json& json) {
    CountryIs is;
    rules.need_country_ = true;
    read_list(path, json, [&](const std::string& code) -> std::string {
      const auto capital = [](char c) { return c >= 'A' && c <= 'Z'; };
      if (code.size() != 2 || !capital(code[0]) || !capital(code[1]))
        return "It must be a country's code of two capital letters, such as DE.";
      is.codes.push_back({code[0], code[1]});
      return {};
    });
    return is;
  }

  AddressIn read_ranges(const std::string& path, const Json& json) {
    AddressIn in;
    read_list(path, json, [&](const std::string& text) -> std::string {
      const auto range = read_range(text);
      if (!range) return "It must be a range such as 192.0.2.0/24 or 2001:db8::/32, without bits behind its length.";
      in.ranges.push_back(*range);
      return {};
    });
    return in;
  }

  QueryHas read_query(const std::string& path, const Json& json) {
    static constexpr std::string_view kMembers[] = {"name", "equals", "has_value"};
    QueryHas has;
    if (!check_members(path, json, kMembers)) return has;
    const auto text = [&](const char* member) -> std::string {
      if (json[member].is_string() && json[member].get_ref<const std::string&>().size() <= kMaxQueryText)
        return json[member].get<std::string>();
      wrong(path + "." + member, "It must be a string of at most " + std::to_string(kMaxQueryText) + " bytes.");
      return {};
    };
    if (json.contains("name")) {
      has.name = text("name");
      if (json["name"] == "") wrong(path + ".name", "The name is empty.");
    } else {
      wrong(path, "The \"name\" of the parameter is missing.");
    }
    if (json.contains("equals") && json.contains("has_value"))
      wrong(path, "Only one of \"equals\" and \"has_value\" may be there.");
    if (json.contains("equals")) {
      has.want = QueryHas::Want::equals;
      has.equals = text("equals");
    } else if (json.contains("has_value")) {
      if (!json["has_value"].is_boolean()) {
        wrong(path + ".has_value", "It must be true or false.");
      } else {
        has.want = json["has_value"].get<bool>() ? QueryHas::Want::value : QueryHas::Want::no_value;
      }
    }
    return has;
  }

  DateIn read_date(const std::string& path, const Json& json) {
    static constexpr std::string_view kMembers[] = {"from", "before"};
    DateIn in;
    if (!check_members(path, json, kMembers)) return in;
    const auto time = [&](const char* member) -> std::optional<int64_t> {
      if (!json.contains(member)) return std::nullopt;
      std::optional<int64_t> read;
      if (json[member].is_string()) read = parse_time(json[member].get_ref<const std::string&>());
      if (!read) wrong(path + "." + member, "The time must be written as in 2030-01-31T12:00:00Z.");
      return read;
    };
    in.from = time("from");
    in.before = time("before");
    if (!json.contains("from") && !json.contains("before")) wrong(path, "A date has \"from\", \"before\" or both.");
    if (in.from && in.before && *in.from >= *in.before) wrong(path, "It ends before it begins.");
    return in;
  }

  const OwnHosts& own_;
};

std::string rule_schema() {
  const auto list = [](const Json& items) {
    return Json{{"type", "array"}, {"minItems", 1}, {"maxItems", kMaxChoices}, {"items", items}};
  };
  const auto named = [&list](std::span<const std::string_view> names) {
    return list({{"type", "string"}, {"enum", std::vector<std::string>(names.begin(), names.end())}});
  };
  const auto text = [](const char* description) { return Json{{"type", "string"}, {"description", description}}; };
  const auto closed = [](const Json& members) {
    return Json{{"type", "object"}, {"additionalProperties", false}, {"properties", members}};
  };
  const Json query = {{"name", {{"type", "string"}, {"maxLength", kMaxQueryText}}},
                      {"equals", {{"type", "string"}, {"maxLength", kMaxQueryText}}},
                      {"has_value", {{"type", "boolean"}}}};
  const Json time = {{"type", "string"}, {"format", "date-time"}};
  Json condition = closed({{"device", named(device_names())},
                           {"os", named(os_names())},
                           {"browser", named(browser_names())},
                           {"language", list(text("A tag such as de or pt-BR; the one that is liked best holds."))},
                           {"country", list(text("ISO 3166, two capital letters."))},
                           {"address", list(text("A range such as 192.0.2.0/24."))},
                           {"query", closed(query)},
                           {"date", closed({{"from", time}, {"before", time}})}});
  condition["minProperties"] = condition["maxProperties"] = 1;
  const Json url = {{"type", "string"}, {"maxLength", kMaxUrl}};
  Json target = closed({{"url", url}, {"weight", {{"type", "integer"}, {"minimum", 1}, {"maximum", kMaxWeight}}}});
  target["required"] = {"url", "weight"};
  const Json split = {{"type", "array"}, {"minItems", 2}, {"maxItems", kMaxSplit}, {"items", target}};
  const Json when = {{"type", "array"}, {"maxItems", kMaxConditions}, {"items", condition}};
  Json rule = closed({{"when", when}, {"url", url}, {"split", split}});
  rule["description"] =
      "Holds when all its conditions do, and leads to its url or, by weight, to a target of its split.";
  rule["oneOf"] = {{{"required", {"url"}}}, {{"required", {"split"}}}};
  return rule.dump();
}

std::expected<Rules, std::vector<RuleProblem>> Rules::read(std::string_view text, const OwnHosts& own) {
  if (text.size() > kMaxRulesText)
    return std::unexpected(std::vector<RuleProblem>{{"", "The rules are longer than 256 KiB."}});
  const auto json = parse_strictly(text);
  if (!json) return std::unexpected(std::vector<RuleProblem>{{"", said(json.error())}});
  Reader reader(own);
  reader.read(*json);
  if (!reader.problems.empty()) return std::unexpected(std::move(reader.problems));
  reader.rules.memory_ = 4 * text.size();
  return std::move(reader.rules);
}

void Rules::append_json(std::string& out) const {
  JsonWriter json(out);
  json.begin_array();
  for (const Rule& rule : rules_) {
    json.begin_object();
    if (!rule.when.empty()) {
      json.key("when").begin_array();
      for (const Condition& condition : rule.when) {
        json.begin_object();
        std::visit(ConditionWriter{json}, condition);
        json.end_object();
      }
      json.end_array();
    }
    if (rule.targets.size() == 1) {
      json.member("url", rule.targets[0].url);
    } else {
      json.key("split").begin_array();
      for (const RuleTarget& target : rule.targets)
        json.begin_object().member("url", target.url).member("weight", target.weight).end_object();
      json.end_array();
    }
    json.end_object();
  }
  json.end_array();
}

}  // namespace trellis::services::links
