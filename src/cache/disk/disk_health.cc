#include "cache/disk/disk_health.h"

#include "base/log.h"

namespace trellis::cache {
namespace {
constexpr uint32_t kErrorsToFail = 3;
}

bool DiskHealth::change(DiskState from, DiskState to) noexcept {
  return state_.compare_exchange_strong(from, to, std::memory_order_acq_rel);
}

void DiskHealth::opened() {
  worked();
  if (change(DiskState::waiting, DiskState::ok)) return;
  if (change(DiskState::failed, DiskState::ok)) log_info("the disk of a cache works again", {{"cache", name_}});
}

void DiskHealth::not_opened(const Error& error) {
  if (!change(DiskState::waiting, DiskState::failed)) return;
  log_error("the disk of a cache cannot be opened; the cache goes on without it",
            {{"cache", name_}, {"error", error.to_string()}});
}

void DiskHealth::error(const Error& error) {
  if (errors_.fetch_add(1, std::memory_order_relaxed) + 1 < kErrorsToFail) return;
  if (!change(DiskState::ok, DiskState::failed) && !change(DiskState::full, DiskState::failed)) return;
  next_try_.store(after(clock_.now(), kTryEvery), std::memory_order_relaxed);
  log_error("the disk of a cache fails; the cache goes on without it",
            {{"cache", name_}, {"error", error.to_string()}});
}

void DiskHealth::full(bool full) {
  if (full && change(DiskState::ok, DiskState::full)) {
    log_warn("the disk of a cache is full; the oldest objects make room", {{"cache", name_}});
  }
  if (!full && change(DiskState::full, DiskState::ok))
    log_info("the disk of a cache has room again", {{"cache", name_}});
}

bool DiskHealth::try_now() noexcept {
  const Time now = clock_.now();
  if (now < next_try_.load(std::memory_order_relaxed)) return false;
  next_try_.store(after(now, kTryEvery), std::memory_order_relaxed);
  return true;
}

void DiskHealth::works_again() {
  worked();
  if (change(DiskState::failed, DiskState::ok)) log_info("the disk of a cache works again", {{"cache", name_}});
}

}  // namespace trellis::cache
