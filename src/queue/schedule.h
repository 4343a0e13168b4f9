// When a repeated job is due: a cron expression of five fields (minute, hour, day of the month, month, day of the
// week), in UTC. Pure and strict: what cannot be meant is refused with the place and the reason. Used by whoever
// stores a schedule and by the scheduler; any thread.
//
//   30 6 * * mon-fri      half past six on working days
//   */15 8-18 * * *       each quarter of an hour in the daytime
//   0 0 1 jan,jul *       twice a year
//
// As cron has it: when both days are restricted (neither begins with *), one of them is enough.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/time.h"

namespace trellis::queue {

class Cron {
 public:
  // invalid_argument, also for a day that never comes, such as 30 February.
  static Result<Cron> parse(std::string_view text);

  // The first due time after `time`, a whole minute.
  WallTime next_after(WallTime time) const noexcept;
  // The last due time that is not after `time` but after `since`; none when there is none.
  std::optional<WallTime> latest(WallTime time, WallTime since) const noexcept;

 private:
  bool due_on(int64_t day) const noexcept;  // days since 1970

  uint64_t minutes_ = 0;
  uint32_t hours_ = 0;
  uint32_t days_ = 0;         // bits 1..31
  uint32_t months_ = 0;       // bits 1..12
  uint32_t weekdays_ = 0;     // bits 0..6, 0 Sunday
  bool any_day_ = false;      // the field begins with *
  bool any_weekday_ = false;  // likewise
};

}  // namespace trellis::queue
