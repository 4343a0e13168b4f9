#include "services/links/link_json.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/ids.h"
#include "base/json.h"
#include "base/log.h"
#include "services/links/access/passwords.h"
#include "services/links/domains/domains.h"
#include "services/links/json_object.h"
#include "services/links/resource.h"
#include "services/links/rules/rules.h"

namespace trellis::services::links {

namespace {

using Json = nlohmann::json;

constexpr uint64_t kCursorMask = 0x9E3779B97F4A7C15;  // so that nobody takes a cursor for an id and counts with it
constexpr int64_t kLatestTime = 9'000'000'000'000;    // milliseconds; a WallTime counts nanoseconds and ends in 2262

std::unexpected<Fault> fault(std::string field, std::string detail) {
  return std::unexpected(Fault{std::move(field), std::move(detail)});
}

std::expected<std::string, Fault> read_url(const Json& value, const OwnHosts& own) {
  if (!value.is_string()) return fault("url", "The URL must be a string.");
  const auto& url = value.get_ref<const std::string&>();
  Result<UrlHost> host = check_url(url);
  if (!host) return fault("url", host.error().what());
  if (own.has(*host)) return fault("url", "The URL leads to this service itself; such a link could run in a circle.");
  return url;
}

std::expected<std::string, Fault> read_title(const Json& value) {
  if (value.is_null()) return std::string();
  if (!value.is_string()) return fault("title", "The title must be a string.");
  const auto& title = value.get_ref<const std::string&>();
  if (title.size() > kMaxTitle) return fault("title", "The title is longer than 512 bytes.");
  const bool plain =
      std::all_of(title.begin(), title.end(), [](char c) { return static_cast<uint8_t>(c) >= 0x20 && c != 0x7f; });
  if (!plain) return fault("title", "The title has control characters.");
  return title;
}

std::expected<int, Fault> read_status(const Json& value) {
  const bool allowed = value.is_number_integer() && is_redirect_status(value.get<int64_t>());
  if (!allowed) return fault("status", "The status must be 301, 302, 307 or 308.");
  return static_cast<int>(value.get<int64_t>());
}

std::expected<std::optional<int64_t>, Fault> read_when(const char* member, const Json& value) {
  if (value.is_null()) return std::optional<int64_t>();
  std::optional<int64_t> time;
  if (value.is_string()) time = parse_time(value.get_ref<const std::string&>());
  if (!time) return fault(member, "The time must be written as in 2030-01-31T12:00:00Z and lie before 2255.");
  return time;
}

std::expected<std::optional<int64_t>, Fault> read_expiry(const Json& value, int64_t now) {
  auto time = read_when("expires_at", value);
  if (time && *time && **time <= now) return fault("expires_at", "The time must be in the future.");
  return time;
}

std::expected<std::optional<int64_t>, Fault> read_max_visits(const Json& value) {
  if (value.is_null()) return std::optional<int64_t>();
  const bool allowed = value.is_number_unsigned() && value.get<uint64_t>() >= 1 &&
                       value.get<uint64_t>() <= static_cast<uint64_t>(kMostVisits);
  if (!allowed) return fault("max_visits", "The number of visits is from 1 to 1,000,000,000.");
  return static_cast<int64_t>(value.get<uint64_t>());
}

std::expected<std::vector<std::string>, Fault> read_tags(const Json& value) {
  if (value.is_null()) return std::vector<std::string>();
  if (!value.is_array()) return fault("tags", "The tags must be a list of strings.");
  if (value.size() > kMaxTags) return fault("tags", "A link has 20 tags at most.");
  std::vector<std::string> tags;
  for (const Json& each : value) {
    if (!each.is_string() || !is_tag(each.get_ref<const std::string&>()))
      return fault("tags", "A tag is 1 to 64 bytes without commas, control characters and blanks at its ends.");
    const auto& tag = each.get_ref<const std::string&>();
    if (std::find(tags.begin(), tags.end(), tag) != tags.end()) return fault("tags", "A tag is there twice.");
    tags.push_back(tag);
  }
  return tags;
}

// In the form in which rules are kept; an empty list is none.
std::expected<std::string, Fault> read_rules(const Json& value, const OwnHosts& own) {
  if (value.is_null()) return std::string();
  const auto rules = Rules::read(value.dump(-1, ' ', false, Json::error_handler_t::replace), own);
  if (!rules) return fault("rules" + rules.error().front().path, rules.error().front().detail);
  std::string text;
  if (!rules->empty()) rules->append_json(text);
  return text;
}

std::expected<std::string, Fault> read_password(const Json& value) {
  if (value.is_null()) return std::string();
  const bool allowed = value.is_string() && !value.get_ref<const std::string&>().empty() &&
                       value.get_ref<const std::string&>().size() <= kMaxPassword;
  if (!allowed) return fault("password", "A password is 1 to 128 bytes; null is none.");
  return value.get<std::string>();
}

// Takes the member, if it is there, into `out`; false: `fault_of` says what is wrong with it.
template <class T, class Read>
bool take(const Json& json, const char* member, std::optional<T>& out, std::optional<Fault>& fault_of, Read read) {
  const auto at = json.find(member);
  if (fault_of || at == json.end()) return !fault_of;
  auto value = read(*at);
  if (value) {
    out = *std::move(value);
  } else {
    fault_of = std::move(value).error();
  }
  return !fault_of;
}

std::expected<LinkPatch, Fault> read_settings(const Json& json, const OwnHosts& own, int64_t now) {
  LinkPatch out;
  std::optional<Fault> wrong;
  take(json, "url", out.url, wrong, [&](const Json& value) { return read_url(value, own); });
  take(json, "title", out.title, wrong, read_title);
  take(json, "status", out.status, wrong, read_status);
  take(json, "not_before", out.not_before, wrong, [](const Json& value) { return read_when("not_before", value); });
  take(json, "expires_at", out.expires_at, wrong, [&](const Json& value) { return read_expiry(value, now); });
  take(json, "max_visits", out.max_visits, wrong, read_max_visits);
  take(json, "forward_query", out.forward_query, wrong, [](const Json& value) -> std::expected<bool, Fault> {
    if (!value.is_boolean()) return fault("forward_query", "Forwarding the query is true or false.");
    return value.get<bool>();
  });
  take(json, "tags", out.tags, wrong, read_tags);
  take(json, "rules", out.rules, wrong, [&](const Json& value) { return read_rules(value, own); });
  take(json, "password", out.password, wrong, read_password);
  if (wrong) return std::unexpected(*std::move(wrong));
  if (out.not_before && *out.not_before && out.expires_at && *out.expires_at && **out.not_before >= **out.expires_at)
    return fault("not_before", "The link would end before it begins.");
  return out;
}

std::optional<int> digits(std::string_view text, size_t at, size_t count) noexcept {
  if (text.size() < at + count) return std::nullopt;
  int value = 0;
  for (size_t i = at; i < at + count; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

}  // namespace

bool is_redirect_status(int64_t status) noexcept {
  return status == 301 || status == 302 || status == 307 || status == 308;
}

bool is_tag(std::string_view text) noexcept {
  if (text.empty() || text.size() > kMaxTag || text.front() == ' ' || text.back() == ' ') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<uint8_t>(c) >= 0x20 && c != 0x7f && c != ','; });
}

void LinkPatch::apply_to(Link& link) const {
  if (url) link.url = *url;
  if (title) link.title = *title;
  if (status) link.status = *status;
  if (not_before) link.not_before = *not_before;
  if (expires_at) link.expires_at = *expires_at;
  if (max_visits) link.max_visits = *max_visits;
  if (forward_query) link.forward_query = *forward_query;
  if (tags) link.tags = *tags;
  if (rules) link.rules = *rules;
}

std::expected<NewLink, Fault> read_new_link(std::string_view body, const OwnHosts& own, int64_t now) {
  static constexpr std::array<std::string_view, 13> kMembers = {
      "url",        "domain",        "alias", "title", "status",   "not_before",   "expires_at",
      "max_visits", "forward_query", "tags",  "rules", "password", "find_existing"};
  auto json = read_object(body, kMembers);
  if (!json) return std::unexpected(std::move(json).error());
  if (!json->contains("url")) return fault("url", "The URL is missing.");
  auto set = read_settings(*json, own, now);
  if (!set) return std::unexpected(std::move(set).error());
  NewLink link{.domain = {}, .alias = {}, .set = *std::move(set), .find_existing = false};
  if (const auto domain = json->find("domain"); domain != json->end() && !domain->is_null()) {
    if (!domain->is_string() || domain->get_ref<const std::string&>().empty())
      return fault("domain", "The domain is a host such as go.example.com.");
    link.domain = domain->get<std::string>();
  }
  if (const auto existing = json->find("find_existing"); existing != json->end()) {
    if (!existing->is_boolean()) return fault("find_existing", "Finding an existing link is true or false.");
    link.find_existing = existing->get<bool>();
  }
  if (const auto alias = json->find("alias"); alias != json->end() && !alias->is_null()) {
    if (!alias->is_string() || !is_code_text(alias->get_ref<const std::string&>())) {
      return fault("alias", "An alias is 1 to 128 letters, digits, - or _.");
    }
    link.alias = alias->get<std::string>();
    if (is_reserved(link.alias)) return fault("alias", "This alias is a name that the service uses itself.");
  }
  return link;
}

std::expected<LinkPatch, Fault> read_link_patch(std::string_view body, const OwnHosts& own, int64_t now) {
  static constexpr std::array<std::string_view, 10> kMembers = {
      "url", "title", "status", "not_before", "expires_at", "max_visits", "forward_query", "tags", "rules", "password"};
  auto json = read_object(body, kMembers);
  if (!json) return std::unexpected(std::move(json).error());
  return read_settings(*json, own, now);
}

std::string etag_of(const Link& link) { return etag_of(link.id, link.version); }

void append_link(std::string& out, const Link& link, const DomainTable& domains) {
  JsonWriter json(out);
  json.begin_object().member("id", link.id).member("code", split_name(link.code).code);
  json.member("domain", domains.of_link(link.code).host).member("short_url", domains.short_url(link.code));
  json.member("url", link.url).member("title", link.title);
  json.member("status", link.status).member("created_at", format_time(link.created_at));
  json.member("updated_at", format_time(link.updated_at));
  const auto when = [&json](const char* name, const std::optional<int64_t>& time) {
    json.key(name);
    if (time) {
      json.value(format_time(*time));
    } else {
      json.null();
    }
  };
  when("not_before", link.not_before);
  when("expires_at", link.expires_at);
  const auto number = [&json](const char* name, const std::optional<int64_t>& value) {
    json.key(name);
    if (value) {
      json.value(*value);
    } else {
      json.null();
    }
  };
  number("max_visits", link.max_visits);
  number("visits_left",
         link.max_visits ? std::optional(std::max<int64_t>(0, *link.max_visits - link.visits)) : std::nullopt);
  json.member("forward_query", link.forward_query).key("tags").begin_array();
  for (const std::string& tag : link.tags) json.value(tag);
  json.end_array().key("rules").raw(link.rules.empty() ? "[]" : std::string_view(link.rules));
  json.member("has_password", !link.password.empty());
  json.member("clicks", link.clicks).member("etag", etag_of(link)).end_object();
}

std::string format_time(int64_t millis) {
  std::string text(kRfc3339Size, ' ');
  write_rfc3339(text.data(), WallTime(std::chrono::milliseconds(std::clamp<int64_t>(millis, 0, kLatestTime))));
  return text;
}

std::optional<int64_t> parse_time(std::string_view text) noexcept {
  const auto year = digits(text, 0, 4);
  const auto month = digits(text, 5, 2);
  const auto day = digits(text, 8, 2);
  const auto hour = digits(text, 11, 2);
  const auto minute = digits(text, 14, 2);
  const auto second = digits(text, 17, 2);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  if (text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't') || text[13] != ':' || text[16] != ':')
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  size_t at = 19;
  int64_t fraction = 0;
  if (at < text.size() && text[at] == '.') {
    int64_t scale = 100;
    const size_t first = ++at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      fraction += (text[at] - '0') * scale;
      scale /= 10;
    }
    if (at == first || at - first > 9) return std::nullopt;
  }
  int64_t offset = 0;  // minutes
  const std::string_view zone = text.substr(at);
  if (zone != "Z" && zone != "z") {
    const auto hours = digits(zone, 1, 2);
    const auto minutes = digits(zone, 4, 2);
    if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':' || !hours || !minutes)
      return std::nullopt;
    if (*hours > 23 || *minutes > 59) return std::nullopt;
    offset = (*hours * 60 + *minutes) * (zone[0] == '-' ? -1 : 1);
  }
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const int64_t total = ((days * 24 + *hour) * 60 + *minute - offset) * 60 + *second;
  const int64_t millis = total * 1000 + fraction;
  if (millis < 0 || millis > kLatestTime) return std::nullopt;
  return millis;
}

std::string cursor_of(int64_t id) {
  std::string text(16, '0');
  write_hex64(text.data(), (static_cast<uint64_t>(id) * 0xD6E8FEB86659FD93) ^ kCursorMask);
  return text;
}

std::optional<int64_t> id_of_cursor(std::string_view cursor) noexcept {
  const std::optional<uint64_t> value = read_hex64(cursor);
  if (!value) return std::nullopt;
  // The inverse of the odd factor above modulo 2^64.
  constexpr uint64_t kInverse = [] {
    uint64_t inverse = 0xD6E8FEB86659FD93;
    for (int i = 0; i < 6; ++i) inverse *= 2 - 0xD6E8FEB86659FD93 * inverse;
    return inverse;
  }();
  const uint64_t id = (*value ^ kCursorMask) * kInverse;
  if (id > kCodeCount) return std::nullopt;
  return static_cast<int64_t>(id);
}

}  // namespace trellis::services::links
