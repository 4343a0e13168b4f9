#include "services/links/clicks/click.h"

#include <algorithm>
#include <utility>

#include "base/varint.h"
#include "services/links/rules/rules.h"

namespace trellis::services::links {

namespace {

constexpr uint8_t kVersion = 1;
constexpr size_t kMaxAgents = 4096;
constexpr size_t kMaxText = 1024;
constexpr uint8_t kScan = 1;
constexpr uint8_t kUtm = 2;
constexpr uint8_t kDomain = 4;
constexpr int64_t kLatest = 9'000'000'000'000;  // milliseconds since 1970

Error damaged() { return Error(Code::data_loss, "a batch of clicks is damaged").from(Side::self); }

// As CountryDatabase gives them; "": unknown.
bool is_country(std::string_view code) noexcept {
  return code.empty() || (code.size() == 2 && std::ranges::all_of(code, [](char c) {
                            return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
                          }));
}

// Over the whole range, as numbers that come from elsewhere may need it.
int64_t difference(int64_t a, int64_t b) noexcept {
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}

uint64_t number_of(const TakenRule& rule) noexcept { return rule.number | unsigned{rule.target} << 8; }

bool is_rule(uint64_t number) noexcept {
  const uint64_t rule = number & 0xff;
  const uint64_t target = number >> 8;
  return rule <= kMaxRules && target <= (rule == 0 ? 0 : kMaxSplit);
}

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Texts by number, each once, in the order of their first use. Number 0 is "".
class TextTable {
 public:
  uint64_t number_of(std::string_view text) {
    if (text.empty()) return 0;
    const auto [at, added] = numbers_.try_emplace(text, texts_.size() + 1);
    if (added) texts_.push_back(text);
    return at->second;
  }
  void append_to(std::string& out) const {
    append_varint(out, texts_.size());
    for (const std::string_view text : texts_) {
      append_varint(out, text.size());
      out += text;
    }
  }

 private:
  std::unordered_map<std::string_view, uint64_t> numbers_;
  std::vector<std::string_view> texts_;
};

}  // namespace

std::string first_language(std::string_view accept_language) {
  size_t begin = 0;
  while (begin < accept_language.size() && (accept_language[begin] == ' ' || accept_language[begin] == ',')) ++begin;
  size_t end = begin;
  while (end < accept_language.size() && is_letter(accept_language[end])) ++end;
  if (end - begin < 2 || end - begin > 3) return {};
  std::string language(accept_language.substr(begin, end - begin));
  for (char& c : language) c = static_cast<char>(c | 0x20);
  return language;
}

Click ClickReader::read(const RawClick& raw) {
  Click click;
  click.link = raw.link;
  click.at = std::clamp<int64_t>(raw.at, 0, kLatest);
  click.rule = raw.rule;
  click.scan = raw.scan;
  click.domain = raw.domain;
  auto agent = agents_.find(raw.agent);
  if (agent == agents_.end()) {
    if (agents_.size() >= kMaxAgents) agents_.clear();
    agent = agents_.emplace(std::string(raw.agent), read_user_agent(raw.agent)).first;
  }
  click.agent = agent->second;
  if (countries_ && !raw.address.empty()) {
    if (const Result<net::Place> place = countries_->find(raw.address)) click.country = place->country;
  }
  click.language = first_language(raw.language);
  if (!raw.referrer.empty()) click.referrer = referrer_host(raw.referrer);
  if (raw.query.find("utm_") != std::string_view::npos) click.utm = read_utm(raw.query);
  click.visitor = visitor_hash(salt_, raw.address, raw.agent);
  return click;
}

std::string write_clicks(std::span<const Click> clicks) {
  TextTable texts;
  std::string body;
  body.reserve(clicks.size() * 24);
  int64_t link = 0;
  int64_t at = 0;
  for (const Click& click : clicks) {
    append_varint(body, fold_sign(difference(click.link, link)));
    append_varint(body, fold_sign(difference(click.at, at)));
    link = click.link;
    at = click.at;
    const bool utm = !click.utm.empty();
    body += static_cast<char>((click.scan ? kScan : 0) | (utm ? kUtm : 0) | (click.domain != 0 ? kDomain : 0));
    body += static_cast<char>(click.agent.device);
    body += static_cast<char>(click.agent.os);
    body += static_cast<char>(click.agent.browser);
    append_varint(body, number_of(click.rule));
    if (click.domain != 0) append_varint(body, click.domain);
    append_varint(body, texts.number_of(click.country_code()));
    append_varint(body, texts.number_of(click.language));
    append_varint(body, texts.number_of(click.referrer));
    if (utm) {
      for (const std::string* text :
           {&click.utm.source, &click.utm.medium, &click.utm.campaign, &click.utm.term, &click.utm.content}) {
        append_varint(body, texts.number_of(*text));
      }
    }
    for (unsigned shift = 0; shift < 64; shift += 8) body += static_cast<char>(click.visitor >> shift);
  }
  std::string out;
  out.reserve(body.size() + 1024);
  out += static_cast<char>(kVersion);
  texts.append_to(out);
  append_varint(out, clicks.size());
  out += body;
  return out;
}

Result<std::vector<Click>> read_clicks(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.octet() != kVersion) return fail(damaged());
  const uint64_t text_count = in.varint();
  if (in.failed() || text_count > in.left()) return fail(damaged());
  std::vector<std::string_view> texts{std::string_view()};
  texts.reserve(text_count + 1);
  for (uint64_t i = 0; i < text_count; ++i) {
    const uint64_t size = in.varint();
    const std::string_view text = in.bytes(size);
    if (in.failed() || size == 0 || size > kMaxText) return fail(damaged());
    texts.push_back(text);
  }
  bool bad = false;
  const auto text = [&]() -> std::string_view {
    const uint64_t number = in.varint();
    if (number < texts.size()) return texts[number];
    bad = true;
    return {};
  };
  const uint64_t count = in.varint();
  if (in.failed() || count > kMaxClicksABatch) return fail(damaged());
  std::vector<Click> clicks;
  clicks.reserve(count);
  uint64_t link = 0;
  uint64_t at = 0;
  for (uint64_t i = 0; i < count && !in.failed() && !bad; ++i) {
    Click click;
    link += static_cast<uint64_t>(unfold_sign(in.varint()));
    at += static_cast<uint64_t>(unfold_sign(in.varint()));
    click.link = static_cast<int64_t>(link);
    click.at = static_cast<int64_t>(at);
    const uint8_t flags = in.octet();
    const uint8_t device = in.octet();
    const uint8_t os = in.octet();
    const uint8_t browser = in.octet();
    const uint64_t rule = in.varint();
    const bool has_domain = (flags & kDomain) != 0;
    const uint64_t domain = has_domain ? in.varint() : 0;
    bad = bad || flags > (kScan | kUtm | kDomain) || domain > UINT32_MAX || (has_domain && domain == 0) ||
          device >= kDevices || os >= kSystems || browser >= kBrowsers || !is_rule(rule) || click.at < 0 ||
          click.at > kLatest;
    if (bad) break;
    click.scan = (flags & kScan) != 0;
    click.agent = {static_cast<Device>(device), static_cast<Os>(os), static_cast<Browser>(browser)};
    click.rule = {static_cast<uint8_t>(rule), static_cast<uint8_t>(rule >> 8)};
    click.domain = static_cast<uint32_t>(domain);
    const std::string_view country = text();
    bad = bad || !is_country(country);
    if (!bad && !country.empty()) click.country = {country[0], country[1]};
    click.language = text();
    click.referrer = text();
    if ((flags & kUtm) != 0) {
      for (std::string* to :
           {&click.utm.source, &click.utm.medium, &click.utm.campaign, &click.utm.term, &click.utm.content}) {
        *to = text();
      }
    }
    for (unsigned shift = 0; shift < 64; shift += 8) click.visitor |= static_cast<uint64_t>(in.octet()) << shift;
    clicks.push_back(std::move(click));
  }
  if (bad || in.failed() || !in.at_end()) return fail(damaged());
  return clicks;
}

}  // namespace trellis::services::links
