#include "upstream/pool.h"

#include <algorithm>
#include <utility>

#include "base/metrics.h"
#include "runtime/loop.h"

namespace trellis::upstream {

namespace {
constexpr Duration kRemembered = std::chrono::seconds(10);  // of a slow answer, by least_time
}

Pool::Pool(std::shared_ptr<Host> host, const LimitConfig& limits, size_t core, std::shared_ptr<Ejection> ejection)
    : host_(std::move(host)),
      limits_(limits),
      tally_(host_->tally(core)),
      ejection_(std::move(ejection)),
      sweep_(&Pool::sweep_due, this),
      seconds_(host_->figures().seconds()),
      failed_(host_->figures().answers("none")),
      opened_(host_->figures().connections("opened")),
      closed_count_(host_->figures().connections("closed")),
      parked_(host_->figures().connections("parked")),
      taken_(host_->figures().connections("taken")) {}

void Pool::load_changed(int by) noexcept {
  load_.active = static_cast<uint32_t>(open_ - idle_);
  // A reload may have put this pool beside an old one of the same host that is still at work.
  const uint32_t active = tally_.active.load(std::memory_order_relaxed);
  tally_.active.store(active + static_cast<uint32_t>(by), std::memory_order_relaxed);
  if (watcher_) watcher_->load_changed(id_, by);
}

bool Pool::worn_out(const http::ClientConnection& connection) const noexcept {
  return limits_.max_age > Duration::zero() && after(connection.made, limits_.max_age) <= Loop::current().now();
}

std::unique_ptr<http::ClientConnection> Pool::take() noexcept {
  while (http::ClientConnection* connection = newest_) {
    unlink(*connection);
    std::unique_ptr<http::ClientConnection> owned(connection);
    load_changed(1);
    // What it sent unasked would be taken for the answer to the next request.
    if (owned->socket.quiet() && !worn_out(*owned)) return owned;
  }
  return nullptr;
}

void Pool::opening() noexcept {
  ++open_;
  opened_.add();
  load_changed(1);
}

std::unique_ptr<http::ClientConnection> Pool::adopt(Socket socket) {
  auto connection = std::make_unique<http::ClientConnection>(std::move(socket), shared_from_this());
  connection->made = Loop::current().now();
  return connection;
}

void Pool::give_back(std::unique_ptr<http::ClientConnection> connection) noexcept {
  if (closed_ || idle_ >= limits_.idle_connections || worn_out(*connection)) return;
  http::ClientConnection& c = *connection.release();
  c.idle_since = Loop::current().now();
  c.owner = this;
  c.on_gone = [](http::ClientConnection& gone, void* owner) noexcept {
    auto& self = *static_cast<Pool*>(owner);
    self.unlink(gone);
    self.load_changed(1);  // until it is closed, which follows
    delete &gone;
  };
  c.socket.watch(&c);
  c.pool_prev = nullptr;
  c.pool_next = newest_;
  (newest_ ? newest_->pool_prev : oldest_) = &c;
  newest_ = &c;
  ++idle_;
  parked_.add();
  load_changed(-1);
  c.socket.want_input();
  if (c.socket.has_input()) {  // it ended in this moment; on_gone is not called from inside want_input()
    unlink(c);
    load_changed(1);
    delete &c;
    return;
  }
  if (sweep_.due() == kNever) sweep_.set(Loop::current().timers(), after(c.idle_since, limits_.idle_time));
}

void Pool::close_idle() noexcept {
  closed_ = true;
  sweep_.cancel();
  while (newest_) {
    http::ClientConnection* connection = newest_;
    unlink(*connection);
    load_changed(1);
    delete connection;
  }
}

void Pool::make_room() noexcept {
  if (open_ < limits_.connections || !oldest_) return;
  http::ClientConnection* connection = oldest_;
  unlink(*connection);
  load_changed(1);
  delete connection;
}

void Pool::closed() noexcept {
  --open_;
  closed_count_.add();
  load_changed(-1);
}

void Pool::count(int status, Duration first_byte, Time now) noexcept {
  Counter*& counter = answered_[static_cast<size_t>(std::clamp(status, 100, 599) - 100)];
  if (!counter) counter = &host_->figures().answers(std::to_string(status));
  counter->add();
  seconds_.record(first_byte);
  load_.measure(first_byte, kRemembered, now);
  const Outcome outcome = outcome_of(status);
  tally_.add(is_error(outcome), first_byte);
  if (ejection_) ejection_->record(*host_, outcome, now);
}

void Pool::count_failure(Outcome outcome, Duration took, Time now) noexcept {
  failed_.add();
  tally_.add(true, took);
  // It takes so long at least. What breaks at once says nothing of how long an answer takes.
  if ((outcome == Outcome::timeout || outcome == Outcome::outrun) && seconds(took) > load_.seconds)
    load_.measure(took, kRemembered, now);
  if (ejection_) ejection_->record(*host_, outcome, now);
}

void Pool::count_connected(Time now) noexcept {
  if (ejection_) ejection_->record(*host_, Outcome::ok, now);
}

void Pool::unlink(http::ClientConnection& c) noexcept {
  (c.pool_prev ? c.pool_prev->pool_next : newest_) = c.pool_next;
  (c.pool_next ? c.pool_next->pool_prev : oldest_) = c.pool_prev;
  c.pool_next = c.pool_prev = nullptr;
  c.on_gone = nullptr;
  c.socket.watch(nullptr);
  --idle_;
  taken_.add();
}

void Pool::sweep_due(Timer& timer) noexcept {
  auto& self = *static_cast<Pool*>(timer.owner());
  const Time now = Loop::current().now();
  while (self.oldest_ && self.oldest_->idle_since + self.limits_.idle_time <= now) {
    http::ClientConnection* connection = self.oldest_;
    self.unlink(*connection);
    self.load_changed(1);
    delete connection;
  }
  if (self.oldest_) timer.set(Loop::current().timers(), after(self.oldest_->idle_since, self.limits_.idle_time));
}

}  // namespace trellis::upstream
