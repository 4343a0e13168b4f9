#include "services/links/access/password_tries.h"

#include <mutex>
#include <utility>

#include "base/hash.h"
#include "services/links/access/guesses.h"

namespace trellis::services::links {

PasswordTries::Who PasswordTries::who(std::string_view address, int64_t link) const noexcept {
  const AddressBlock block = block_of(address);
  return {.key = hash64(block.view(), seed_ ^ (static_cast<uint64_t>(link) * 0x9E3779B97F4A7C15)),
          .limit = block.size > 0 ? kWrongInAMinute : kWrongFromLoopback};
}

std::optional<Duration> PasswordTries::slowed(Who who, Time now) {
  const auto [count, left] = wrong_.get(who.key, now);
  if (count < who.limit) return std::nullopt;
  return left;
}

std::shared_ptr<PasswordTries::Try> PasswordTries::begin(Who who, Time now) {
  {
    const std::lock_guard guard(lock_);
    const auto found = under_way_.find(who.key);
    const uint32_t under_way = found == under_way_.end() ? 0 : found->second;
    if (wrong_.get(who.key, now).count + under_way >= who.limit) return nullptr;
    ++under_way_[who.key];
  }
  return std::make_shared<Try>(shared_from_this(), who.key, now);
}

PasswordTries::Try::Try(std::shared_ptr<PasswordTries> tries, uint64_t key, Time began) noexcept
    : tries_(std::move(tries)), key_(key), began_(began) {}

PasswordTries::Try::~Try() {
  const std::lock_guard guard(tries_->lock_);
  // In the minute in which there was room for it.
  if (wrong_) (void)tries_->wrong_.add(key_, began_);
  const auto found = tries_->under_way_.find(key_);
  if (--found->second == 0) tries_->under_way_.erase(found);
}

}  // namespace trellis::services::links
