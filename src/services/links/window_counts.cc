#include "services/links/window_counts.h"

#include <algorithm>
#include <mutex>

namespace trellis::services::links {

WindowCounts::WindowCounts(size_t keys) : sets_count_(keys / kWays), sets_(std::make_unique<Set[]>(sets_count_)) {}

WindowCounts::Count WindowCounts::add(uint64_t key, Time now) {
  key = std::max<uint64_t>(key, 1);
  const auto over = [now](const Place& place) { return place.key == 0 || now - place.since >= kWindow; };
  const std::lock_guard guard(lock_);
  Set& set = sets_[key % sets_count_];
  Place* place = nullptr;
  for (Place& each : set) {
    if (each.key == key) place = &each;
  }
  // Else one whose minute is over, else the one that counts least.
  const auto worth = [&over](const Place& each) { return over(each) ? 0 : each.count; };
  if (!place)
    place =
        &*std::min_element(set.begin(), set.end(), [&](const Place& a, const Place& b) { return worth(a) < worth(b); });
  if (place->key != key || over(*place)) *place = Place{key, 0, now};
  ++place->count;
  return {place->count, kWindow - (now - place->since)};
}

void WindowCounts::take_back(uint64_t key, Time now) {
  key = std::max<uint64_t>(key, 1);
  const std::lock_guard guard(lock_);
  for (Place& place : sets_[key % sets_count_]) {
    if (place.key == key && now - place.since < kWindow && place.count > 0) --place.count;
  }
}

WindowCounts::Count WindowCounts::get(uint64_t key, Time now) {
  key = std::max<uint64_t>(key, 1);
  const std::lock_guard guard(lock_);
  for (const Place& place : sets_[key % sets_count_]) {
    if (place.key == key && now - place.since < kWindow) return {place.count, kWindow - (now - place.since)};
  }
  return {};
}

}  // namespace trellis::services::links
