#include "load/worker.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace trellis::load {
namespace {

constexpr size_t kBuffer = 256 * 1024;
constexpr size_t kHeadRead = 2048;  // first read of an answer that is expected to be large
constexpr uint64_t kLargeBody = 8 * 1024;
constexpr uint64_t kDropFrom = 4 * 1024;  // body bytes that are worth a call of their own that drops them unread
constexpr uint64_t kNanos = 1'000'000'000;
constexpr uint64_t kRefusedPause = 10'000'000;
constexpr int kEvents = 256;

}  // namespace

uint64_t now_nanos() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * kNanos + static_cast<uint64_t>(t.tv_nsec);
}

void Tally::merge(const Tally& other) noexcept {
  responses += other.responses;
  bytes += other.bytes;
  for (size_t i = 0; i < status.size(); ++i) status[i] += other.status[i];
  connects += other.connects;
  connect_errors += other.connect_errors;
  socket_errors += other.socket_errors;
  stray_bytes += other.stray_bytes;
  for (size_t i = 0; i < faults.size(); ++i) faults[i] += other.faults[i];
  unanswered += other.unanswered;
  latency.merge(other.latency);
}

uint64_t Tally::framing_faults() const noexcept {
  uint64_t sum = stray_bytes;
  for (uint64_t count : faults) sum += count;
  return sum;
}

Worker::Worker(const Options& options, const RequestSet& requests, const sockaddr_in& server,
               const std::atomic<Phase>& phase, unsigned number)
    : options_(options),
      requests_(requests),
      server_(server),
      phase_(phase),
      picker_(options, requests.size(), number),
      head_(options.method == "HEAD"),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      buffer_(new char[kBuffer]) {
  unsigned share = options.connections / options.threads + (number < options.connections % options.threads ? 1 : 0);
  connections_.resize(share);
  for (Connection& c : connections_) c.due.resize(options.pipeline);
  if (options.rate > 0) interval_ = static_cast<double>(kNanos) * options.threads / options.rate;
}

Worker::~Worker() {
  for (Connection& c : connections_) {
    if (c.fd >= 0) close(c.fd);
  }
  close(epoll_);
}

void Worker::run() {
  // Sleeps of the open loop end when they should, not 50 µs later.
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  for (Connection& c : connections_) renew(c);
  next_due_ = static_cast<double>(now_nanos());
  epoll_event events[kEvents];
  while (seen_phase_ != Phase::stop) {
    int64_t wait = wait_nanos();
    timespec timeout{wait / static_cast<int64_t>(kNanos), wait % static_cast<int64_t>(kNanos)};
    int count = epoll_pwait2(epoll_, events, kEvents, &timeout, nullptr);
    for (int i = 0; i < count; ++i) {
      auto& c = *static_cast<Connection*>(events[i].data.ptr);
      uint32_t what = events[i].events;
      if (c.fd < 0) continue;  // given up while this batch was handled
      if (!c.connected) {
        if ((what & (EPOLLERR | EPOLLHUP)) != 0) {
          ++tally_.connect_errors;
          lost(c);
        } else if ((what & EPOLLOUT) != 0) {
          opened(c);
        }
        continue;
      }
      if ((what & EPOLLOUT) != 0 && !c.unsent.empty()) flush(c);
      if (c.fd >= 0 && (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        read(c, (what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
      }
    }
    if (!refused_.empty()) retry_refused();
    if (interval_ > 0) send_due();
    follow_phase();
  }
}

void Worker::follow_phase() {
  Phase phase = phase_.load(std::memory_order_relaxed);
  if (phase == seen_phase_) return;
  seen_phase_ = phase;
  if (phase == Phase::measure) tally_ = Tally();
  if (phase == Phase::stop && interval_ > 0) count_unanswered();
}

// What is still waited for counts with the age it has: a server that stops answering must not look fast.
void Worker::count_unanswered() {
  uint64_t now = now_nanos();
  for (Connection& c : connections_) {
    uint64_t due = c.in_flight > 0 ? c.due[c.oldest] : c.fresh_due;
    if (due == 0) continue;
    ++tally_.unanswered;
    tally_.latency.record(now - due);
  }
  for (; next_due_ <= static_cast<double>(now); next_due_ += interval_) {
    ++tally_.unanswered;
    tally_.latency.record(now - static_cast<uint64_t>(next_due_));
  }
}

int64_t Worker::wait_nanos() const noexcept {
  int64_t wait = refused_.empty() ? kNanos / 50 : static_cast<int64_t>(kRefusedPause);
  if (interval_ > 0 && !idle_.empty()) {
    auto until = static_cast<int64_t>(next_due_) - static_cast<int64_t>(now_nanos());
    wait = std::clamp<int64_t>(until, 0, wait);
  }
  return wait;
}

void Worker::open(Connection& c) {
  c.connected = false;
  c.in_flight = 0;
  c.large = false;
  c.upgraded = false;
  c.unsent.clear();
  c.reader.start(head_);
  c.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c.fd < 0) {
    ++tally_.connect_errors;
    lost(c);
    return;
  }
  int on = 1;
  setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  int rc = connect(c.fd, reinterpret_cast<const sockaddr*>(&server_), sizeof server_);
  if (rc != 0 && errno != EINPROGRESS) {
    ++tally_.connect_errors;
    lost(c);
    return;
  }
  epoll_event event{EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = &c}};
  epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event);
}

// A connection without a socket: connects, or in an open loop with --reconnect waits for the request to connect for.
void Worker::renew(Connection& c) {
  if (options_.reconnect && interval_ > 0) {
    make_idle(c);
    return;
  }
  if (options_.reconnect) c.fresh_due = now_nanos();
  open(c);
}

void Worker::opened(Connection& c) {
  c.connected = true;
  ++tally_.connects;
  if (interval_ == 0) last_now_ = now_nanos();
  if (options_.echo > 0) {
    fire(c, 1, now_nanos());
  } else {
    ready(c);
  }
}

void Worker::finish(Connection& c) {
  if (options_.reconnect) {
    // A reset leaves no port in TIME_WAIT; the answer is complete, nothing is lost by it.
    linger reset{1, 0};
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  close(c.fd);
  c.fd = -1;
  c.connected = false;
  renew(c);
}

// The connection is of no use any more; it is opened again after a pause, so that a server that is down is not stormed.
void Worker::lost(Connection& c) {
  if (c.fd >= 0) close(c.fd);
  c.fd = -1;
  c.connected = false;
  c.in_flight = 0;
  c.fresh_due = 0;
  if (c.idle) {
    c.idle = false;
    std::erase(idle_, &c);
  }
  refused_.push_back(&c);
  if (refused_.size() == 1) refused_until_ = now_nanos() + kRefusedPause;
}

void Worker::retry_refused() {
  if (now_nanos() < refused_until_) return;
  std::vector<Connection*> again;
  again.swap(refused_);
  for (Connection* c : again) renew(*c);
}

void Worker::make_idle(Connection& c) {
  c.idle = true;
  idle_.push_back(&c);
}

// A connection that can take a request.
void Worker::ready(Connection& c) {
  if (options_.reconnect) {
    uint64_t due = c.fresh_due;
    c.fresh_due = 0;
    fire(c, 1, due);
  } else if (interval_ > 0) {
    make_idle(c);
  } else {
    fire(c, options_.pipeline - c.in_flight, last_now_);
  }
}

void Worker::send_due() {
  if (idle_.empty()) return;
  auto now = static_cast<double>(now_nanos());
  while (next_due_ <= now && !idle_.empty()) {
    Connection& c = *idle_.front();
    idle_.pop_front();
    c.idle = false;
    auto due = static_cast<uint64_t>(next_due_);
    next_due_ += interval_;
    if (options_.reconnect) {
      c.fresh_due = due;
      open(c);
    } else {
      fire(c, 1, due);
    }
  }
}

void Worker::fire(Connection& c, unsigned count, uint64_t due) {
  for (unsigned i = 0; i < count; ++i) {
    unsigned slot = c.oldest + c.in_flight;
    if (slot >= options_.pipeline) slot -= options_.pipeline;
    c.due[slot] = due;
    ++c.in_flight;
  }
  if (c.upgraded) {
    c.echo_left = requests_.message_back();
    write(c, requests_.message());
    return;
  }
  if (count == 1) {
    write(c, requests_[picker_.next()]);
    return;
  }
  batch_.clear();
  for (unsigned i = 0; i < count; ++i) batch_ += requests_[picker_.next()];
  write(c, batch_);
}

void Worker::write(Connection& c, std::string_view bytes) {
  if (!c.unsent.empty()) {
    c.unsent += bytes;
    return;
  }
  ssize_t n = send(c.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (n == static_cast<ssize_t>(bytes.size())) return;
  if (n < 0) {
    if (errno != EAGAIN) {
      ++tally_.socket_errors;
      lost(c);
      return;
    }
    n = 0;
  }
  c.unsent.assign(bytes.substr(static_cast<size_t>(n)));
}

void Worker::flush(Connection& c) {
  std::string bytes = std::move(c.unsent);
  c.unsent.clear();
  write(c, bytes);
}

// Edge-triggered: reads until a read comes back short, which means drained.
void Worker::read(Connection& c, bool hangup) {
  while (c.fd >= 0 && c.connected) {
    uint64_t droppable = c.reader.skippable();
    bool drop = droppable >= kDropFrom;
    size_t want = drop ? static_cast<size_t>(std::min<uint64_t>(droppable, 1 << 30)) : c.large ? kHeadRead : kBuffer;
    // With MSG_TRUNC and no buffer the kernel drops the bytes instead of copying them.
    ssize_t n = drop ? recv(c.fd, nullptr, want, MSG_TRUNC) : recv(c.fd, buffer_.get(), want, 0);
    if (n < 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      ++tally_.socket_errors;
      lost(c);
      return;
    }
    if (n == 0) {
      if (c.in_flight > 0 && c.reader.close()) {
        answered(c);
        return;
      }
      // An idle connection may be closed by the server whenever it likes; one that waits for an answer may not.
      if (c.in_flight > 0) ++tally_.socket_errors;
      lost(c);
      return;
    }
    tally_.bytes += static_cast<uint64_t>(n);
    if (drop) {
      c.reader.skip(static_cast<uint64_t>(n));
      if (c.reader.complete()) answered(c);
    } else {
      consume(c, buffer_.get(), static_cast<size_t>(n));
    }
    if (!c.connected) return;
    // What was pipelined in one batch is followed by one batch.
    if (interval_ == 0 && c.in_flight < options_.pipeline) ready(c);
    if (hangup) continue;
    if (static_cast<size_t>(n) < want) return;
    // The body ended where this read did; the next answer, if one was not pipelined behind it, brings its own event.
    if (drop && c.reader.untouched() && options_.pipeline == 1) return;
  }
}

void Worker::consume(Connection& c, const char* data, size_t size) {
  while (size > 0 && c.connected) {
    if (c.in_flight == 0) {
      ++tally_.stray_bytes;
      lost(c);
      return;
    }
    if (c.upgraded) {
      size -= consume_echo(c, size);
      continue;
    }
    size_t used = c.reader.feed(data, size);
    data += used;
    size -= used;
    if (c.reader.broken()) {
      ++tally_.faults[static_cast<size_t>(c.reader.fault())];
      lost(c);
      return;
    }
    if (!c.reader.complete()) continue;
    if (options_.echo > 0 && c.reader.status() == 101) {
      upgraded(c);
    } else {
      answered(c);
    }
  }
}

// What comes back is counted, not looked at.
size_t Worker::consume_echo(Connection& c, size_t size) {
  size_t used = std::min(size, c.echo_left);
  c.echo_left -= used;
  if (c.echo_left == 0) answered(c);
  return used;
}

// The answer to the upgrade is none that is measured.
void Worker::upgraded(Connection& c) {
  c.upgraded = true;
  --c.in_flight;
  if (interval_ > 0) make_idle(c);
}

void Worker::answered(Connection& c) {
  uint64_t now = last_now_ = now_nanos();
  tally_.latency.record(now - c.due[c.oldest]);
  if (++c.oldest == options_.pipeline) c.oldest = 0;
  --c.in_flight;
  ++tally_.responses;
  int hundreds = c.upgraded ? 2 : c.reader.status() / 100;
  ++tally_.status[hundreds <= 5 ? static_cast<size_t>(hundreds) : 0];
  c.large = c.reader.body_bytes() >= kLargeBody;
  bool closes = c.reader.server_closes() || options_.reconnect;
  c.reader.start(head_);
  if (closes) {
    finish(c);
  } else if (interval_ > 0) {
    make_idle(c);
  }
}

}  // namespace trellis::load
