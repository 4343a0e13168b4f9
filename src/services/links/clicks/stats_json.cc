#include "services/links/clicks/stats_json.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <tuple>

#include "base/json.h"
#include "http/target.h"

namespace trellis::services::links {

namespace {

constexpr size_t kMaxLimit = 500;

std::unexpected<Fault> fault(std::string_view field, std::string detail) {
  return std::unexpected(Fault{std::string(field.substr(0, 64)), std::move(detail)});
}

int64_t usual_points(Span step) noexcept { return step == Span::minute ? 60 : step == Span::hour ? 48 : 30; }

// Counts of one dimension, of people or of programs: they lie together.
struct InPart {
  using Part = std::pair<bool, Dimension>;
  static Part of(const Figures::Count& count) noexcept { return {count.bots, count.dimension}; }
  bool operator()(const Figures::Count& count, const Part& part) const noexcept { return of(count) < part; }
  bool operator()(const Part& part, const Figures::Count& count) const noexcept { return part < of(count); }
};

// One entry a value.
void add_equal(std::vector<std::pair<std::string_view, uint64_t>>& values) {
  std::sort(values.begin(), values.end());
  size_t kept = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (kept > 0 && values[kept - 1].first == values[i].first) {
      values[kept - 1].second += values[i].second;
    } else {
      values[kept++] = values[i];
    }
  }
  values.resize(kept);
}

}  // namespace

std::expected<StatsQuestion, Fault> read_stats_question(std::string_view query, int64_t now, Arena& arena) {
  StatsQuestion question;
  std::optional<int64_t> from;
  std::optional<int64_t> to;
  while (const auto parameter = http::next_parameter(query)) {
    const auto name = http::decode_component(parameter->key, arena, true);
    const auto value = http::decode_component(parameter->value, arena, true);
    if (!name || !value) return fault("", "The query is not percent-encoded as it should be.");
    if (*name == "from" || *name == "to") {
      std::optional<int64_t>& time = *name == "from" ? from : to;
      time = parse_time_or_date(*value);
      if (!time) return fault(*name, "A time is written as in 2030-01-31T12:00:00Z or 2030-01-31.");
    } else if (*name == "step") {
      const std::optional<Span> step = span_of(*value);
      if (!step) return fault("step", "The step is minute, hour or day.");
      question.step = *step;
    } else if (*name == "by") {
      std::string_view rest = *value;
      while (!rest.empty()) {
        const size_t end = std::min(rest.find(','), rest.size());
        const std::optional<Dimension> dimension = dimension_of(rest.substr(0, end));
        if (!dimension) {
          return fault("by",
                       "The dimensions are country, referrer, device, os, browser, language, rule, source, utm_source, "
                       "utm_medium, utm_campaign, utm_term and utm_content.");
        }
        if (std::find(question.by.begin(), question.by.end(), *dimension) == question.by.end())
          question.by.push_back(*dimension);
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    } else if (*name == "bots") {
      if (*value == "exclude") {
        question.bots = StatsQuestion::Bots::exclude;
      } else if (*value == "only") {
        question.bots = StatsQuestion::Bots::only;
      } else if (*value == "all") {
        question.bots = StatsQuestion::Bots::all;
      } else {
        return fault("bots", "Bots are exclude, only or all.");
      }
    } else if (*name == "domain") {
      if (value->empty()) return fault("domain", "The domain is a host such as go.example.com.");
      question.domain = *value;
    } else if (*name == "limit") {
      const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), question.limit);
      if (error != std::errc() || end != value->data() + value->size() || question.limit < 1 ||
          question.limit > kMaxLimit) {
        return fault("limit", "The limit is a number from 1 to 500.");
      }
    } else {
      return std::unexpected(Fault{std::string(name->substr(0, 64)),
                                   "There is from, to, step, by, bots, limit and domain.", "unknown_parameter"});
    }
  }
  const int64_t step = millis_of(question.step);
  question.to = to ? (*to + step - 1) / step : now / step + 1;
  question.from = from ? *from / step : std::max<int64_t>(0, question.to - usual_points(question.step));
  if (question.from >= question.to) return fault("from", "It must lie before to.");
  if (question.to - question.from > kMostPoints) {
    return fault("from", "These are more than 3,000 steps; take a longer step or a shorter time.");
  }
  if (question.by.empty()) {
    for (size_t i = 0; i < kDimensions; ++i) question.by.push_back(static_cast<Dimension>(i));
  }
  return question;
}

std::optional<int64_t> parse_time_or_date(std::string_view text) {
  if (text.size() == 10) return parse_time(std::string(text) + "T00:00:00Z");
  return parse_time(text);
}

DimensionTable dimension_table(const Figures& figures, Dimension dimension, StatsQuestion::Bots bots, size_t limit) {
  using Bots = StatsQuestion::Bots;
  const uint64_t asked = (bots == Bots::only ? 0 : figures.people()) + (bots == Bots::exclude ? 0 : figures.bots());
  DimensionTable table;
  uint64_t known = 0;
  const auto take = [&](bool of_bots) {
    const auto [begin, end] =
        std::equal_range(figures.counts().begin(), figures.counts().end(), std::pair(of_bots, dimension), InPart());
    for (auto count = begin; count != end; ++count) {
      known += count->clicks;
      if (count->value.empty()) {
        table.other += count->clicks;
      } else {
        table.values.emplace_back(count->value, count->clicks);
      }
    }
  };
  if (bots != Bots::only) take(false);
  if (bots != Bots::exclude) take(true);
  if (bots == Bots::all) add_equal(table.values);
  const auto shown = table.values.begin() + static_cast<ptrdiff_t>(std::min(limit, table.values.size()));
  std::partial_sort(table.values.begin(), shown, table.values.end(), [](const auto& a, const auto& b) {
    return std::tie(b.second, a.first) < std::tie(a.second, b.first);
  });
  for (auto rest = shown; rest != table.values.end(); ++rest) table.other += rest->second;
  table.values.erase(shown, table.values.end());
  table.none = asked - std::min(asked, known);
  return table;
}

void append_stats(std::string& out, const StatsQuestion& question, const FiguresRange& range, std::string_view code) {
  const Figures& all = range.all;
  const int64_t step = millis_of(question.step);
  JsonWriter json(out);
  json.begin_object();
  if (!code.empty()) json.member("code", code);
  json.member("from", format_time(question.from * step)).member("to", format_time(question.to * step));
  json.member("step", to_string(question.step));
  json.member("clicks", all.people()).member("bots", all.bots()).member("visitors", all.visitors());
  json.key("series").begin_array();
  for (const FiguresPoint& point : range.points) {
    json.begin_object().member("at", format_time(point.number * step)).member("clicks", point.totals.people);
    json.member("bots", point.totals.bots).member("visitors", point.totals.visitors).end_object();
  }
  json.end_array();
  json.key("by").begin_object();
  for (const Dimension dimension : question.by) {
    const DimensionTable table = dimension_table(all, dimension, question.bots, question.limit);
    json.key(to_string(dimension)).begin_object().key("values").begin_array();
    for (const auto& [value, clicks] : table.values)
      json.begin_object().member("value", value).member("clicks", clicks).end_object();
    json.end_array().member("other", table.other).member("none", table.none).end_object();
  }
  json.end_object().end_object();
}

}  // namespace trellis::services::links
