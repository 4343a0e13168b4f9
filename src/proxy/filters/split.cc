#include "proxy/filters/split.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/metrics.h"
#include "http/explain.h"
#include "proxy/field_rules.h"
#include "runtime/loop.h"

namespace trellis::proxy {

namespace {

constexpr std::string_view kChance = "random";

// In points; a share that lies between two of them is refused when the configuration is read.
uint32_t points_of(double share) noexcept { return static_cast<uint32_t>(std::lround(share * SplitPlan::kPoints)); }
bool is_whole(double share) noexcept { return std::abs(share * SplitPlan::kPoints - points_of(share)) < 1e-6; }

bool is_key(std::string_view key) noexcept {
  if (key == "client_address" || key == "path" || key == kChance) return true;
  for (const std::string_view kind : {"header.", "cookie.", "query."}) {
    if (key.starts_with(kind)) return is_field_name(key.substr(kind.size()));
  }
  return false;
}

std::optional<uint32_t> read_point(std::string_view text) noexcept {
  uint32_t point = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), point);
  if (error != std::errc() || end != text.data() + text.size() || point >= SplitPlan::kPoints) return std::nullopt;
  return point;
}

}  // namespace

config::Fields<SplitWayConfig> SplitWayConfig::fields() {
  return {{"name", "name in logs and metrics", &SplitWayConfig::name,
           config::default_is("that of the upstream or service")},
          {"share", "of the requests, in steps of 0.01 %; 0%: only those that `when` names", &SplitWayConfig::share,
           config::percent()},
          {"to", "where they go", &SplitWayConfig::to, config::kRequired},
          {"when", "requests that go this way whatever their key; of several ways the first one that holds",
           &SplitWayConfig::when}};
}

void SplitWayConfig::check(config::Checker& at) const {
  if (!is_whole(share)) at.problem("share", "shares go in steps of 0.01 %");
  if (label().empty()) at.problem("", "a way to such a target needs a name", "name: canary");
  if (label() == SplitFilter::kRest) at.problem("name", "`rest` is what the route's own target is called");
  if (!is_field_value(label()) || label().size() > 64) at.problem("name", "is too long or holds control characters");
}

config::Fields<SplitStickyConfig> SplitStickyConfig::fields() {
  return {{"cookie", "its name", &SplitStickyConfig::cookie, config::kRequired},
          {"for", "how long a client keeps it", &SplitStickyConfig::lasts,
           config::range(std::chrono::seconds(1), std::chrono::hours(24 * 365))}};
}

void SplitStickyConfig::check(config::Checker& at) const {
  if (!is_field_name(cookie)) at.problem("cookie", "is no name of a cookie");
}

config::Fields<SplitConfig> SplitConfig::fields() {
  return {
      {"key", "what keeps a client on its way: client_address, header.NAME, cookie.NAME, query.NAME, path or random",
       &SplitConfig::key},
      {"sticky", "a cookie that keeps clients without a key on the way that chance gave them", &SplitConfig::sticky},
      {"ways", "up to 8, or 9 that leave nothing; what they leave goes to the route's own target as `rest`",
       &SplitConfig::ways, config::kRequired}};
}

void SplitConfig::check(config::Checker& at) const {
  if (!is_key(key))
    at.problem("key", "no such key", "client_address, header.NAME, cookie.NAME, query.NAME, path or random");
  uint64_t sum = 0;
  for (size_t i = 0; i < ways.size(); ++i) {
    sum += points_of(ways[i].share);
    const bool twice = std::any_of(ways.begin(), ways.begin() + static_cast<ptrdiff_t>(i),
                                   [&](const SplitWayConfig& earlier) { return earlier.label() == ways[i].label(); });
    if (twice) at.problem("ways[" + std::to_string(i) + "]", "`" + ways[i].label() + "` stands twice: give it a name");
  }
  if (sum > SplitPlan::kPoints) at.problem("ways", "the shares are more than 100 % together");
  const size_t others = ways.size() - (sum == SplitPlan::kPoints ? 1 : 0);
  if (others > SplitPlan::kMaxOthers) at.problem("ways", "too many ways");
}

bool SplitConfig::is_told_by(const cache::KeyConfig& told) const {
  // A key that a request may lack leaves it to chance.
  const bool by_share = std::ranges::any_of(ways, [](const SplitWayConfig& way) { return way.share > 0; });
  if (by_share && key != "path") return false;
  return std::ranges::all_of(ways, [&told](const SplitWayConfig& way) {
    if (!way.when) return true;
    const auto header = way.when->header_name();
    const auto cookie = way.when->cookie_name();
    const bool knows_header = header.empty() || std::ranges::any_of(told.headers, [&](const std::string& each) {
                                return http::iequal(each, header);
                              });
    return knows_header && (cookie.empty() || std::ranges::find(told.cookies, cookie) != told.cookies.end());
  });
}

SplitFilter::SplitFilter(const SplitConfig& config, std::vector<Way> ways, const SplitPlan& plan)
    : ways_(std::move(ways)), plan_(plan) {
  if (config.key != kChance) key_.emplace(config.key);
  if (config.sticky) {
    const auto age = std::chrono::duration_cast<std::chrono::seconds>(config.sticky->lasts).count();
    sticky_ = Sticky{config.sticky->cookie, "; Path=/; Max-Age=" + std::to_string(age) + "; HttpOnly; SameSite=Lax"};
  }
}

Result<std::unique_ptr<SplitFilter>> SplitFilter::make(const SplitConfig& config, const FilterParts& parts) {
  const auto counter = [&](const std::string& way) {
    return &parts.metrics.counter("trellis_split_requests_total", "requests by the way that a split gave them",
                                  {{"route", parts.route}, {"way", way}});
  };
  std::vector<Way> ways;
  std::vector<uint32_t> others;
  const uint32_t sum = std::accumulate(config.ways.begin(), config.ways.end(), 0U,
                                       [](uint32_t all, const auto& way) { return all + points_of(way.share); });
  // The first is the one that has what the others leave: the route's own target, unless the ways leave nothing for it.
  if (sum < SplitPlan::kPoints)
    ways.push_back({std::string(kRest), nullptr, std::nullopt, counter(std::string(kRest))});
  for (const SplitWayConfig& way : config.ways) {
    TRY(std::shared_ptr<http::Handler> target, parts.make_target(way.to));
    if (!ways.empty()) others.push_back(points_of(way.share));
    ways.push_back({way.label(), std::move(target), way.when ? std::optional<When>(*way.when) : std::nullopt,
                    counter(way.label())});
  }
  return std::unique_ptr<SplitFilter>(new SplitFilter(config, std::move(ways), SplitPlan(others)));
}

std::optional<size_t> SplitFilter::forced(const http::Request& request) const noexcept {
  for (size_t i = 0; i < ways_.size(); ++i) {
    if (ways_[i].when && ways_[i].when->holds(request)) return i;
  }
  return std::nullopt;
}

Task<Result<http::Response>> SplitFilter::go(const Way& way, http::Request& request, http::RequestContext& context,
                                             Next next) {
  context.way = way.name;
  way.requests->add();
  if (!way.target) return next(request, context);
  if (context.explain) [[unlikely]]
    ++context.explain->reached;  // a target, too
  return way.target->handle(request, context);
}

Task<Result<http::Response>> SplitFilter::go_with_cookie(const Way& way, uint32_t point, http::Request& request,
                                                         http::RequestContext& context, Next next) {
  CO_TRY(http::Response response, co_await go(way, request, context, next));
  char digits[8];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), point).ptr;
  response.fields.add(http::FieldId::set_cookie, context.arena.concat({sticky_->cookie,
                                                                       "=",
                                                                       {digits, static_cast<size_t>(end - digits)},
                                                                       sticky_->rest,
                                                                       request.scheme == "https" ? "; Secure" : ""}));
  co_return response;
}

Task<Result<http::Response>> SplitFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  const auto tell = [&](const Way& way, std::string_view why) -> const Way& {
    if (context.explain) [[unlikely]]
      context.explain->add("filter", "split: way " + way.name + ", " + std::string(why));
    return way;
  };
  if (const auto way = forced(request)) return go(tell(ways_[*way], "its `when` holds"), request, context, next);
  if (key_) {
    if (const auto hash = key_->of(request, context)) {
      const Way& way = ways_[plan_.way_of(SplitPlan::point_of(*hash))];
      return go(tell(way, "by the key"), request, context, next);
    }
  }
  if (sticky_) {
    const auto cookie = upstream::cookie_of(request, sticky_->cookie);
    if (const auto point = cookie ? read_point(*cookie) : std::nullopt)
      return go(tell(ways_[plan_.way_of(*point)], "by the cookie"), request, context, next);
  }
  const auto point = static_cast<uint32_t>(context.loop.rng().below(SplitPlan::kPoints));
  const Way& way = tell(ways_[plan_.way_of(point)], "by chance");
  return sticky_ ? go_with_cookie(way, point, request, context, next) : go(way, request, context, next);
}

}  // namespace trellis::proxy
