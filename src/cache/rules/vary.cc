#include "cache/rules/vary.h"

#include <algorithm>
#include <optional>

#include "base/ascii.h"
#include "http/field_text.h"

namespace trellis::cache {

namespace {

using http::FieldId;
using http::trimmed;

constexpr size_t kMaxLanguageRange = 35;  // RFC 5646 §4.4.1

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), ascii_lower);
  return out;
}

bool is_named(const http::Field& field, FieldId id, std::string_view name) noexcept {
  return id != FieldId::unknown ? field.id == id : field.id == FieldId::unknown && http::iequal(field.name, name);
}

// A token with its weight in thousandths, as in Accept-Language: "de;q=0.8". What cannot be read stays with the name
// and weighs 1000: so it is kept apart from other texts, and nothing depends on the number.
struct Preference {
  std::string name;  // lower case
  int weight = 1000;
};

// Of a qvalue (RFC 9110 §12.4.2).
std::optional<int> weight_of(std::string_view text) noexcept {
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return std::nullopt;
  if (text.size() > 1 && text[1] != '.') return std::nullopt;
  int thousandths = (text[0] - '0') * 1000;
  int place = 100;
  for (const char c : text.substr(std::min<size_t>(text.size(), 2))) {
    if (c < '0' || c > '9') return std::nullopt;
    thousandths += (c - '0') * place;
    place /= 10;
  }
  return thousandths <= 1000 ? std::optional<int>(thousandths) : std::nullopt;
}

Preference preference_of(std::string_view element) {
  const size_t semicolon = element.find(';');
  Preference out{lower(trimmed(element.substr(0, semicolon))), 1000};
  if (semicolon == std::string_view::npos) return out;
  const std::string_view parameter = trimmed(element.substr(semicolon + 1));
  const bool is_weight = parameter.size() > 2 && ascii_lower(parameter[0]) == 'q' && parameter[1] == '=';
  if (const std::optional<int> weight = is_weight ? weight_of(parameter.substr(2)) : std::nullopt)
    out.weight = *weight;
  else
    out.name.append(";").append(parameter);
  return out;
}

template <class Take>
void for_each_line(const http::Fields& request, FieldId id, std::string_view name, Take take) {
  for (const http::Field& field : request) {
    if (is_named(field, id, name)) take(field.value);
  }
}

std::vector<Preference> preferences_in(const http::Fields& request, FieldId id) {
  std::vector<Preference> out;
  for_each_line(request, id, {}, [&out](std::string_view list) {
    while (const auto element = http::next_element(list)) out.push_back(preference_of(*element));
  });
  return out;
}

// The codings that the client takes, in the order of the alphabet.
void append_encodings(std::string& to, const http::Fields& request) {
  std::vector<std::string> taken;
  for (Preference& each : preferences_in(request, FieldId::accept_encoding)) {
    if (each.name == "x-gzip") each.name = "gzip";
    if (each.name == "identity") {
      if (each.weight == 0) taken.emplace_back("identity;q=0");
    } else if (each.weight > 0) {
      taken.push_back(std::move(each.name));
    } else if (each.name == "*") {
      taken.emplace_back("*;q=0");
    } else {
      // It matters beside a "*" only, which would take it.
      taken.push_back(each.name + ";q=0");
    }
  }
  const bool any = std::find(taken.begin(), taken.end(), "*") != taken.end();
  if (!any)
    std::erase_if(taken,
                  [](const std::string& each) { return each.ends_with(";q=0") && each[0] != 'i' && each[0] != '*'; });
  std::sort(taken.begin(), taken.end());
  taken.erase(std::unique(taken.begin(), taken.end()), taken.end());
  for (const std::string& each : taken) to.append(&each == &taken.front() ? "" : ",").append(each);
}

std::vector<Preference> sorted_languages(const http::Fields& request) {
  std::vector<Preference> languages = preferences_in(request, FieldId::accept_language);
  std::sort(languages.begin(), languages.end(), [](const Preference& a, const Preference& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.name < b.name;
  });
  return languages;
}

// The one language that the client likes better than all others; "" where there is none.
std::string_view liked_best(const std::vector<Preference>& sorted) noexcept {
  if (sorted.empty() || sorted[0].weight == 0 || sorted[0].name == "*") return {};
  return sorted.size() == 1 || sorted[1].weight < sorted[0].weight ? std::string_view(sorted[0].name)
                                                                   : std::string_view();
}

// Nothing but language ranges (RFC 4647 §2.1): what is stored for such a field is given to all who like the language,
// so it must not hold what an origin could put into its page for this client alone.
bool are_languages(const std::vector<Preference>& sorted) noexcept {
  const auto is_range = [](const Preference& each) {
    return each.name.size() <= kMaxLanguageRange && std::all_of(each.name.begin(), each.name.end(), [](char c) {
             return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '*';
           });
  };
  return std::all_of(sorted.begin(), sorted.end(), is_range);
}

std::string text_of(const std::vector<Preference>& sorted) {
  std::string text;
  for (const Preference& each : sorted) {
    text.append(text.empty() ? "" : ",").append(each.name);
    if (each.weight != 1000) text.append(";q=").append(std::to_string(each.weight));
  }
  return text;
}

void append_languages(std::string& to, const http::Fields& request, const KnownLanguages& known) {
  const std::vector<Preference> sorted = sorted_languages(request);
  const std::string* const text = known.find(liked_best(sorted));
  to.append(text != nullptr ? *text : text_of(sorted));
}

// White space at the ends and around commas taken off; quoted text stays as it is.
void append_trimmed(std::string& to, std::string_view value) {
  const size_t start = to.size();
  bool quoted = false;
  for (size_t i = 0; i < value.size(); ++i) {
    const char c = value[i];
    if (!quoted && (c == ' ' || c == '\t') && (to.size() == start || to.back() == ',')) continue;
    if (!quoted && c == ',') {
      while (to.size() > start && (to.back() == ' ' || to.back() == '\t')) to.pop_back();
    }
    to.push_back(c);
    if (quoted && c == '\\' && i + 1 < value.size()) to.push_back(value[++i]);
    if (c == '"') quoted = !quoted;
  }
  while (!quoted && to.size() > start && (to.back() == ' ' || to.back() == '\t')) to.pop_back();
}

}  // namespace

bool varies_on_everything(std::string_view vary) noexcept {
  size_t names = 0;
  while (const auto name = http::next_element(vary)) {
    if (*name == "*" || !http::is_token(*name) || ++names > kMaxVaryNames) return true;
  }
  return false;
}

std::vector<std::string> vary_names(std::string_view vary) {
  std::vector<std::string> names;
  if (varies_on_everything(vary)) return names;
  while (const auto name = http::next_element(vary)) names.push_back(lower(*name));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

const std::string* KnownLanguages::find(std::string_view language) const noexcept {
  if (language.empty()) return nullptr;
  for (const auto& [each, text] : texts) {
    if (each == language) return &text;
  }
  return nullptr;
}

KnownLanguages learn_language(KnownLanguages known, const std::vector<std::string>& names, const http::Fields& request,
                              const http::Fields& response) {
  if (std::find(names.begin(), names.end(), "accept-language") == names.end()) return {};
  const std::vector<Preference> sorted = sorted_languages(request);
  const std::string_view best = liked_best(sorted);
  const std::string language = lower(trimmed(response.joined(FieldId::content_language)));
  if (language != best) std::erase_if(known.texts, [best](const auto& each) { return each.first == best; });
  // Of several languages in one answer none is the one that it is in.
  if (!http::is_token(language) || known.find(language) != nullptr || sorted.empty() || !are_languages(sorted))
    return known;
  if (known.texts.size() < KnownLanguages::kMax) known.texts.emplace_back(language, text_of(sorted));
  return known;
}

void append_variant(std::string& key, const std::vector<std::string>& names, const http::Fields& request,
                    const KnownLanguages& languages) {
  for (const std::string& name : names) {
    key.append("\n").append(name);
    const FieldId id = http::field_id(name);
    const bool there = std::any_of(request.begin(), request.end(),
                                   [&](const http::Field& field) { return is_named(field, id, name); });
    if (!there) continue;
    key.append("=");
    if (id == FieldId::accept_encoding) {
      append_encodings(key, request);
    } else if (id == FieldId::accept_language) {
      append_languages(key, request, languages);
    } else {
      bool first = true;
      for_each_line(request, id, name, [&](std::string_view value) {
        if (!first) key.append(",");
        first = false;
        append_trimmed(key, value);
      });
    }
  }
}

}  // namespace trellis::cache
