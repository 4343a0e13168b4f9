#include "config/types.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>

#include "config/fields.h"

namespace trellis::config {

bool Reading::fail(const Node& at, std::string reason, std::string hint) const {
  if (!at.broken()) problems_->add(at.mark(), at.path(), std::move(reason), std::move(hint));
  return false;
}

bool Reading::mismatch(const Node& at, std::string_view expected, std::string_view why, std::string hint) const {
  std::string reason = "expected " + std::string(expected);
  const bool hide = secret_ && at.is_scalar();
  if (!hide) reason += ", got " + at.shown();
  // What a reader says may quote the value; then it has to stay away from what must not be shown.
  if (!hide && !at.from_environment() && !why.empty()) reason += ": " + std::string(why);
  if (hide || at.from_environment()) hint.clear();
  return fail(at, std::move(reason), std::move(hint));
}

Reading Reading::hidden(bool secret) const {
  Reading out = *this;
  out.secret_ = secret_ || secret;
  return out;
}

void Checker::problem(std::string_view child, std::string reason, std::string hint) {
  const Node at = child.empty() ? Node() : node_.descend(child);
  std::string path = at ? at.path() : node_.path();
  if (!at && !child.empty()) path += (path.empty() || child.starts_with('[') ? "" : ".") + std::string(child);
  if (reading_.problems().touches(path) && !child.empty()) return;
  const Mark& mark = at ? at.mark() : node_.key_mark();
  reading_.problems().add(mark, std::move(path), std::move(reason), std::move(hint));
}

void Checker::at_most_one(std::initializer_list<std::string_view> children) {
  std::string_view first;
  for (const std::string_view child : children) {
    if (!given(child)) continue;
    if (first.empty()) {
      first = child;
    } else {
      problem(child, "cannot stand beside " + std::string(first));
    }
  }
}

void Checker::exactly_one(std::initializer_list<std::string_view> children) {
  if (std::ranges::any_of(children, [&](std::string_view child) { return given(child); })) return at_most_one(children);
  std::string list;
  for (const std::string_view child : children) list += (list.empty() ? "" : ", ") + std::string(child);
  problem("", "expected one of the keys " + list);
}

void Checker::must_be_known(std::string_view child, std::string_view what, std::string_view name,
                            std::span<const std::string_view> known) {
  if (std::ranges::find(known, name) != known.end()) return;
  const Node at = node_.descend(child);
  if (reading_.secret() || at.from_environment()) {
    return problem(child, "no such " + std::string(what) + (at.from_environment() ? ": " + at.shown() : ""));
  }
  std::string hint = known.empty() ? "none is configured" : suggest(name, known);
  problem(child, "no " + std::string(what) + " \"" + std::string(name) + "\"", std::move(hint));
}

namespace detail {
namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string range_text(const std::string& low, const std::string& high) { return low + ".." + high; }

std::vector<std::string_view> views(std::span<const std::string> words) { return {words.begin(), words.end()}; }

std::string joined(std::span<const std::string> words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

// The integer a text is, as people write it: no sign but a minus, no leading zero, no point. False: something else.
bool parse_integer(std::string_view text, __int128& out) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (text.empty() || text.size() > 20 || (text.size() > 1 && text.front() == '0')) return false;
  __int128 value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + (c - '0');
  }
  out = negative ? -value : value;
  return true;
}

std::string expected(const TypeInfo& info) { return info.range.empty() ? info.name : info.name + " " + info.range; }

// Shared end of the readers of a number with a unit: the type with its range, and the reason unless it is empty.
bool refuse(const Node& node, const TypeInfo& info, const Error& why, const Reading& in) {
  return in.mismatch(node, expected(info), why.what());
}

TypeInfo scalar(std::string name, std::string range, std::string json) {
  TypeInfo out;
  out.name = std::move(name);
  out.range = std::move(range);
  out.json = std::move(json);
  return out;
}

}  // namespace

std::string readable_name(const std::type_info& type) {
  int status = 0;
  char* text = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
  std::string out = status == 0 && text != nullptr ? text : type.name();
  std::free(text);
  for (const std::string_view part : {"trellis::", "(anonymous namespace)::", "config::"}) {
    if (out.starts_with(part)) out.erase(0, part.size());
  }
  for (size_t at = out.find("::"); at != std::string::npos; at = out.find("::")) out.replace(at, 2, ".");
  return out;
}

bool is_absent(const Node& node) { return node.is_null(); }

bool read_bool(const Node& node, bool& out, const Reading& in) {
  if (node.is_scalar() && (node.text() == "true" || node.text() == "false")) {
    out = node.text() == "true";
    return true;
  }
  std::string hint;
  if (node.is_scalar()) {
    std::string word = node.text();
    std::ranges::transform(word, word.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    if (word == "yes" || word == "on" || word == "true" || word == "1") hint = "did you mean \"true\"?";
    if (word == "no" || word == "off" || word == "false" || word == "0") hint = "did you mean \"false\"?";
  }
  return in.mismatch(node, "true or false", {}, std::move(hint));
}

bool read_integer(const Node& node, int64_t low, uint64_t high, __int128& out, const Reading& in) {
  if (node.is_scalar() && parse_integer(node.text(), out) && out >= low && out <= static_cast<__int128>(high)) {
    return true;
  }
  return in.mismatch(node, expected(integer_info(low, high)));
}

bool read_integer_key(const Node& node, int64_t low, uint64_t high, __int128& out, const Reading& in) {
  if (parse_integer(node.key(), out) && out >= low && out <= static_cast<__int128>(high)) return true;
  if (!node.broken()) in.problems().add(node.key_mark(), node.path(), "the key must be an integer");
  return false;
}

bool read_number(const Node& node, double low, double high, double& out, const Reading& in) {
  const TypeInfo info = number_info(low, high);
  if (!node.is_scalar()) return in.mismatch(node, expected(info));
  const Result<double> value = parse_number(node.text());
  if (!value) return refuse(node, info, value.error(), in);
  if (*value < low || *value > high) return in.mismatch(node, expected(info));
  out = *value;
  return true;
}

bool read_string(const Node& node, std::string& out, const Reading& in) {
  if (!node.is_scalar()) return in.mismatch(node, "text");
  out = node.text();
  return true;
}

bool read_duration(const Node& node, Duration low, Duration high, Duration& out, const Reading& in) {
  const TypeInfo info = duration_info(low, high);
  if (!node.is_scalar()) return in.mismatch(node, expected(info));
  const Result<Duration> value = parse_duration(node.text());
  if (!value) return refuse(node, info, value.error(), in);
  if (*value < low || *value > high) return in.mismatch(node, expected(info));
  out = *value;
  return true;
}

bool read_size(const Node& node, uint64_t low, uint64_t high, uint64_t& out, const Reading& in) {
  const TypeInfo info = size_info(low, high);
  if (!node.is_scalar()) return in.mismatch(node, expected(info));
  const Result<uint64_t> value = parse_size(node.text());
  if (!value) return refuse(node, info, value.error(), in);
  if (*value < low || *value > high) return in.mismatch(node, expected(info));
  out = *value;
  return true;
}

bool read_percent(const Node& node, double low, double high, double& out, const Reading& in) {
  const TypeInfo info = percent_info(low, high);
  if (!node.is_scalar()) return in.mismatch(node, expected(info));
  const Result<double> value = parse_percent(node.text());
  if (!value) return refuse(node, info, value.error(), in);
  if (*value < low || *value > high) return in.mismatch(node, expected(info));
  out = *value;
  return true;
}

bool read_word(const Node& node, std::span<const std::string> words, size_t& out, const Reading& in) {
  if (node.is_scalar()) {
    const auto it = std::ranges::find(words, node.text());
    if (it != words.end()) {
      out = static_cast<size_t>(it - words.begin());
      return true;
    }
    const std::string_view near = nearest(node.text(), views(words));
    if (!near.empty()) {
      return in.mismatch(node, "one of " + joined(words), {}, "did you mean \"" + std::string(near) + "\"?");
    }
  }
  return in.mismatch(node, "one of " + joined(words));
}

bool expect_list(const Node& node, const Reading& in) {
  if (node.is_list() || (node.is_null() && !node.broken())) return true;
  std::string hint;
  if (node.is_scalar()) hint = "a list stands in brackets: [a, b]";
  return in.mismatch(node, "a list", {}, std::move(hint));
}

bool expect_map(const Node& node, const Reading& in) {
  if (node.is_map() || (node.is_null() && !node.broken())) return true;
  return in.mismatch(node, "a map");
}

bool choose_key(const Node& node, std::span<const std::string> keys, size_t& out, const Reading& in) {
  if (!expect_map(node, in)) return false;
  bool found = false;
  for (size_t i = 0; i < keys.size(); ++i) {
    const Node child = node.find(keys[i]);
    if (!child) continue;
    if (found) {
      in.problems().add(child.key_mark(), child.path(), "cannot stand beside " + keys[out]);
      return false;
    }
    found = true;
    out = i;
  }
  if (!found) {
    in.fail(node, "expected one of the keys " + joined(keys));
    return false;
  }
  return true;
}

namespace {

// Finds the alternative called `name`, reads its settings, and keeps them.
bool read_kind(const Node& at, const std::string& name, const Node& settings, const std::vector<KindOf>& kinds,
               Entry& out, const Reading& in) {
  const auto kind = std::ranges::find(kinds, name, &KindOf::name);
  if (kind == kinds.end()) {
    std::vector<std::string_view> known;
    for (const KindOf& each : kinds) known.push_back(each.name);
    if (!at.broken()) in.problems().add(at.key_mark(), at.path(), "unknown name", suggest(name, known));
    return false;
  }
  out.name = name;
  out.node = settings;
  return kind->read(settings, out.value, in);
}

}  // namespace

bool read_one_key(const Node& node, const std::vector<KindOf>& kinds, Entry& out, const Reading& in) {
  if (node.is_scalar() && !node.broken() && !node.from_environment()) {
    const auto kind = std::ranges::find(kinds, node.text(), &KindOf::name);
    if (kind != kinds.end() && kind->info.shape == TypeInfo::Shape::table) {
      // `- compress` says the same as `- compress: {}`: faults of missing settings stand at the name.
      out.name = node.text();
      out.node = node;
      return kind->read(node.emptied(), out.value, in);
    }
    std::vector<std::string_view> known;
    for (const KindOf& each : kinds) known.push_back(each.name);
    if (kind == kinds.end()) return in.mismatch(node, "a known name", {}, suggest(node.text(), known));
  }
  if (!node.is_map()) return in.mismatch(node, "a map of one key");
  if (node.size() != 1) {
    const Node at = node.size() > 1 ? node.at(1) : node;
    if (!at.broken()) in.problems().add(at.key_mark(), node.path(), "expected one key: each item names one thing");
    return false;
  }
  const Node only = node.at(0);
  return read_kind(only, only.key(), only, kinds, out, in);
}

bool read_keyed(const Node& node, const std::vector<KindOf>& kinds, std::vector<Entry>& out, const Reading& in) {
  if (!expect_map(node, in)) return false;
  out.clear();
  bool ok = true;
  for (const Node& child : node.children()) {
    Entry entry;
    if (read_kind(child, child.key(), child, kinds, entry, in)) {
      out.push_back(std::move(entry));
    } else {
      ok = false;
    }
  }
  return ok;
}

bool report_unknown_keys(const Node& node, const TableInfo& table, const Reading& in) {
  bool ok = true;
  std::vector<std::string_view> names;
  for (const FieldInfo& field : table.fields) names.push_back(field.name);
  for (const Node& child : node.children()) {
    if (std::ranges::find(names, child.key()) != names.end()) continue;
    ok = false;
    // A key that is there already cannot be the one that was meant, unless nothing else is near.
    std::vector<std::string_view> free;
    std::ranges::copy_if(names, std::back_inserter(free), [&](std::string_view name) { return !node.find(name); });
    std::string_view near = nearest(child.key(), free);
    if (near.empty()) near = nearest(child.key(), names);
    std::string hint = near.empty() ? suggest(child.key(), names) : "did you mean \"" + std::string(near) + "\"?";
    in.problems().add(child.key_mark(), child.path(), "unknown key", std::move(hint));
  }
  return ok;
}

bool report_missing(const Node& node, std::string_view name, const Reading& in) {
  if (!node.broken()) in.problems().add(node.key_mark(), path_step(node.path(), name), "required, but missing");
  return false;
}

bool report_empty(const Node& node, const Reading& in) {
  if (node.is_null()) return in.fail(node, "required, but empty");
  if (node.is_scalar() ? node.text().empty() : node.size() == 0 && !node.is_map()) {
    return in.fail(node, "required, but empty");
  }
  return true;
}

TypeInfo bool_info() { return scalar("true or false", {}, "\"type\": \"boolean\""); }

TypeInfo integer_info(int64_t low, uint64_t high) {
  constexpr auto kSignedMax = static_cast<uint64_t>(INT64_MAX);
  std::string json = "\"type\": \"integer\"";
  std::string range;
  if (low != INT64_MIN) json += ", \"minimum\": " + std::to_string(low);
  if (high < kSignedMax) json += ", \"maximum\": " + std::to_string(high);
  if (high >= kSignedMax) {
    if (low != INT64_MIN) range = "from " + std::to_string(low);
  } else {
    range = range_text(std::to_string(low), std::to_string(high));
  }
  return scalar("integer", std::move(range), std::move(json));
}

TypeInfo number_info(double low, double high) {
  std::string json = "\"type\": \"number\"";
  std::string range;
  const bool has_low = low > std::numeric_limits<double>::lowest();
  const bool has_high = high < std::numeric_limits<double>::max();
  if (has_low) json += ", \"minimum\": " + format_number(low);
  if (has_high) json += ", \"maximum\": " + format_number(high);
  if (has_low && has_high) range = range_text(format_number(low), format_number(high));
  if (has_low && !has_high) range = "from " + format_number(low);
  if (!has_low && has_high) range = "up to " + format_number(high);
  return scalar("number", std::move(range), std::move(json));
}

TypeInfo string_info() { return scalar("text", {}, "\"type\": [\"string\", \"number\", \"boolean\"]"); }

TypeInfo duration_info(Duration low, Duration high) {
  std::string range;
  if (high != Duration::max()) {
    range = range_text(format_duration(low), format_duration(high));
  } else if (low > Duration::zero()) {
    range = "from " + format_duration(low);
  }
  return scalar(
      "duration", std::move(range),
      R"("type": ["string", "integer"], "pattern": "^(0|[0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h|d))$", "minimum": 0, "maximum": 0)");
}

TypeInfo size_info(uint64_t low, uint64_t high) {
  std::string range;
  if (high != std::numeric_limits<uint64_t>::max()) {
    range = range_text(format_size(low), format_size(high));
  } else if (low > 0) {
    range = "from " + format_size(low);
  }
  return scalar(
      "size", std::move(range),
      R"("type": ["string", "integer"], "pattern": "^(0|[0-9]+(\\.[0-9]+)?([KMGTP]iB|[KkMGT]?B))$", "minimum": 0, "maximum": 0)");
}

TypeInfo percent_info(double low, double high) {
  return scalar("percent", range_text(format_percent(low), format_percent(high)),
                R"("type": "string", "pattern": "^-?[0-9]+(\\.[0-9]*)?%$")");
}

TypeInfo words_info(std::span<const std::string> words) {
  std::string list;
  std::string json;
  for (const std::string& word : words) {
    list += (list.empty() ? "" : ", ") + word;
    json += (json.empty() ? "" : ", ") + quoted(word);
  }
  return scalar("one of", std::move(list), "\"enum\": [" + json + "]");
}

TypeInfo text_info(std::string_view name) {
  return scalar(std::string(name), {}, "\"type\": [\"string\", \"number\"]");
}

TypeInfo any_info() {
  TypeInfo out;
  out.shape = TypeInfo::Shape::any;
  out.name = "anything";
  return out;
}

TypeInfo list_info(TypeInfo item) {
  TypeInfo out;
  out.shape = TypeInfo::Shape::list;
  out.name = "list";
  out.item = std::make_shared<const TypeInfo>(std::move(item));
  return out;
}

TypeInfo map_info(TypeInfo item) {
  TypeInfo out;
  out.shape = TypeInfo::Shape::map;
  out.name = "map";
  out.item = std::make_shared<const TypeInfo>(std::move(item));
  return out;
}

TypeInfo kinds_info(TypeInfo::Shape shape, const std::vector<KindOf>& kinds) {
  TypeInfo out;
  out.shape = shape;
  out.name = "map";
  for (const KindOf& kind : kinds) out.alternatives.push_back({kind.name, kind.doc, kind.info});
  return out;
}

}  // namespace detail
}  // namespace trellis::config

namespace trellis::config {

std::string describe(const TypeInfo& type) {
  switch (type.shape) {
    case TypeInfo::Shape::list: return "list of " + describe(*type.item);
    case TypeInfo::Shape::map: return "map of " + describe(*type.item);
    case TypeInfo::Shape::table: return type.text.empty() ? type.name : type.text + ", or map";
    default: return type.name;
  }
}

}  // namespace trellis::config
