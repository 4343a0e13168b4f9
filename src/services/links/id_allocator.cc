#include "services/links/id_allocator.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "store/sqlite.h"

namespace trellis::services::links {

namespace {
constexpr Duration kBlockLasts = std::chrono::seconds(10);
}

IdAllocator::IdAllocator(store::SqliteStore& store, Loop& home, Clock& clock)
    : store_(store), home_(home), clock_(clock) {}

IdAllocator::Block IdAllocator::block_of(Lease lease) {
  Block block;
  block.next = lease.begin;
  block.end = lease.end;
  block.half = lease.begin + (lease.end - lease.begin) / 2;
  block.burned = std::move(lease.burned);
  std::sort(block.burned.begin(), block.burned.end());
  return block;
}

std::optional<uint64_t> IdAllocator::next_value() noexcept {
  while (true) {
    current_.next = std::max(current_.next, std::min(current_.end, floor_));
    while (current_.next < current_.end) {
      const uint64_t value = current_.next++;
      if (std::binary_search(current_.burned.begin(), current_.burned.end(), value)) continue;
      ++given_;
      return value;
    }
    if (!upcoming_) return std::nullopt;
    current_ = *std::move(upcoming_);
    upcoming_.reset();
  }
}

Task<Result<void>> IdAllocator::start() {
  auto task = store_.write([](store::SqliteConnection& db) { return lease_ids(db, kMinBlock); });
  Result<Lease> leased = co_await task;
  if (!leased) co_return fail(std::move(leased).error());
  last_lease_ = clock_.now();
  current_ = block_of(*std::move(leased));
  co_return Result<void>();
}

Task<Result<uint64_t>> IdAllocator::take(Deadline deadline) {
  while (true) {
    std::optional<uint64_t> value;
    std::shared_ptr<Leasing> under_way;
    bool begin = false;
    {
      const std::lock_guard lock(lock_);
      value = next_value();
      if (!leasing_ && !upcoming_ && current_.next >= current_.half) {
        leasing_ = std::make_shared<Leasing>();
        begin = true;
      }
      under_way = leasing_;
    }
    if (begin) begin_lease(under_way);
    if (value) co_return *value;
    const bool in_time = co_await under_way->flight.wait(deadline);
    if (!in_time)
      co_return fail(Error(Code::deadline_exceeded, "waited too long for a number of a link").from(Side::self));
    if (under_way->error) co_return fail(under_way->error->clone());
  }
}

void IdAllocator::skip_to(uint64_t value) {
  const std::lock_guard lock(lock_);
  floor_ = std::max(floor_, value);
}

// The lease belongs to nobody's request: it runs on the home loop, whoever found that it is due.
void IdAllocator::begin_lease(std::shared_ptr<Leasing> leasing) {
  home_.post([this, leasing = std::move(leasing), alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    if (group_.spawn(lease(leasing))) return;
    leasing->error.emplace(Error(Code::unavailable, "the service is stopping").from(Side::self));
    leasing->flight.finish();
  });
}

Task<> IdAllocator::lease(std::shared_ptr<Leasing> leasing) {
  const Time now = clock_.now();
  const Duration used_in = std::max<Duration>(now - last_lease_, std::chrono::milliseconds(1));
  last_lease_ = now;
  uint64_t given = 0;
  {
    const std::lock_guard lock(lock_);
    given = std::exchange(given_, 0);
  }
  const double wanted = static_cast<double>(given) * (seconds(kBlockLasts) / seconds(used_in));
  const double bounded = std::min({wanted, static_cast<double>(block_size_ * 16), static_cast<double>(kMaxBlock)});
  block_size_ = std::max(kMinBlock, static_cast<uint64_t>(bounded));
  auto task = store_.write([count = block_size_](store::SqliteConnection& db) { return lease_ids(db, count); });
  Result<Lease> leased = co_await task;
  {
    const std::lock_guard lock(lock_);
    if (leased) {
      upcoming_ = block_of(*std::move(leased));
    } else {
      leasing->error.emplace(std::move(leased).error());
    }
    leasing_.reset();
  }
  leasing->flight.finish();
}

Task<> IdAllocator::stop(Deadline deadline) {
  group_.close();
  (void)co_await group_.join(deadline);
}

}  // namespace trellis::services::links
