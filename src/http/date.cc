#include "http/date.h"

#include <algorithm>
#include <cstring>

#include "http/fields.h"
#include "http/h1_scan.h"

namespace trellis::http {

namespace {

constexpr std::string_view kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::string_view kLongDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
constexpr std::string_view kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
constexpr int64_t kDay = 86'400;
constexpr int64_t kYearZero = -62'167'219'200;  // 0000-01-01T00:00:00Z
constexpr int64_t kYearLast = 253'402'300'799;  // 9999-12-31T23:59:59Z

// Days since 1970-01-01 in the proleptic Gregorian calendar. Years begin in March here, so that the leap day is the
// last.
constexpr int64_t days_of(int64_t year, int month, int day) noexcept {
  const int64_t y = month <= 2 ? year - 1 : year;
  const int64_t era = (y >= 0 ? y : y - 399) / 400;
  const int64_t year_of_era = y - era * 400;
  const int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + day_of_era - 719'468;
}

struct Civil {
  int year;
  int month;
  int day;
};
constexpr Civil civil_of(int64_t days) noexcept {
  const int64_t shifted = days + 719'468;
  const int64_t era = (shifted >= 0 ? shifted : shifted - 146'096) / 146'097;
  const int64_t day_of_era = shifted - era * 146'097;
  const int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t month_from_march = (5 * day_of_year + 2) / 153;
  const int day = static_cast<int>(day_of_year - (153 * month_from_march + 2) / 5 + 1);
  const int month = static_cast<int>(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
  return {static_cast<int>(year_of_era + era * 400 + (month <= 2 ? 1 : 0)), month, day};
}

constexpr bool is_leap(int year) noexcept { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }
constexpr int days_in(int year, int month) noexcept {
  constexpr int kLengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && is_leap(year) ? 29 : kLengths[month - 1];
}

char* put_digits(char* to, int number, int count) noexcept {
  for (int i = count - 1; i >= 0; --i, number /= 10) to[i] = static_cast<char>('0' + number % 10);
  return to + count;
}

// Cuts pieces off a text; after the first that does not fit, failed stays set.
struct Cutter {
  std::string_view text;
  bool failed = false;

  void literal(std::string_view expected) noexcept {
    if (starts_with(expected)) {
      text.remove_prefix(expected.size());
    } else {
      failed = true;
    }
  }
  int number(size_t digits) noexcept {
    int value = 0;
    if (text.size() < digits) failed = true;
    for (size_t i = 0; i < digits && !failed; ++i) {
      if (!scan::is_digit(text[i])) failed = true;
      value = value * 10 + (text[i] - '0');
    }
    if (failed) return 0;
    text.remove_prefix(digits);
    return value;
  }
  // The index of the name that comes next.
  template <size_t N>
  int one_of(const std::string_view (&names)[N]) noexcept {
    for (size_t i = 0; i < N && !failed; ++i) {
      if (starts_with(names[i])) {
        text.remove_prefix(names[i].size());
        return static_cast<int>(i);
      }
    }
    failed = true;
    return 0;
  }
  bool starts_with(std::string_view expected) const noexcept {
    return iequal(text.substr(0, expected.size()), expected);
  }
};

struct DateTime {
  int year = 0;
  int month = 0;  // 1..12
  int day = 0;
  int64_t second_of_day = 0;
};

void cut_time(Cutter& cut, DateTime& out) noexcept {
  const int hour = cut.number(2);
  cut.literal(":");
  const int minute = cut.number(2);
  cut.literal(":");
  const int second = cut.number(2);
  if (hour > 23 || minute > 59 || second > 60) cut.failed = true;
  // A leap second is taken for the second before it.
  out.second_of_day = hour * 3600 + minute * 60 + std::min(second, 59);
}

int64_t seconds_of(const DateTime& date) noexcept {
  return days_of(date.year, date.month, date.day) * kDay + date.second_of_day;
}

}  // namespace

void format_http_date(int64_t unix_seconds, char* to) noexcept {
  const int64_t clamped = std::clamp(unix_seconds, kYearZero, kYearLast);
  int64_t days = clamped / kDay;
  int64_t second = clamped % kDay;
  if (second < 0) {
    second += kDay;
    --days;
  }
  const Civil date = civil_of(days);
  const int64_t weekday = ((days + 4) % 7 + 7) % 7;  // 1970-01-01 was a Thursday
  const auto put = [&to](std::string_view text) {
    std::memcpy(to, text.data(), text.size());
    to += text.size();
  };
  put(kDays[weekday]);
  put(", ");
  to = put_digits(to, date.day, 2);
  *to++ = ' ';
  put(kMonths[date.month - 1]);
  *to++ = ' ';
  to = put_digits(to, date.year, 4);
  *to++ = ' ';
  to = put_digits(to, static_cast<int>(second / 3600), 2);
  *to++ = ':';
  to = put_digits(to, static_cast<int>(second / 60 % 60), 2);
  *to++ = ':';
  to = put_digits(to, static_cast<int>(second % 60), 2);
  put(" GMT");
}

std::string_view http_date(int64_t unix_seconds, Arena& arena) {
  char* const to = arena.alloc(kHttpDateSize);
  format_http_date(unix_seconds, to);
  return {to, kHttpDateSize};
}

std::optional<int64_t> parse_http_date(std::string_view text, int64_t now) noexcept {
  Cutter cut{text};
  DateTime date;
  bool two_digit_year = false;
  if (text.size() == kHttpDateSize && text[3] == ',') {  // Sun, 06 Nov 1994 08:49:37 GMT
    cut.one_of(kDays);
    cut.literal(", ");
    date.day = cut.number(2);
    cut.literal(" ");
    date.month = cut.one_of(kMonths) + 1;
    cut.literal(" ");
    date.year = cut.number(4);
    cut.literal(" ");
    cut_time(cut, date);
    cut.literal(" GMT");
  } else if (text.find(',') != std::string_view::npos) {  // Sunday, 06-Nov-94 08:49:37 GMT
    cut.one_of(kLongDays);
    cut.literal(", ");
    date.day = cut.number(2);
    cut.literal("-");
    date.month = cut.one_of(kMonths) + 1;
    cut.literal("-");
    two_digit_year = true;
    const int century = civil_of(std::clamp(now, kYearZero, kYearLast) / kDay).year / 100 * 100;
    date.year = century + cut.number(2);
    cut.literal(" ");
    cut_time(cut, date);
    cut.literal(" GMT");
  } else {  // Sun Nov  6 08:49:37 1994
    cut.one_of(kDays);
    cut.literal(" ");
    date.month = cut.one_of(kMonths) + 1;
    cut.literal(" ");
    if (cut.text.starts_with(' ')) {
      cut.literal(" ");
      date.day = cut.number(1);
    } else {
      date.day = cut.number(2);
    }
    cut.literal(" ");
    cut_time(cut, date);
    cut.literal(" ");
    date.year = cut.number(4);
  }
  if (cut.failed || !cut.text.empty()) return std::nullopt;
  if (two_digit_year) {
    // RFC 9110 §5.6.7: what seems more than 50 years ahead is the most recent past year with these digits.
    DateTime limit = date;
    limit.year = date.year - 50;
    if (days_of(limit.year, limit.month, limit.day) * kDay + limit.second_of_day > now) date.year -= 100;
  }
  if (date.day < 1 || date.day > days_in(date.year, date.month)) return std::nullopt;
  return seconds_of(date);
}

}  // namespace trellis::http
