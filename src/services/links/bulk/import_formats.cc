#include "services/links/bulk/import_formats.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/ascii.h"
#include "base/json.h"
#include "services/links/access/passwords.h"
#include "services/links/link_json.h"
#include "services/links/url.h"

namespace trellis::services::links {

namespace {

using Json = nlohmann::json;
using Field = ImportField;

struct Name {
  std::string_view text;  // as plain_name() gives it
  Field field;
};

// Names of members inside an object carry its name in front: meta.validSince is metavalidsince.
constexpr Name kTrellis[] = {
    {"code", Field::code},
    {"alias", Field::code},
    {"url", Field::url},
    {"domain", Field::domain},
    {"title", Field::title},
    {"tags", Field::tags},
    {"status", Field::status},
    {"createdat", Field::created_at},
    {"expiresat", Field::expires_at},
    {"notbefore", Field::not_before},
    {"maxvisits", Field::max_visits},
    {"visits", Field::visits},
    {"visitsleft", Field::visits_left},
    {"forwardquery", Field::forward_query},
    {"rules", Field::rules},
    {"clicks", Field::clicks},
    {"passwordhash", Field::password_hash},
    {"haspassword", Field::password},
    {"id", Field::ignored},
    {"shorturl", Field::ignored},
    {"updatedat", Field::ignored},
    {"etag", Field::ignored},
};
constexpr Name kShlink[] = {
    {"shortcode", Field::code},
    {"shorturl", Field::short_url},
    {"longurl", Field::url},
    {"domain", Field::domain},
    {"title", Field::title},
    {"tags", Field::tags},
    {"createdat", Field::created_at},
    {"datecreated", Field::created_at},
    {"validuntil", Field::expires_at},
    {"metavaliduntil", Field::expires_at},
    {"validsince", Field::not_before},
    {"metavalidsince", Field::not_before},
    {"maxvisits", Field::max_visits},
    {"metamaxvisits", Field::max_visits},
    {"visits", Field::clicks},
    {"visitscount", Field::clicks},
    {"visitssummarytotal", Field::clicks},
    {"forwardquery", Field::forward_query},
};
constexpr Name kYourls[] = {
    {"keyword", Field::code}, {"shorturl", Field::short_url},   {"url", Field::url},
    {"title", Field::title},  {"timestamp", Field::created_at}, {"clicks", Field::clicks},
};
constexpr Name kKutt[] = {
    {"address", Field::code},      {"target", Field::url},           {"domain", Field::domain},
    {"description", Field::title}, {"createdat", Field::created_at}, {"expirein", Field::expires_at},
    {"visitcount", Field::clicks}, {"banned", Field::banned},        {"password", Field::password},
};
constexpr Name kBitly[] = {
    {"link", Field::short_url},       {"bitlink", Field::short_url},
    {"id", Field::short_url},         {"longurl", Field::url},
    {"title", Field::title},          {"tags", Field::tags},
    {"createdat", Field::created_at}, {"datecreated", Field::created_at},
    {"clicks", Field::clicks},        {"totalclicks", Field::clicks},
    {"engagements", Field::clicks},   {"custombitlinks", Field::further},
};

std::span<const Name> names_of(ImportFormat format) noexcept {
  switch (format) {
    case ImportFormat::trellis: return kTrellis;
    case ImportFormat::shlink: return kShlink;
    case ImportFormat::yourls: return kYourls;
    case ImportFormat::kutt: return kKutt;
    case ImportFormat::bitly: return kBitly;
  }
  return {};
}

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), ascii_lower);
  return out;
}

// "Long URL", "long_url" and "longUrl" are one name.
std::string plain_name(std::string_view name) {
  std::string plain;
  for (const char c : name)
    if (c != ' ' && c != '_' && c != '-' && c != '.') plain.push_back(ascii_lower(c));
  return plain;
}

std::optional<Field> field_of(ImportFormat format, std::string_view plain) noexcept {
  for (const Name& name : names_of(format))
    if (name.text == plain) return name.field;
  // A foreign export may have more than we can use; in our own it would be a typing error.
  if (format == ImportFormat::trellis) return std::nullopt;
  return Field::ignored;
}

std::optional<ImportFormat> detect(const std::vector<std::string>& plain) {
  const auto has = [&](std::string_view name) { return std::find(plain.begin(), plain.end(), name) != plain.end(); };
  if (has("longurl") && has("shortcode")) return ImportFormat::shlink;
  if (has("longurl") && (has("link") || has("bitlink") || has("id"))) return ImportFormat::bitly;
  if (has("longurl") && has("shorturl")) return ImportFormat::shlink;
  if (has("target") && has("address")) return ImportFormat::kutt;
  if (has("url") && (has("keyword") || has("timestamp"))) return ImportFormat::yourls;
  if (has("url")) return ImportFormat::trellis;
  return std::nullopt;
}

constexpr std::string_view kUnknown =
    "no known format: the columns url (Trellis), longUrl and shortCode (Shlink), keyword and url (YOURLS), address and "
    "target (Kutt) or link and long_url (Bitly) are looked for";

// What people have who saved a page of an API: the objects are there, but not one on each line.
std::string lines_by(const std::string& filter) {
  return "an object on each line is wanted; jq -c '" + filter + "' writes what is here like that";
}

// What jq takes behind its dot, and a terminal shows.
bool is_path(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    const char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || c == '_' || c == '.';
  });
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_control(char c) noexcept { return static_cast<uint8_t>(c) < 0x20 || c == 0x7f; }

std::optional<uint64_t> count_of(std::string_view text) noexcept {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > INT64_MAX) return std::nullopt;
  return value;
}

std::optional<int64_t> time_of(std::string_view text) {
  if (text.size() >= 9 && text.size() <= 10 && count_of(text)) return static_cast<int64_t>(*count_of(text)) * 1000;
  std::string time(text);
  if (time.size() == 10) time += "T00:00:00Z";
  if (time.size() < 19) return std::nullopt;
  if (time[10] == ' ') time[10] = 'T';
  const size_t zone = time.find_first_of("Zz+-", 19);
  if (zone == std::string::npos) {
    time.push_back('Z');
  } else if (time[zone] != 'Z' && time[zone] != 'z' && time.size() == zone + 5) {
    time.insert(zone + 3, 1, ':');  // +0100, as Bitly has it
  }
  return parse_time(time);
}

// "https://s.example/abc" or "s.example/abc" to "s.example" and "abc".
std::pair<std::string_view, std::string_view> split_short_url(std::string_view url) noexcept {
  if (const size_t scheme = url.find("://"); scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  const size_t slash = url.find('/');
  if (slash == std::string_view::npos) return {url, {}};
  return {url.substr(0, slash), url.substr(slash + 1)};
}

bool is_domain(std::string_view text) noexcept {
  return !text.empty() && text.size() <= kMaxImportDomain && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ':';
         });
}

// Spreadsheets write TRUE and FALSE.
bool is_yes(std::string_view text) {
  const std::string plain = lowered(text);
  return plain != "false" && plain != "0" && plain != "no";
}

// Shortest forms of code points only, no surrogates.
bool is_utf8(std::string_view text) noexcept {
  for (size_t at = 0; at < text.size();) {
    const auto byte = [&](size_t i) { return at + i < text.size() ? static_cast<uint8_t>(text[at + i]) : 0u; };
    const unsigned first = byte(0);
    if (first < 0x80) {
      ++at;
      continue;
    }
    const size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4) return false;
    for (size_t i = 1; i < size; ++i)
      if ((byte(i) & 0xc0) != 0x80) return false;
    const unsigned second = byte(1);
    const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    const bool beyond = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
    if (overlong || beyond) return false;
    at += size;
  }
  return true;
}

// The reason why the tags cannot be taken, "" when they can.
std::string read_tags(std::vector<std::string>& tags, std::string_view text, std::string_view separators) {
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find_first_of(separators, begin), text.size());
    const std::string_view tag = trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    if (tag.empty()) continue;
    if (tag.size() > kMaxTag) return "a tag is longer than " + std::to_string(kMaxTag) + " bytes";
    if (std::any_of(tag.begin(), tag.end(), is_control)) return "a tag has control characters";
    if (tag.find(',') != std::string_view::npos) return "a tag has a comma";
    if (std::find(tags.begin(), tags.end(), tag) != tags.end()) continue;
    if (tags.size() == kMaxTags) return "there are more than " + std::to_string(kMaxTags) + " tags";
    tags.emplace_back(tag);
  }
  return {};
}

// Scalars as CSV would have them; nullopt for objects and arrays.
std::optional<std::string> text_of(const Json& value) {
  if (value.is_null()) return std::string();
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return std::string(value.get<bool>() ? "true" : "false");
  if (value.is_number()) return value.dump();
  return std::nullopt;
}

struct Parsed {
  Json json;
  size_t at = 0;  // the byte of the mistake, from 1
  std::string reason;
};

// A key written twice is not looked for: the last one counts.
Parsed parse_object(std::string_view line) {
  int depth = 0;
  bool deep = false;
  const Json::parser_callback_t watch = [&](int, Json::parse_event_t event, Json&) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) deep = deep || ++depth > 16;
    if (event == Event::object_end || event == Event::array_end) --depth;
    return !deep;
  };
  Parsed parsed;
  try {
    parsed.json = Json::parse(line.begin(), line.end(), watch);
  } catch (const Json::parse_error& error) {
    parsed.at = std::max<size_t>(error.byte, 1);
    parsed.reason = "the line is not valid JSON";
    return parsed;
  } catch (const Json::exception&) {  // a number out of range
    parsed.at = 1;
    parsed.reason = "the line has a value that cannot be read";
    return parsed;
  }
  if (deep || !parsed.json.is_object()) {
    parsed.at = 1;
    parsed.reason = deep ? "the line is nested too deeply" : "the line is not a JSON object";
  }
  return parsed;
}

}  // namespace

std::string_view to_string(ImportFormat format) noexcept {
  static constexpr std::array<std::string_view, 5> kNames = {"trellis", "shlink", "yourls", "kutt", "bitly"};
  return kNames[static_cast<size_t>(format)];
}

std::unexpected<ImportProblem> LinkReader::problem(uint64_t column, std::string_view field, std::string reason) const {
  return std::unexpected(ImportProblem{line_, column, std::string(field.substr(0, 64)), std::move(reason)});
}

std::optional<ImportProblem> LinkReader::set(Field field, std::string_view name, std::string_view text,
                                             uint64_t column) {
  const auto wrong = [&](std::string reason) { return problem(column, name, std::move(reason)).error(); };
  // What we wrote ourselves reads back as it was.
  if (field != Field::title || *format_ != ImportFormat::trellis) text = trimmed(text);
  if (text.empty()) return std::nullopt;
  if (field != Field::ignored && !is_utf8(text)) return wrong("not UTF-8; is the file in another encoding?");
  const auto set_time = [&](std::optional<int64_t>& time) -> std::optional<ImportProblem> {
    time = time_of(text);
    if (!time) return wrong("not a time as in 2026-01-31T12:00:00Z, between 1970 and 2255");
    return std::nullopt;
  };
  switch (field) {
    case Field::ignored: return std::nullopt;
    case Field::code:
      if (!is_code_text(text)) return wrong("a code is 1 to 128 letters, digits, - or _");
      if (is_reserved(text)) return wrong("this code is a name that the service uses itself");
      link_.code = text;
      return std::nullopt;
    case Field::short_url: short_url_ = text; return std::nullopt;
    case Field::further:
      for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        const std::string_view short_url = trimmed(text.substr(begin, end - begin));
        if (!short_url.empty()) also_.emplace_back(short_url);
        begin = end + 1;
      }
      return std::nullopt;
    case Field::url: {
      const auto host = check_url(text);
      if (!host) return wrong(host.error().what());
      link_.url = text;
      return std::nullopt;
    }
    case Field::domain:
      link_.domain = lowered(text);
      if (link_.domain == "default" && *format_ == ImportFormat::shlink) link_.domain.clear();
      if (!link_.domain.empty() && !is_domain(link_.domain)) return wrong("not a domain");
      return std::nullopt;
    case Field::title:
      if (text.size() > kMaxTitle) return wrong("the title is longer than " + std::to_string(kMaxTitle) + " bytes");
      link_.title = text;
      // Titles are taken from pages, where a line break is as good as a space.
      for (char& c : link_.title)
        if (c == '\n' || c == '\r' || c == '\t') c = ' ';
      if (std::any_of(link_.title.begin(), link_.title.end(), is_control))
        return wrong("the title has control characters");
      return std::nullopt;
    case Field::tags: {
      std::string reason = read_tags(link_.tags, text, *format_ == ImportFormat::shlink ? "|" : ",");
      if (!reason.empty()) return wrong(std::move(reason));
      return std::nullopt;
    }
    case Field::status: {
      const auto status = count_of(text);
      if (!status || *status > 999 || !is_redirect_status(static_cast<int64_t>(*status)))
        return wrong("the status must be 301, 302, 307 or 308");
      link_.status = static_cast<int>(*status);
      return std::nullopt;
    }
    case Field::created_at: return set_time(link_.created_at);
    case Field::expires_at: return set_time(link_.expires_at);
    case Field::not_before: return set_time(link_.not_before);
    case Field::max_visits:
      link_.max_visits = count_of(text);
      if (!link_.max_visits || *link_.max_visits == 0) return wrong("not a number of visits, which is 1 or more");
      return std::nullopt;
    case Field::visits: {
      link_.visits = count_of(text);
      if (!link_.visits) return wrong("not a number of visits");
      return std::nullopt;
    }
    case Field::visits_left:
      visits_left_ = count_of(text);
      if (!visits_left_) return wrong("not a number of visits");
      return std::nullopt;
    case Field::forward_query: {
      const std::string plain = lowered(text);
      if (plain != "true" && plain != "false") return wrong("forwarding the query is true or false");
      link_.forward_query = plain == "true";
      return std::nullopt;
    }
    case Field::rules:
      if (std::any_of(text.begin(), text.end(), is_control)) return wrong("the rules have control characters");
      link_.rules = text;
      return std::nullopt;
    case Field::clicks: {
      const auto clicks = count_of(text);
      if (!clicks) return wrong("not a number of clicks");
      link_.clicks = *clicks;
      return std::nullopt;
    }
    case Field::banned:
      if (is_yes(text)) return wrong("the link is banned there and stays out");
      return std::nullopt;
    case Field::password:
      if (is_yes(text)) return wrong("the link has a password, which is not in the export; it would be open");
      return std::nullopt;
    case Field::password_hash:
      if (!is_scrypt_text(text)) return wrong("not a password's hash as an export has it");
      link_.password_hash = text;
      return std::nullopt;
  }
  return std::nullopt;
}

void LinkReader::begin_row() {
  link_ = {};
  short_url_.clear();
  also_.clear();
  visits_left_.reset();
}

LinkReader::Outcome LinkReader::complete_row() {
  Outcome outcome = complete();
  if (!outcome || also_.empty()) return outcome;
  std::erase_if(also_, [this](std::string_view short_url) {
    const auto [host, code] = split_short_url(short_url);
    return code == link_.code && lowered(host) == link_.domain;
  });
  further_.assign(also_.rbegin(), also_.rend());
  return outcome;
}

// The link of the row again, under another short URL. Its clicks were counted once.
LinkReader::Outcome LinkReader::next_further() {
  short_url_ = std::move(further_.back());
  further_.pop_back();
  link_.code.clear();
  link_.domain.clear();
  link_.clicks = 0;
  return complete();
}

// The rules over several fields, when all are read.
LinkReader::Outcome LinkReader::complete() {
  says_domain_ = !link_.domain.empty();
  if (!short_url_.empty() && (link_.code.empty() || link_.domain.empty())) {
    const std::string_view short_url = short_url_;
    const auto [host, path] = split_short_url(short_url);
    if (link_.domain.empty()) {
      link_.domain = lowered(host);
      if (!is_domain(link_.domain)) return problem(1, "", "the short URL has no valid domain");
    }
    if (link_.code.empty()) {
      if (!is_code_text(path))
        return problem(1, "", "the code of the short URL is not 1 to 128 letters, digits, - or _");
      if (is_reserved(path)) return problem(1, "", "the code of the short URL is a name that the service uses itself");
      link_.code = path;
    }
  }
  if (link_.url.empty()) return problem(1, "", "the URL is missing");
  if (link_.code.empty() && *format_ != ImportFormat::trellis) return problem(1, "", "the code is missing");
  if (link_.expires_at && link_.not_before && *link_.expires_at <= *link_.not_before)
    return problem(1, "", "the link ends before it begins");
  if (link_.max_visits && visits_left_ && !link_.visits)
    link_.visits = *link_.max_visits - std::min(*visits_left_, *link_.max_visits);
  return Step::link;
}

LinkReader::Outcome LinkReader::next(std::string_view& bytes) {
  if (!further_.empty()) return next_further();
  if (failed_) {
    bytes = {};
    return Step::more;
  }
  return shape_ == ImportShape::csv ? next_csv(bytes) : next_ndjson(bytes);
}

LinkReader::Outcome LinkReader::next_csv(std::string_view& bytes) {
  for (;;) {
    auto step = csv_.next(bytes);
    if (!step) {
      // Without its header the rows mean nothing.
      if (!format_) failed_ = true;
      return std::unexpected(ImportProblem{step.error().line, step.error().column, "", std::move(step.error().reason)});
    }
    if (*step == CsvReader::Step::more) return Step::more;
    Outcome outcome = format_ ? read_row() : read_header();
    if (!outcome || *outcome == Step::link) return outcome;
  }
}

LinkReader::Outcome LinkReader::read_header() {
  line_ = csv_.line();
  const auto fields = csv_.fields();
  std::vector<std::string> plain;
  for (const std::string_view field : fields) plain.push_back(plain_name(field));
  format_ = detect(plain);
  failed_ = true;  // until all of it is known
  if (!format_) return problem(1, "", std::string(kUnknown));
  for (size_t i = 0; i < fields.size(); ++i) {
    const auto field = field_of(*format_, plain[i]);
    if (!field) return problem(csv_.column(i), fields[i], "there is no such column");
    if (std::find(plain.begin(), plain.begin() + static_cast<ptrdiff_t>(i), plain[i]) !=
            plain.begin() + static_cast<ptrdiff_t>(i) &&
        *field != Field::ignored)
      return problem(csv_.column(i), fields[i], "the column is there twice");
    columns_.push_back({*field, std::string(fields[i])});
  }
  failed_ = false;
  return Step::more;
}

LinkReader::Outcome LinkReader::read_row() {
  const auto fields = csv_.fields();
  line_ = csv_.line();
  if (fields.size() == 1 && fields[0].empty()) return Step::more;  // an empty line
  if (fields.size() != columns_.size())
    return problem(
        1, "",
        "the row has " + std::to_string(fields.size()) + " fields and the header " + std::to_string(columns_.size()));
  begin_row();
  for (size_t i = 0; i < fields.size(); ++i)
    if (auto wrong = set(columns_[i].field, columns_[i].name, fields[i], csv_.column(i)))
      return std::unexpected(*std::move(wrong));
  return complete_row();
}

LinkReader::Outcome LinkReader::next_ndjson(std::string_view& bytes) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
    too_long_ = too_long_ || partial_.size() + piece.size() > kMaxImportLine;
    if (!too_long_) partial_.append(piece);
    if (end == std::string_view::npos) break;
    Outcome outcome = read_object(partial_);
    partial_.clear();
    too_long_ = false;
    if (!outcome || *outcome == Step::link) return outcome;
  }
  return Step::more;
}

LinkReader::Outcome LinkReader::read_object(std::string_view line) {
  line_ = ++lines_;
  if (too_long_) return problem(1, "", "the line is longer than " + std::to_string(kMaxImportLine) + " bytes");
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (lines_ == 1 && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
  if (trimmed(line).empty()) return Step::more;
  const Parsed parsed = parse_object(line);
  if (parsed.at > 0) {
    const bool begins = !format_ && lines_ == 1;
    const bool list = trimmed(line).starts_with('[');
    if (begins && (list || trimmed(line) == "{")) {
      failed_ = true;
      return problem(1, "", lines_by(list ? ".[]" : "."));
    }
    return problem(parsed.at, "", parsed.reason);
  }

  // One level of objects inside is opened, for Shlink.
  struct Member {
    std::string name;
    std::string plain;
    const Json* value;
  };
  std::vector<Member> members;
  for (const auto& [name, value] : parsed.json.items()) {
    if (value.is_object()) {
      for (const auto& [inner, inside] : value.items())
        members.push_back({name + "." + inner, plain_name(name) + plain_name(inner), &inside});
    } else {
      members.push_back({name, plain_name(name), &value});
    }
  }
  if (!format_) {
    std::vector<std::string> plain;
    for (const Member& member : members) plain.push_back(member.plain);
    format_ = detect(plain);
    failed_ = !format_;
    if (failed_) {
      for (const Member& member : members) {
        const bool objects = member.value->is_array() && !member.value->empty() && member.value->front().is_object();
        if (objects && is_path(member.name)) return problem(1, member.name, lines_by("." + member.name + "[]"));
      }
      return problem(1, "", std::string(kUnknown));
    }
  }
  begin_row();
  for (const Member& member : members) {
    const auto field = field_of(*format_, member.plain);
    if (!field) return problem(1, member.name, "there is no such member");
    if (*field == Field::ignored) continue;
    if (*field == Field::tags && member.value->is_array()) {
      for (const Json& tag : *member.value) {
        if (!tag.is_string()) return problem(1, member.name, "a tag is no string");
        const auto& text = tag.get_ref<const std::string&>();
        std::string reason = read_tags(link_.tags, text, "");
        if (!reason.empty()) return problem(1, member.name, std::move(reason));
      }
      continue;
    }
    if (*field == Field::further && member.value->is_array()) {
      for (const Json& short_url : *member.value) {
        if (!short_url.is_string()) return problem(1, member.name, "a short URL is no string");
        also_.push_back(short_url.get<std::string>());
      }
      continue;
    }
    if (*field == Field::rules && member.value->is_array()) {
      if (!member.value->empty()) link_.rules = member.value->dump(-1, ' ', false, Json::error_handler_t::replace);
      continue;
    }
    const auto text = text_of(*member.value);
    if (!text) return problem(1, member.name, "the value must be a text or a number");
    if (auto wrong = set(*field, member.name, *text, 1)) return std::unexpected(*std::move(wrong));
  }
  return complete_row();
}

LinkReader::Outcome LinkReader::finish() {
  if (!further_.empty()) return next_further();
  if (failed_) return Step::more;
  if (shape_ == ImportShape::csv) {
    auto step = csv_.finish();
    if (!step)
      return std::unexpected(ImportProblem{step.error().line, step.error().column, "", std::move(step.error().reason)});
    if (*step == CsvReader::Step::more) return Step::more;
    return format_ ? read_row() : read_header();
  }
  if (partial_.empty() && !too_long_) return Step::more;
  Outcome outcome = read_object(partial_);
  partial_.clear();
  too_long_ = false;
  return outcome;
}

void append_import_header(std::string& csv) {
  static constexpr std::array<std::string_view, 15> kColumns = {
      "code",       "url",        "domain", "title",         "tags",  "status", "created_at",   "expires_at",
      "not_before", "max_visits", "visits", "forward_query", "rules", "clicks", "password_hash"};
  append_csv_row(csv, kColumns);
}

void append_import_csv(std::string& csv, const LinkImport& link) {
  std::string tags;
  for (const std::string& tag : link.tags) {
    if (!tags.empty()) tags.push_back(',');
    tags += tag;
  }
  const auto time = [](const std::optional<int64_t>& at) { return at ? format_time(*at) : std::string(); };
  const std::string status = link.status ? std::to_string(*link.status) : "";
  const std::string created = time(link.created_at);
  const std::string expires = time(link.expires_at);
  const std::string not_before = time(link.not_before);
  const std::string max_visits = link.max_visits ? std::to_string(*link.max_visits) : "";
  const std::string visits = link.visits ? std::to_string(*link.visits) : "";
  const std::string clicks = std::to_string(link.clicks);
  const std::string_view forward = link.forward_query ? "true" : "";
  const std::array<std::string_view, 15> fields = {link.code, link.url, link.domain, link.title, tags,
                                                   status,    created,  expires,     not_before, max_visits,
                                                   visits,    forward,  link.rules,  clicks,     link.password_hash};
  append_csv_row(csv, fields);
}

void append_import_ndjson(std::string& ndjson, const LinkImport& link) {
  JsonWriter json(ndjson);
  json.begin_object().member("code", link.code).member("url", link.url);
  if (!link.domain.empty()) json.member("domain", link.domain);
  if (!link.title.empty()) json.member("title", link.title);
  if (!link.tags.empty()) {
    json.key("tags").begin_array();
    for (const std::string& tag : link.tags) json.value(tag);
    json.end_array();
  }
  if (link.status) json.member("status", *link.status);
  if (link.created_at) json.member("created_at", format_time(*link.created_at));
  if (link.expires_at) json.member("expires_at", format_time(*link.expires_at));
  if (link.not_before) json.member("not_before", format_time(*link.not_before));
  if (link.max_visits) json.member("max_visits", *link.max_visits);
  if (link.visits) json.member("visits", *link.visits);
  if (link.forward_query) json.member("forward_query", true);
  if (!link.rules.empty()) json.member("rules", link.rules);
  if (!link.password_hash.empty()) json.member("password_hash", link.password_hash);
  json.member("clicks", link.clicks).end_object();
  ndjson.push_back('\n');
}

}  // namespace trellis::services::links
