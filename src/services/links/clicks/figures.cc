#include "services/links/clicks/figures.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <tuple>
#include <utility>

#include "base/varint.h"
#include "services/links/clicks/figures_reader.h"
#include "services/links/rules/rules.h"

namespace trellis::services::links {

namespace {

constexpr std::array<std::string_view, kDimensions> kNames = {
    "country", "referrer",   "device",     "os",           "browser",  "language",   "rule",
    "source",  "utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"};
constexpr uint8_t kVersion = 2;

// "2"; "2a", the first target of its split; "": none.
std::string text_of(const TakenRule& rule) {
  static_assert(kMaxSplit <= 26);
  if (rule.number == 0) return {};
  std::string text = std::to_string(rule.number);
  if (rule.target > 0) text += static_cast<char>('a' + rule.target - 1);
  return text;
}

auto place(const Figures::Count& count) { return std::tie(count.bots, count.dimension, count.value); }

}  // namespace

std::string_view to_string(Dimension dimension) noexcept { return kNames[static_cast<size_t>(dimension)]; }

std::optional<Dimension> dimension_of(std::string_view name) noexcept {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Dimension>(found - kNames.begin());
}

bool Figures::before(const Count& a, const Count& b) noexcept { return place(a) < place(b); }

void Figures::count(bool bots, Dimension dimension, std::string_view value) {
  if (value.empty()) return;
  const auto at = std::lower_bound(counts_.begin(), counts_.end(), std::tie(bots, dimension, value),
                                   [](const Count& count, const auto& wanted) {
                                     return std::tuple(count.bots, count.dimension, std::string_view(count.value)) <
                                            std::tuple(std::get<0>(wanted), std::get<1>(wanted), std::get<2>(wanted));
                                   });
  if (at != counts_.end() && at->bots == bots && at->dimension == dimension && at->value == value) {
    ++at->clicks;
    return;
  }
  counts_.insert(at, Count{bots, dimension, std::string(value), 1});
}

void Figures::add(const Click& click) {
  const bool bot = click.agent.is_bot();
  const size_t before = counts_.size();
  ++(bot ? bots_ : people_);
  count(bot, Dimension::country, click.country_code());
  count(bot, Dimension::referrer, click.referrer);
  if (!bot) {
    count(bot, Dimension::device, to_string(click.agent.device));
    count(bot, Dimension::os, to_string(click.agent.os));
    count(bot, Dimension::browser, to_string(click.agent.browser));
    visitors_.add(click.visitor);
  }
  count(bot, Dimension::language, click.language);
  count(bot, Dimension::rule, text_of(click.rule));
  count(bot, Dimension::source, click.scan ? "qr" : "link");
  if (!click.utm.empty()) {
    count(bot, Dimension::utm_source, click.utm.source);
    count(bot, Dimension::utm_medium, click.utm.medium);
    count(bot, Dimension::utm_campaign, click.utm.campaign);
    count(bot, Dimension::utm_term, click.utm.term);
    count(bot, Dimension::utm_content, click.utm.content);
  }
  if (counts_.size() / kMaxValues > before / kMaxValues) fold_rare();
}

void Figures::merge(const Figures& other) {
  people_ += other.people_;
  bots_ += other.bots_;
  visitors_.merge(other.visitors_);
  std::vector<Count> all;
  all.reserve(counts_.size() + other.counts_.size());
  auto mine = counts_.begin();
  for (const Count& theirs : other.counts_) {
    while (mine != counts_.end() && place(*mine) < place(theirs)) all.push_back(std::move(*mine++));
    if (mine != counts_.end() && place(*mine) == place(theirs)) {
      all.push_back(std::move(*mine++));
      all.back().clicks += theirs.clicks;
    } else {
      all.push_back(theirs);
    }
  }
  std::move(mine, counts_.end(), std::back_inserter(all));
  counts_ = std::move(all);
  if (counts_.size() > kMaxValues) fold_rare();
}

// Of every dimension with too many values the rare ones become one sum.
void Figures::fold_rare() {
  std::vector<Count> kept;
  for (size_t from = 0; from < counts_.size();) {
    size_t to = from;
    while (to < counts_.size() && counts_[to].bots == counts_[from].bots &&
           counts_[to].dimension == counts_[from].dimension) {
      ++to;
    }
    if (to - from <= kMaxValues) {
      std::move(counts_.begin() + static_cast<ptrdiff_t>(from), counts_.begin() + static_cast<ptrdiff_t>(to),
                std::back_inserter(kept));
      from = to;
      continue;
    }
    const auto begin = counts_.begin() + static_cast<ptrdiff_t>(from);
    const auto end = counts_.begin() + static_cast<ptrdiff_t>(to);
    const auto cut = begin + static_cast<ptrdiff_t>(kMaxValues / 2);
    // The sum so far stays a sum, whatever its size.
    std::sort(begin, end, [](const Count& a, const Count& b) {
      return std::tuple(!a.value.empty(), b.clicks, std::string_view(a.value)) <
             std::tuple(!b.value.empty(), a.clicks, std::string_view(b.value));
    });
    Count rest{begin->bots, begin->dimension, "", 0};
    for (auto at = cut; at != end; ++at) rest.clicks += at->clicks;
    if (begin->value.empty()) {
      begin->clicks += rest.clicks;
    } else {
      kept.push_back(std::move(rest));
    }
    const auto first = static_cast<ptrdiff_t>(kept.size());
    std::move(begin, cut, std::back_inserter(kept));
    std::sort(kept.begin() + first, kept.end(), [](const Count& a, const Count& b) { return a.value < b.value; });
    from = to;
  }
  counts_ = std::move(kept);
}

void Figures::append_to(std::string& out) const {
  out += static_cast<char>(kVersion);
  append_varint(out, people_);
  append_varint(out, bots_);
  if (people_ > 0) append_varint(out, visitors_.count());
  append_varint(out, counts_.size());
  for (const Count& count : counts_) {
    out += static_cast<char>(static_cast<uint8_t>(count.dimension) << 1 | (count.bots ? 1 : 0));
    append_varint(out, count.value.size());
    out += count.value;
    append_varint(out, count.clicks);
  }
  if (people_ > 0) visitors_.append_to(out);
}

Result<Figures> Figures::read(std::string_view bytes) {
  FiguresReader in(bytes);
  Figures figures;
  figures.people_ = in.totals().people;
  figures.bots_ = in.totals().bots;
  figures.counts_.reserve(in.counts());
  FiguresReader::Count count;
  while (in.next(count)) {
    Count one{count.bots, static_cast<Dimension>(count.dimension), std::string(count.value), count.clicks};
    if (!figures.counts_.empty() && !before(figures.counts_.back(), one)) return fail(damaged_figures());
    figures.counts_.push_back(std::move(one));
  }
  const std::string_view sketch = in.sketch();
  if (in.failed()) return fail(damaged_figures());
  if (figures.people_ > 0) {
    TRY(figures.visitors_, UniqueVisitors::read(sketch));
  }
  return figures;
}

}  // namespace trellis::services::links
