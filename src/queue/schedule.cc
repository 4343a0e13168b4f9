#include "queue/schedule.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <span>
#include <string>

namespace trellis::queue {

namespace {

using std::chrono::days;
using std::chrono::sys_days;

constexpr size_t kMaxText = 200;
constexpr int64_t kMinutesADay = 24 * 60;
// A 29th of February that must be a Sunday as well stays away for forty years at most.
constexpr int64_t kFarthest = 41 * 366;

constexpr std::array<std::string_view, 12> kMonthNames = {"jan", "feb", "mar", "apr", "may", "jun",
                                                          "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array<std::string_view, 7> kDayNames = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
constexpr std::array<int, 12> kLongestMonth = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

struct Field {
  std::string_view name;
  int least;
  int most;
  std::span<const std::string_view> names;  // of `least` and those after it
};
constexpr std::array<Field, 5> kFields = {{
    {"minute", 0, 59, {}},
    {"hour", 0, 23, {}},
    {"day of the month", 1, 31, {}},
    {"month", 1, 12, kMonthNames},
    {"day of the week", 0, 7, kDayNames},  // 7 is Sunday too
}};

std::unexpected<Error> wrong(std::string why) {
  return fail(Error(Code::invalid_argument, "cron: " + std::move(why)).from(Side::client));
}
std::unexpected<Error> wrong_in(const Field& field, std::string_view part, std::string_view why) {
  return wrong(std::string(field.name) + " \"" + std::string(part) + "\": " + std::string(why));
}

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return (x | 0x20) == y; });
}

std::optional<int> number_of(std::string_view text) noexcept {
  if (text.empty() || text.size() > 2) return std::nullopt;
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

Result<int> value_of(const Field& field, std::string_view text) {
  for (size_t i = 0; i < field.names.size(); ++i) {
    if (equal_ignoring_case(text, field.names[i])) return field.least + static_cast<int>(i);
  }
  const std::optional<int> number = number_of(text);
  if (!number || *number < field.least || *number > field.most) {
    return wrong_in(field, text,
                    "expected " + std::to_string(field.least) + " to " + std::to_string(field.most) +
                        (field.names.empty() ? "" : " or a name such as " + std::string(field.names[0])));
  }
  return *number;
}

// One of a list: *, 5, 1-5, with /2 behind the first and the last.
Result<uint64_t> parse_part(const Field& field, std::string_view part) {
  std::string_view range = part;
  int step = 1;
  if (const size_t slash = part.find('/'); slash != std::string_view::npos) {
    range = part.substr(0, slash);
    const std::optional<int> number = number_of(part.substr(slash + 1));
    if (!number || *number < 1) return wrong_in(field, part, "a step is a number from 1 to 99");
    step = *number;
    if (range != "*" && range.find('-') == std::string_view::npos)
      return wrong_in(field, part, "a step needs a range or * before it");
  }
  int first = field.least;
  int last = field.names.size() == kDayNames.size() ? 6 : field.most;
  if (range != "*") {
    const size_t dash = range.find('-');
    TRY(first, value_of(field, range.substr(0, dash)));
    last = first;
    if (dash != std::string_view::npos) {
      TRY(last, value_of(field, range.substr(dash + 1)));
      if (last == 0 && first > 0 && field.most == 7) last = 7;  // sat-sun
      if (last < first) return wrong_in(field, part, "the range ends before it begins");
    }
  }
  uint64_t bits = 0;
  for (int value = first; value <= last; value += step) bits |= uint64_t{1} << value;
  return bits;
}

Result<uint64_t> parse_field(const Field& field, std::string_view text) {
  uint64_t bits = 0;
  while (true) {
    const size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    if (part.empty()) return wrong_in(field, text, "an empty place in the list");
    TRY(const uint64_t some, parse_part(field, part));
    bits |= some;
    if (comma == std::string_view::npos) return bits;
    text.remove_prefix(comma + 1);
  }
}

int64_t minute_of(WallTime time) noexcept {
  return std::chrono::floor<std::chrono::minutes>(time.time_since_epoch()).count();
}
WallTime wall_of(int64_t minute) noexcept { return WallTime(std::chrono::minutes(minute)); }
int64_t day_of(int64_t minute) noexcept {
  return minute >= 0 ? minute / kMinutesADay : -((kMinutesADay - 1 - minute) / kMinutesADay);
}

}  // namespace

Result<Cron> Cron::parse(std::string_view text) {
  if (text.size() > kMaxText) return wrong("an expression has at most " + std::to_string(kMaxText) + " bytes");
  std::array<std::string_view, kFields.size()> parts;
  size_t count = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = text.find_first_not_of(" \t", at);
    if (begin == std::string_view::npos) break;
    const size_t end = std::min(text.find_first_of(" \t", begin), text.size());
    if (count < parts.size()) parts[count] = text.substr(begin, end - begin);
    ++count;
    at = end;
  }
  if (count != parts.size()) {
    return wrong("expected five fields (minute, hour, day of the month, month, day of the week), got " +
                 std::to_string(count));
  }
  std::array<uint64_t, kFields.size()> bits{};
  for (size_t i = 0; i < parts.size(); ++i) {
    TRY(bits[i], parse_field(kFields[i], parts[i]));
  }
  Cron cron;
  cron.minutes_ = bits[0];
  cron.hours_ = static_cast<uint32_t>(bits[1]);
  cron.days_ = static_cast<uint32_t>(bits[2]);
  cron.months_ = static_cast<uint32_t>(bits[3]);
  cron.weekdays_ = static_cast<uint32_t>((bits[4] | bits[4] >> 7) & 0x7f);
  cron.any_day_ = parts[2].starts_with('*');
  cron.any_weekday_ = parts[4].starts_with('*');
  if (cron.any_weekday_) {
    const int first_day = std::countr_zero(cron.days_);
    bool comes = false;
    for (size_t month = 1; month <= kLongestMonth.size(); ++month) {
      if ((cron.months_ >> month & 1) != 0 && first_day <= kLongestMonth[month - 1]) comes = true;
    }
    if (!comes) return wrong("no month of \"" + std::string(parts[3]) + "\" has a day " + std::string(parts[2]));
  }
  return cron;
}

bool Cron::due_on(int64_t day) const noexcept {
  const sys_days date{days(day)};
  const std::chrono::year_month_day ymd(date);
  if ((months_ >> static_cast<unsigned>(ymd.month()) & 1) == 0) return false;
  const bool by_day = (days_ >> static_cast<unsigned>(ymd.day()) & 1) != 0;
  const bool by_weekday = (weekdays_ >> std::chrono::weekday(date).c_encoding() & 1) != 0;
  if (any_day_ || any_weekday_) return by_day && by_weekday;
  return by_day || by_weekday;
}

WallTime Cron::next_after(WallTime time) const noexcept {
  const int64_t from = minute_of(time) + 1;
  for (int64_t day = day_of(from); day <= day_of(from) + kFarthest; ++day) {
    if (!due_on(day)) continue;
    for (int64_t minute = std::max(from, day * kMinutesADay); minute < (day + 1) * kMinutesADay; ++minute) {
      const int64_t of_day = minute - day * kMinutesADay;
      if ((hours_ >> (of_day / 60) & 1) != 0 && (minutes_ >> (of_day % 60) & 1) != 0) return wall_of(minute);
    }
  }
  return WallTime::max();
}

std::optional<WallTime> Cron::latest(WallTime time, WallTime since) const noexcept {
  const int64_t from = minute_of(time);
  const int64_t end = minute_of(since);  // itself not
  for (int64_t day = day_of(from); day >= std::max(day_of(end), day_of(from) - kFarthest); --day) {
    if (!due_on(day)) continue;
    for (int64_t minute = std::min(from, (day + 1) * kMinutesADay - 1); minute >= day * kMinutesADay; --minute) {
      if (minute <= end) return std::nullopt;
      const int64_t of_day = minute - day * kMinutesADay;
      if ((hours_ >> (of_day / 60) & 1) != 0 && (minutes_ >> (of_day % 60) & 1) != 0) return wall_of(minute);
    }
  }
  return std::nullopt;
}

}  // namespace trellis::queue
