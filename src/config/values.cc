#include "config/values.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <span>

namespace trellis::config {
namespace {

using Wide = __int128;

struct Unit {
  std::string_view name;
  uint64_t factor;
};
constexpr std::array<Unit, 7> kTimeUnits{{{"ns", 1},
                                          {"us", 1'000},
                                          {"ms", 1'000'000},
                                          {"s", 1'000'000'000},
                                          {"m", 60'000'000'000},
                                          {"h", 3'600'000'000'000},
                                          {"d", 86'400'000'000'000}}};
constexpr std::array<Unit, 11> kSizeUnits{{{"B", 1},
                                           {"KiB", kKiB},
                                           {"MiB", kMiB},
                                           {"GiB", kGiB},
                                           {"TiB", kTiB},
                                           {"KB", 1'000},
                                           {"kB", 1'000},
                                           {"MB", 1'000'000},
                                           {"GB", 1'000'000'000},
                                           {"TB", 1'000'000'000'000},
                                           {"PiB", kTiB << 10}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::unexpected<Error> wrong(std::string what) { return fail(Code::invalid_argument, std::move(what)); }

// "1.5s": exact, in the smallest unit; a fraction below it is refused rather than rounded.
Result<uint64_t> parse_quantity(std::string_view text, std::span<const Unit> units, uint64_t limit,
                                std::string_view unit_names) {
  if (text == "0") return 0;
  size_t at = 0;
  Wide digits = 0;
  Wide scale = 1;
  bool fraction = false;
  size_t count = 0;
  for (; at < text.size() && (is_digit(text[at]) || (text[at] == '.' && !fraction)); ++at) {
    if (text[at] == '.') {
      fraction = true;
      count = 0;
      if (at == 0) return wrong("a digit is missing before the point");
      continue;
    }
    if (digits > Wide{limit} * 1000) return wrong("too large");
    if (fraction && ++count > 9) return wrong("too many digits after the point");
    digits = digits * 10 + (text[at] - '0');
    if (fraction) scale *= 10;
  }
  if (at == 0) return wrong(text.starts_with('-') ? "may not be negative" : "");
  if (fraction && count == 0) return wrong("a digit is missing after the point");
  const std::string_view name = text.substr(at);
  if (name.empty()) return wrong("the unit is missing: " + std::string(unit_names));
  const auto unit = std::ranges::find(units, name, &Unit::name);
  if (unit == units.end()) return wrong("unknown unit; use " + std::string(unit_names));
  const Wide limit_of_digits = Wide{limit} * scale / unit->factor;
  if (digits > limit_of_digits) return wrong("too large");
  const Wide value = digits * unit->factor;
  if (value % scale != 0) return wrong("too fine");
  return static_cast<uint64_t>(value / scale);
}

bool valid_name(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  if (host.ends_with('.')) host.remove_suffix(1);
  size_t label = 0;
  bool only_digits = true;
  for (size_t i = 0; i <= host.size(); ++i) {
    if (i == host.size() || host[i] == '.') {
      if (label == 0 || label > 63 || host[i - 1] == '-' || host[i - label] == '-') return false;
      if (i < host.size()) only_digits = true;
      label = 0;
      continue;
    }
    const char c = host[i];
    if (!is_digit(c)) only_digits = false;
    if (!(is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_')) return false;
    ++label;
  }
  return !only_digits;  // a last label of digits is a damaged IPv4 address
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  constexpr auto kLimit = static_cast<uint64_t>(Duration::max().count());
  TRY(const uint64_t value, parse_quantity(text, kTimeUnits, kLimit, "ms, s, m, h or d"));
  return Duration(static_cast<int64_t>(value));
}

std::string format_duration(Duration value) {
  if (value == Duration::zero()) return "0";
  const auto count = static_cast<uint64_t>(value < Duration::zero() ? -value.count() : value.count());
  const std::string sign = value < Duration::zero() ? "-" : "";
  for (auto unit = kTimeUnits.rbegin(); unit != kTimeUnits.rend(); ++unit) {
    if (count % unit->factor == 0) return sign + fmt::format("{}{}", count / unit->factor, unit->name);
  }
  return sign + fmt::format("{}ns", count);
}

Result<uint64_t> parse_size(std::string_view text) {
  return parse_quantity(text, kSizeUnits, std::numeric_limits<uint64_t>::max(), "B, KiB, MiB or GiB");
}

std::string format_size(uint64_t value) {
  if (value == 0) return "0";
  for (const Unit& unit : {Unit{"TiB", kTiB}, Unit{"GiB", kGiB}, Unit{"MiB", kMiB}, Unit{"KiB", kKiB}}) {
    if (value % unit.factor == 0) return fmt::format("{}{}", value / unit.factor, unit.name);
  }
  for (const Unit& unit : {Unit{"GB", 1'000'000'000}, Unit{"MB", 1'000'000}, Unit{"KB", 1'000}}) {
    if (value % unit.factor == 0) return fmt::format("{}{}", value / unit.factor, unit.name);
  }
  return fmt::format("{}B", value);
}

Result<double> parse_number(std::string_view text) {
  // from_chars would take "inf", "nan" and a missing digit before the point.
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || !is_digit(digits.front()) || text.size() > 64) return wrong("");
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc::result_out_of_range) return wrong("too large");
  if (error != std::errc() || stop != end || !std::isfinite(value)) return wrong("");
  return value;
}

std::string format_number(double value) { return fmt::format("{}", value); }

Result<double> parse_percent(std::string_view text) {
  if (!text.ends_with('%')) return wrong("the % is missing");
  text.remove_suffix(1);
  if (text.empty() || !std::ranges::all_of(text, [](char c) { return is_digit(c) || c == '.' || c == '-'; })) {
    return wrong("");
  }
  return parse_number(std::string(text) + "e-2");  // one rounding only: 99.95% is exactly 0.9995
}

std::string format_percent(double value) {
  std::string text = fmt::format("{:.6f}", value * 100);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text + "%";
}

Result<DurationRange> DurationRange::from_text(std::string_view text) {
  const size_t dots = text.find("..");
  if (dots == std::string_view::npos) return wrong("the .. is missing");
  TRY(const Duration low, parse_duration(text.substr(0, dots)));
  TRY(const Duration high, parse_duration(text.substr(dots + 2)));
  if (low > high) return wrong("the first must not be above the second");
  return DurationRange{low, high};
}

std::string DurationRange::to_text() const { return format_duration(low) + ".." + format_duration(high); }

Result<Rate> Rate::from_text(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return wrong("the time is missing, as in 100/s");
  TRY(const double count, parse_number(text.substr(0, slash)));
  if (count < 0) return wrong("may not be negative");
  std::string per(text.substr(slash + 1));
  if (per == "min") per = "m";
  if (per == "sec") per = "s";
  if (per == "hour") per = "h";
  if (per == "day") per = "d";
  if (!per.empty() && !is_digit(per.front())) per.insert(0, "1");
  TRY(const Duration span, parse_duration(per));
  if (span <= Duration::zero()) return wrong("the time must be above 0");
  return Rate{count, span};
}

std::string Rate::to_text() const {
  std::string unit = format_duration(per);
  if (per == std::chrono::minutes(1)) unit = "min";
  if (unit.size() == 2 && unit.front() == '1') unit.erase(0, 1);
  return format_number(count) + "/" + unit;
}

Result<HostPort> HostPort::from_text(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return wrong("");
  const size_t colon = text.rfind(':');
  const size_t bracket = text.rfind(']');
  if (colon == std::string_view::npos || (bracket != std::string_view::npos && colon < bracket)) {
    return wrong("the port is missing");
  }
  const std::string_view digits = text.substr(colon + 1);
  unsigned port = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, port);
  if (digits.empty() || digits.size() > 5 || error != std::errc() || stop != end || port > 65535) {
    return wrong("the port must be 0..65535");
  }
  HostPort out;
  out.port = static_cast<uint16_t>(port);
  std::string_view host = text.substr(0, colon);
  if (host.empty()) return wrong("the host is missing");
  if (host.starts_with('[')) {
    if (!host.ends_with(']')) return wrong("not a valid IPv6 address");
    out.host = std::string(host.substr(1, host.size() - 2));
    out.form = Form::ipv6;
    in6_addr parsed{};
    if (inet_pton(AF_INET6, out.host.c_str(), &parsed) != 1) return wrong("not a valid IPv6 address");
    return out;
  }
  if (host.find(':') != std::string_view::npos) return wrong("an IPv6 address stands in brackets, as in [::1]:80");
  out.host = std::string(host);
  in_addr parsed{};
  if (inet_pton(AF_INET, out.host.c_str(), &parsed) == 1) {
    out.form = Form::ipv4;
    return out;
  }
  if (!valid_name(host)) return wrong("not a valid host name or IPv4 address");
  return out;
}

std::string HostPort::to_text() const {
  return (form == Form::ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace trellis::config
