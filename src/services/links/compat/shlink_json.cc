#include "services/links/compat/shlink_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/json.h"
#include "services/links/domains/domains.h"
#include "services/links/json_object.h"
#include "services/links/rules/rules.h"

namespace trellis::services::links {

namespace {

using Json = nlohmann::json;

constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kNames = {{{"url", "longUrl"},
                                                                                  {"alias", "customSlug"},
                                                                                  {"title", "title"},
                                                                                  {"not_before", "validSince"},
                                                                                  {"expires_at", "validUntil"},
                                                                                  {"max_visits", "maxVisits"},
                                                                                  {"forward_query", "forwardQuery"},
                                                                                  {"tags", "tags"}}};

std::unexpected<Fault> fault(std::string field, std::string detail) {
  return std::unexpected(Fault{std::move(field), std::move(detail)});
}

std::expected<Json, Fault> read_body(std::string_view body) {
  auto json = parse_strictly(body);
  if (!json && json.error().kind == JsonTrouble::Kind::twice)
    return fault(json.error().inside.empty() ? json.error().member : json.error().inside,
                 "The member " + json.error().member.substr(0, 64) + " is there twice.");
  if (!json && json.error().kind == JsonTrouble::Kind::deep) return fault("", "The body is nested too deeply.");
  if (!json || !json->is_object()) return fault("", "The body must be a JSON object.");
  return *std::move(json);
}

std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// The members that both know, under our names.
Json ours_of(const Json& body) {
  Json out = Json::object();
  for (const auto& [ours, shlink] : kNames) {
    if (const auto found = body.find(shlink); found != body.end()) out[std::string(ours)] = *found;
  }
  return out;
}

// --- Rules ---

constexpr std::array<std::string_view, 5> kSystems = {"android", "ios", "windows", "macos", "linux"};

// 192.168.*.* as a range; whatever else stays as it is.
std::string range_of_wildcard(const std::string& text) {
  std::string out = text;
  int parts = 4;
  while (parts > 0 && out.ends_with('*')) {
    out.pop_back();
    if (--parts > 0 && out.ends_with('.')) out.pop_back();
  }
  if (parts == 4) return text;
  for (int part = parts; part < 4; ++part) out += part == 0 ? "0" : ".0";
  return out + "/" + std::to_string(8 * parts);
}

// One condition of Shlink's as one of ours; null when it has none.
Json condition_of(std::string_view type, const std::string& key, const std::string& value) {
  if (type == "device") {
    if (std::find(kSystems.begin(), kSystems.end(), value) != kSystems.end() || value == "chromeos")
      return {{"os", {value}}};
    if (value == "mobile") return {{"device", {"phone", "tablet"}}};
    if (value == "desktop") return {{"device", {"desktop"}}};
    return nullptr;
  }
  if (type == "language") return {{"language", {value}}};
  if (type == "query-param") return {{"query", {{"name", key}, {"equals", value}}}};
  if (type == "any-value-query-param") return {{"query", {{"name", key}}}};
  if (type == "valueless-query-param") return {{"query", {{"name", key}, {"has_value", false}}}};
  if (type == "ip-address") return {{"address", {range_of_wildcard(value)}}};
  if (type == "geolocation-country-code") return {{"country", {value}}};
  if (type == "before-date") return {{"date", {{"before", value}}}};
  if (type == "after-date") return {{"date", {{"from", value}}}};
  return nullptr;
}

struct ShlinkCondition {
  std::string_view type;
  std::optional<std::string> key;
  std::string value;
};

std::optional<std::string> only(const Json& list) {
  if (!list.is_array() || list.size() != 1 || !list[0].is_string()) return std::nullopt;
  return list[0].get<std::string>();
}

// The other way round; nullopt when Shlink cannot say it.
std::optional<ShlinkCondition> shlink_condition_of(const Json& condition) {
  if (!condition.is_object() || condition.size() != 1) return std::nullopt;
  const std::string& kind = condition.begin().key();
  const Json& what = condition.begin().value();
  if (kind == "device" && what == Json({"phone", "tablet"})) return ShlinkCondition{"device", std::nullopt, "mobile"};
  if (kind == "query" && what.is_object()) {
    const std::string name = what.value("name", "");
    if (const auto equals = what.find("equals"); equals != what.end() && equals->is_string())
      return ShlinkCondition{"query-param", name, equals->get<std::string>()};
    const auto value = what.find("has_value");
    if (value == what.end()) return ShlinkCondition{"any-value-query-param", name, ""};
    if (*value == false) return ShlinkCondition{"valueless-query-param", name, ""};
    return std::nullopt;
  }
  if (kind == "date" && what.is_object() && what.size() == 1) {
    const bool before = what.contains("before");
    const Json& time = what.begin().value();
    const auto at = time.is_string() ? parse_time(time.get_ref<const std::string&>()) : std::nullopt;
    if (!at) return std::nullopt;
    return ShlinkCondition{before ? "before-date" : "after-date", std::nullopt, shlink_time(*at)};
  }
  const std::optional<std::string> one = only(what);
  if (!one) return std::nullopt;
  if (kind == "device" && *one == "desktop") return ShlinkCondition{"device", std::nullopt, *one};
  if (kind == "os" && (*one == "chromeos" || std::find(kSystems.begin(), kSystems.end(), *one) != kSystems.end()))
    return ShlinkCondition{"device", std::nullopt, *one};
  if (kind == "language") return ShlinkCondition{"language", std::nullopt, *one};
  if (kind == "address") return ShlinkCondition{"ip-address", std::nullopt, *one};
  if (kind == "country") return ShlinkCondition{"geolocation-country-code", std::nullopt, *one};
  return std::nullopt;
}

std::string string_of(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

std::string shlink_time(int64_t millis) { return format_time(millis).substr(0, 19) + "+00:00"; }

void append_shlink_link(std::string& out, const Link& link, const DomainTable& domains) {
  const LinkName name = split_name(link.code);
  JsonWriter json(out);
  json.begin_object().member("shortUrl", domains.short_url(link.code)).member("shortCode", name.code);
  json.member("longUrl", link.url).member("dateCreated", shlink_time(link.created_at));
  json.key("tags").begin_array();
  for (const std::string& tag : link.tags) json.value(tag);
  json.end_array();
  const auto time_or_null = [&json](const char* member, const std::optional<int64_t>& time) {
    json.key(member);
    if (time) {
      json.value(shlink_time(*time));
    } else {
      json.null();
    }
  };
  json.key("meta").begin_object();
  time_or_null("validSince", link.not_before);
  time_or_null("validUntil", link.expires_at);
  json.key("maxVisits");
  if (link.max_visits) {
    json.value(*link.max_visits);
  } else {
    json.null();
  }
  json.end_object().key("domain");
  if (name.host.empty()) {
    json.null();
  } else {
    json.value(name.host);
  }
  json.key("title");
  if (link.title.empty()) {
    json.null();
  } else {
    json.value(link.title);
  }
  json.member("crawlable", false).member("forwardQuery", link.forward_query);
  json.key("visitsSummary")
      .begin_object()
      .member("total", link.clicks)
      .member("nonBots", link.clicks)
      .member("bots", 0);
  json.end_object().member("hasRedirectRules", !link.rules.empty()).end_object();
}

std::string_view shlink_name(std::string_view ours) noexcept {
  for (const auto& [name, shlink] : kNames) {
    if (name == ours) return shlink;
  }
  return ours;
}

std::expected<ShlinkNew, Fault> read_shlink_new(std::string_view body) {
  auto json = read_body(body);
  if (!json) return std::unexpected(std::move(json).error());
  Json ours = ours_of(*json);
  // There the visitor's query goes on unless one says otherwise.
  if (!ours.contains("forward_query") || ours["forward_query"].is_null()) ours["forward_query"] = true;
  ShlinkNew out;
  out.ours = text_of(ours);
  const auto find = json->find("findIfExists");
  out.find_if_exists = find != json->end() && *find == true;
  out.domain = string_of(*json, "domain");
  return out;
}

std::expected<std::string, Fault> read_shlink_patch(std::string_view body) {
  auto json = read_body(body);
  if (!json) return std::unexpected(std::move(json).error());
  Json ours = ours_of(*json);
  ours.erase("alias");
  return text_of(ours);
}

std::expected<std::string, Fault> read_shlink_rules(std::string_view body) {
  auto json = read_body(body);
  if (!json) return std::unexpected(std::move(json).error());
  const auto rules = json->find("redirectRules");
  if (rules == json->end() || !rules->is_array()) return fault("redirectRules", "The rules must be a list.");
  if (rules->size() > kMaxRules) return fault("redirectRules", "There are too many rules.");
  Json out = Json::array();
  for (const Json& rule : *rules) {
    if (!rule.is_object()) return fault("redirectRules", "A rule must be an object.");
    const std::string url = string_of(rule, "longUrl");
    const auto conditions = rule.find("conditions");
    if (url.empty()) return fault("longUrl", "A rule must have a URL.");
    if (conditions == rule.end() || !conditions->is_array() || conditions->empty())
      return fault("conditions", "A rule must have conditions.");
    if (conditions->size() > kMaxConditions) return fault("conditions", "A rule has too many conditions.");
    Json when = Json::array();
    for (const Json& condition : *conditions) {
      if (!condition.is_object()) return fault("conditions", "A condition must be an object.");
      Json ours = condition_of(string_of(condition, "type"), string_of(condition, "matchKey"),
                               string_of(condition, "matchValue"));
      if (ours.is_null()) return fault("conditions", "A condition is of a type or value that is not known here.");
      when.push_back(std::move(ours));
    }
    out.push_back({{"when", std::move(when)}, {"url", url}});
  }
  return out.empty() ? std::string() : text_of(out);
}

bool append_shlink_rules(std::string& out, std::string_view ours) {
  JsonWriter json(out);
  json.begin_array();
  bool all = true;
  const Json rules = ours.empty() ? Json::array() : Json::parse(ours, nullptr, false);
  int priority = 0;
  for (const Json& rule : rules) {
    ++priority;
    const std::string url = rule.is_object() ? string_of(rule, "url") : std::string();
    std::vector<ShlinkCondition> conditions;
    bool expressible = !url.empty() && rule.contains("when") && rule["when"].is_array() && !rule["when"].empty();
    for (size_t i = 0; expressible && i < rule["when"].size(); ++i) {
      std::optional<ShlinkCondition> condition = shlink_condition_of(rule["when"][i]);
      expressible = condition.has_value();
      if (condition) conditions.push_back(*std::move(condition));
    }
    if (!expressible) {
      all = false;
      continue;
    }
    json.begin_object().member("longUrl", url).member("priority", priority).key("conditions").begin_array();
    for (const ShlinkCondition& condition : conditions) {
      json.begin_object().member("type", condition.type).key("matchKey");
      if (condition.key) {
        json.value(*condition.key);
      } else {
        json.null();
      }
      json.member("matchValue", condition.value).end_object();
    }
    json.end_array().end_object();
  }
  json.end_array();
  return all;
}

}  // namespace trellis::services::links
