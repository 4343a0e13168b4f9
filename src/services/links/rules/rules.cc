#include "services/links/rules/rules.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "base/ascii.h"
#include "base/encoding.h"
#include "base/hash.h"

namespace trellis::services::links {

namespace {

constexpr size_t kMaxAcceptLanguage = 512;  // what follows is not looked at

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// RFC 4647 basic filtering: "de" takes "de" and "de-CH". `tag` is in lower case.
bool takes(std::string_view tag, std::string_view language) noexcept {
  if (language.size() < tag.size()) return false;
  if (!std::equal(tag.begin(), tag.end(), language.begin(), [](char a, char b) { return a == ascii_lower(b); }))
    return false;
  return language.size() == tag.size() || language[tag.size()] == '-';
}

bool one_takes(const std::vector<std::string>& tags, std::string_view language) noexcept {
  return std::any_of(tags.begin(), tags.end(), [&](const std::string& tag) { return takes(tag, language); });
}

// In thousandths; 1000 when there is none, 0 when it cannot be read.
int quality_of(std::string_view parameters) noexcept {
  parameters = trimmed(parameters);
  if (parameters.empty()) return 1000;
  if (parameters.size() < 3 || ascii_lower(parameters[0]) != 'q' || parameters[1] != '=') return 0;
  parameters.remove_prefix(2);
  if (parameters[0] != '0' && parameters[0] != '1') return 0;
  int quality = (parameters[0] - '0') * 1000;
  if (parameters.size() == 1) return quality;
  if (parameters[1] != '.' || parameters.size() > 5) return 0;
  int scale = 100;
  for (const char c : parameters.substr(2)) {
    if (c < '0' || c > '9') return 0;
    quality += (c - '0') * scale;
    scale /= 10;
  }
  return std::min(quality, 1000);
}

// IPv4 inside IPv6 is IPv4.
std::optional<AddressRange> read_address(std::string_view text) noexcept {
  std::array<char, INET6_ADDRSTRLEN> zero_ended{};
  if (text.empty() || text.size() >= zero_ended.size() || text.find('\0') != std::string_view::npos)
    return std::nullopt;
  std::copy(text.begin(), text.end(), zero_ended.begin());
  AddressRange range;
  if (::inet_pton(AF_INET, zero_ended.data(), range.bytes.data()) == 1) {
    range.bits = 32;
    return range;
  }
  if (::inet_pton(AF_INET6, zero_ended.data(), range.bytes.data()) != 1) return std::nullopt;
  static constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), range.bytes.begin())) {
    std::copy(range.bytes.begin() + 12, range.bytes.end(), range.bytes.begin());
    std::fill(range.bytes.begin() + 4, range.bytes.end(), 0);
    range.bits = 32;
    return range;
  }
  range.v6 = true;
  range.bits = 128;
  return range;
}

bool contains(const AddressRange& range, const AddressRange& address) noexcept {
  if (range.v6 != address.v6) return false;
  const size_t whole = range.bits / 8;
  if (std::memcmp(range.bytes.data(), address.bytes.data(), whole) != 0) return false;
  const unsigned rest = range.bits % 8;
  return rest == 0 || ((range.bytes[whole] ^ address.bytes[whole]) >> (8 - rest)) == 0;
}

// Whether `encoded` of a query stands for `plain`: %41 and + are decoded, a broken escape stands for itself.
bool decodes_to(std::string_view encoded, std::string_view plain) noexcept {
  size_t at = 0;
  for (size_t i = 0; i < encoded.size(); ++i, ++at) {
    if (at == plain.size()) return false;
    char c = encoded[i];
    if (c == '+') {
      c = ' ';
    } else if (c == '%' && i + 2 < encoded.size() && hex_digit(encoded[i + 1]) >= 0 && hex_digit(encoded[i + 2]) >= 0) {
      c = static_cast<char>(hex_digit(encoded[i + 1]) * 16 + hex_digit(encoded[i + 2]));
      i += 2;
    }
    if (c != plain[at]) return false;
  }
  return at == plain.size();
}

bool holds(const QueryHas& condition, std::string_view query) noexcept {
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    if (!decodes_to(pair.substr(0, equals), condition.name)) continue;
    const std::string_view value = pair.substr(std::min(equals + 1, pair.size()));
    switch (condition.want) {
      case QueryHas::Want::present: return true;
      case QueryHas::Want::equals:
        if (decodes_to(value, condition.equals)) return true;
        break;
      case QueryHas::Want::value:
        if (!value.empty()) return true;
        break;
      case QueryHas::Want::no_value:
        if (value.empty()) return true;
        break;
    }
  }
  return false;
}

// Uniform in [0, 2^64) and the same for a client each time it comes to this link.
uint64_t lot_of(const std::optional<AddressRange>& address, const Visit& visit) noexcept {
  // Devices change the lower half of an IPv6 address every day.
  if (!address) return hash64(visit.address, visit.link);
  return hash64({reinterpret_cast<const char*>(address->bytes.data()), address->v6 ? size_t{8} : size_t{4}},
                visit.link);
}

template <class Enum>
bool in_set(uint32_t set, Enum value) noexcept {
  return (set >> static_cast<unsigned>(value)) & 1;
}

}  // namespace

// The language among those of the rules that the visitor likes best; "" when there is none. Of two liked alike the
// first counts.
std::string_view Rules::language_of(std::string_view accept_language) const noexcept {
  accept_language = accept_language.substr(0, kMaxAcceptLanguage);
  std::string_view best;
  int best_quality = 0;
  while (!accept_language.empty()) {
    const size_t end = std::min(accept_language.find(','), accept_language.size());
    const std::string_view item = accept_language.substr(0, end);
    accept_language.remove_prefix(std::min(end + 1, accept_language.size()));
    const size_t semicolon = std::min(item.find(';'), item.size());
    const std::string_view language = trimmed(item.substr(0, semicolon));
    const int quality = quality_of(item.substr(std::min(semicolon + 1, item.size())));
    if (quality <= best_quality || !one_takes(languages_, language)) continue;
    best = language;
    best_quality = quality;
  }
  return best;
}

std::vector<std::string_view> Rules::urls() const {
  std::vector<std::string_view> urls;
  for (const Rule& rule : rules_)
    for (const RuleTarget& target : rule.targets) urls.push_back(target.url);
  return urls;
}

std::optional<Rules::Match> Rules::find(const Visit& visit) const noexcept {
  if (rules_.empty()) return std::nullopt;
  const std::string_view language = languages_.empty() ? std::string_view() : language_of(visit.accept_language);
  const std::optional<AddressRange> address = read_address(visit.address);
  struct Holds {
    const Visit& visit;
    std::string_view language;
    const std::optional<AddressRange>& address;

    bool operator()(const DeviceIs& is) const noexcept { return in_set(is.set, visit.agent.device); }
    bool operator()(const OsIs& is) const noexcept { return in_set(is.set, visit.agent.os); }
    bool operator()(const BrowserIs& is) const noexcept { return in_set(is.set, visit.agent.browser); }
    bool operator()(const LanguageIs& is) const noexcept { return !language.empty() && one_takes(is.tags, language); }
    bool operator()(const CountryIs& is) const noexcept {
      return visit.country.size() == 2 && std::find(is.codes.begin(), is.codes.end(),
                                                    std::array{visit.country[0], visit.country[1]}) != is.codes.end();
    }
    bool operator()(const AddressIn& in) const noexcept {
      return address && std::any_of(in.ranges.begin(), in.ranges.end(),
                                    [&](const AddressRange& range) { return contains(range, *address); });
    }
    bool operator()(const QueryHas& has) const noexcept { return holds(has, visit.query); }
    bool operator()(const DateIn& in) const noexcept {
      return (!in.from || visit.now >= *in.from) && (!in.before || visit.now < *in.before);
    }
  };
  const Holds condition_holds{visit, language, address};
  for (size_t i = 0; i < rules_.size(); ++i) {
    const Rule& rule = rules_[i];
    const bool all = std::all_of(rule.when.begin(), rule.when.end(),
                                 [&](const Condition& condition) { return std::visit(condition_holds, condition); });
    if (!all) continue;
    const bool split = rule.targets.size() > 1;
    size_t target = 0;
    if (split) {
      // The lot scaled to [0, weight).
      auto at = static_cast<uint64_t>((static_cast<unsigned __int128>(lot_of(address, visit)) * rule.weight) >> 64);
      while (at >= rule.targets[target].weight) at -= rule.targets[target++].weight;
    }
    return Match{i, split ? target + 1 : 0, rule.targets[target].url};
  }
  return std::nullopt;
}

std::optional<AddressRange> read_range(std::string_view text) noexcept {
  const size_t slash = text.find('/');
  std::optional<AddressRange> range = read_address(text.substr(0, slash));
  if (!range || slash == std::string_view::npos) return range;
  const std::string_view digits = text.substr(slash + 1);
  if (digits.empty() || digits.size() > 3 || (digits[0] == '0' && digits.size() > 1)) return std::nullopt;
  unsigned bits = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    bits = bits * 10 + static_cast<unsigned>(c - '0');
  }
  // A mapped IPv4 range has its length in IPv6 bits.
  if (!range->v6 && text.find(':') != std::string_view::npos) {
    if (bits < 96) return std::nullopt;
    bits -= 96;
  }
  if (bits > range->bits) return std::nullopt;
  range->bits = static_cast<uint8_t>(bits);
  for (unsigned bit = bits; bit < 128; ++bit)
    if ((range->bytes[bit / 8] >> (7 - bit % 8)) & 1) return std::nullopt;
  return range;
}

}  // namespace trellis::services::links
