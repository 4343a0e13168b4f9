#include "proxy/relay/pump.h"

#include <linux/tcp.h>
#include <netinet/in.h>

#include <algorithm>
#include <optional>

#include "proxy/fault_plan.h"
#include "runtime/splice.h"

namespace trellis::proxy {

namespace {

constexpr size_t kPieces = 8;            // sent together
constexpr size_t kSlice = 256 * 1024;    // and so many bytes
constexpr int kSlicesBeforeYield = 16;   // of one direction that never has to wait
constexpr size_t kLarge = 32 * 1024;     // a piece from this size on is followed by splicing
constexpr size_t kSmall = 8 * 1024;      // and so many
constexpr int kSmallBeforeCopying = 16;  // of pieces no larger than that by copying again

// Bytes that the other side has acknowledged.
uint64_t acknowledged(const Socket& socket) noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket.fd(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_bytes_acked;
}

}  // namespace

std::string_view to_string(RelayEnd end) noexcept {
  switch (end) {
    case RelayEnd::finished: return "finished";
    case RelayEnd::client_reset: return "client_reset";
    case RelayEnd::host_reset: return "host_reset";
    case RelayEnd::idle: return "idle";
    case RelayEnd::lifetime: return "lifetime";
    case RelayEnd::drained: return "drained";
    case RelayEnd::client_left: return "client_left";
    case RelayEnd::untrusted: return "untrusted";
    case RelayEnd::bad_header: return "bad_header";
    case RelayEnd::bad_hello: return "bad_hello";
    case RelayEnd::hello_timeout: return "hello_timeout";
    case RelayEnd::refused: return "refused";
    case RelayEnd::no_host: return "no_host";
    case RelayEnd::fault_reset: return "fault_reset";
    case RelayEnd::host_refused: return "host_refused";
    case RelayEnd::host_failing: return "host_failing";
  }
  return "finished";
}

Pump::Pump(Socket& client, Socket& host, Duration idle, Counter& bytes_in, Counter& bytes_out,
           PumpFaults faults) noexcept
    : up_{client, host, bytes_in, RelayEnd::client_reset, RelayEnd::host_reset},
      down_{host, client, bytes_out, RelayEnd::host_reset, RelayEnd::client_reset},
      idle_(idle),
      faults_(faults),
      timer_(&Pump::idle_over, this) {}

Task<RelayEnd> Pump::run(Deadline deadline) {
  alive();
  const auto direction = faults_.any() ? &Pump::flow_with_faults : &Pump::flow;
  Task<> up = direction(*this, up_);
  Task<> down = direction(*this, down_);
  up.start();
  down.start();
  const bool ended = co_await over_.wait(deadline);
  if (!ended) end_ = RelayEnd::lifetime;
  // Idle and finished connections end in peace: nothing was on its way.
  if (end_ == RelayEnd::client_reset || end_ == RelayEnd::host_reset || end_ == RelayEnd::lifetime ||
      end_ == RelayEnd::fault_reset) {
    up_.from.reset_on_close();
    up_.to.reset_on_close();
  }
  timer_.cancel();
  co_return end_;  // the flows go with this frame
}

Task<> Pump::flow(Pump& pump, Flow& flow) {
  for (int slices = 1;; ++slices) {
    if (slices % kSlicesBeforeYield == 0) co_await yield();
    Result<Chunk> first = co_await flow.from.recv(kNever);
    if (!first) co_return pump.over(flow.from_broke);
    if (first->empty()) co_return pump.finish(flow);
    Chunk pieces[kPieces];
    iovec vectors[kPieces];
    size_t count = 0;
    size_t size = 0;
    Chunk next = *std::move(first);
    while (true) {
      size += next.size();
      vectors[count] = {const_cast<char*>(next.data()), next.size()};
      pieces[count++] = std::move(next);
      if (count == kPieces || size >= kSlice || !flow.from.has_bytes()) break;
      Result<Chunk> more = co_await flow.from.recv(kNever);  // is there: no wait
      if (!more || more->empty()) break;
      next = *std::move(more);
    }
    pump.alive();
    flow.sending = true;
    auto sent = co_await flow.to.send({vectors, count}, kNever);
    flow.sending = false;
    if (!sent) co_return pump.over(flow.to_broke);
    pump.passed(flow, size);
    for (Chunk& piece : pieces) piece = Chunk();
    if (size < kLarge || !flow.from.try_hands_off()) continue;
    const bool goes_on = co_await splice(pump, flow);
    if (!goes_on) co_return;
    flow.from.hands_on();
  }
}

// Piece by piece, none larger than a slice of the pace or than what may still pass.
Task<> Pump::flow_with_faults(Pump& pump, Flow& flow) {
  std::optional<Pace> pace;
  if (pump.faults_.bandwidth > 0) pace.emplace(pump.faults_.bandwidth);
  const size_t slice = pace ? pace->slice() : Pace::kMaxSlice;
  for (int slices = 1;; ++slices) {
    if (slices % kSlicesBeforeYield == 0) co_await yield();
    Result<Chunk> got = co_await flow.from.recv(kNever);
    if (!got) co_return pump.over(flow.from_broke);
    if (got->empty()) co_return pump.finish(flow);
    // It may take its time, and must not keep a receive buffer from the others meanwhile.
    Chunk rest = got->size() > slice ? Chunk::copy_of(got->view()) : *std::move(got);
    while (!rest.empty()) {
      size_t size = std::min(rest.size(), slice);
      if (pace) co_await sleep_until(pace->take(Loop::current().now(), size));
      size = static_cast<size_t>(std::min<uint64_t>(size, pump.faults_.reset_after));
      if (size == 0) co_return;  // the other direction is just passing on the last bytes
      if (pump.faults_.reset_after != UINT64_MAX) pump.faults_.reset_after -= size;
      iovec vector{const_cast<char*>(rest.data()), size};
      pump.alive();
      flow.sending = true;
      auto sent = co_await flow.to.send({&vector, 1}, kNever);
      flow.sending = false;
      if (!sent) co_return pump.over(flow.to_broke);
      pump.passed(flow, size);
      if (pump.faults_.reset_after == 0) co_return pump.over(RelayEnd::fault_reset);
      rest.drop_front(size);
    }
  }
}

// As long as large pieces come. False: the direction is over.
Task<bool> Pump::splice(Pump& pump, Flow& flow) {
  std::optional<SplicePipe> pipe = SplicePipe::take();
  if (!pipe) co_return true;
  int small = 0;
  for (int slices = 1; small < kSmallBeforeCopying; ++slices) {
    if (slices % kSlicesBeforeYield == 0) co_await yield();
    const ssize_t filled = pipe->fill(flow.from);
    if (filled == -EAGAIN) {
      flow.from.drained();
      co_await flow.from.readable(kNever);
      continue;
    }
    if (filled == 0) {
      pump.finish(flow);
      co_return false;
    }
    if (filled == -EINVAL) co_return true;  // not for this kind of socket
    if (filled < 0) {
      pump.over(flow.from_broke);
      co_return false;
    }
    pump.alive();
    small = static_cast<size_t>(filled) <= kSmall ? small + 1 : 0;
    while (pipe->held() > 0) {
      const ssize_t emptied = pipe->empty_into(flow.to);
      if (emptied == -EAGAIN) {
        flow.sending = true;
        auto room = co_await flow.to.writable(kNever);
        flow.sending = false;
        if (!room) {
          pump.over(flow.to_broke);
          co_return false;
        }
        pump.alive();
        continue;
      }
      if (emptied <= 0) {
        pump.over(flow.to_broke);
        co_return false;
      }
    }
    pump.passed(flow, static_cast<size_t>(filled));
  }
  co_return true;
}

void Pump::passed(Flow& flow, size_t bytes) noexcept {
  flow.bytes += bytes;
  flow.counter.add(bytes);
  alive();
}

// This direction has ended; the other may go on.
void Pump::finish(Flow& flow) noexcept {
  flow.done = true;
  flow.to.shutdown_send();
  alive();
  if (up_.done && down_.done) over(RelayEnd::finished);
}

void Pump::over(RelayEnd end) noexcept {
  if (std::exchange(broken_, true)) return;
  end_ = end;
  over_.set();  // run() is resumed by the loop, and takes the flows down
}

void Pump::alive() noexcept {
  if (idle_ > Duration::zero()) timer_.set(Loop::current().timers(), after(Loop::current().now(), idle_));
}

// Whoever takes a large piece slowly is not idle, though nothing has come to its end: what was acknowledged tells.
bool Pump::still_taking() noexcept {
  uint64_t taken = 0;
  if (up_.sending) taken += acknowledged(up_.to);
  if (down_.sending) taken += acknowledged(down_.to);
  return std::exchange(taken_, taken) != taken;
}

void Pump::idle_over(Timer& timer) noexcept {
  auto& self = *static_cast<Pump*>(timer.owner());
  if (self.still_taking()) return self.alive();
  self.over(RelayEnd::idle);
}

}  // namespace trellis::proxy
