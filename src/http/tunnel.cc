#include "http/tunnel.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "http/client.h"
#include "runtime/loop.h"
#include "runtime/sync.h"

namespace trellis::http {

namespace {

constexpr size_t kGatherPieces = 8;     // sent together: each send wakes who receives
constexpr int kRoundsBeforeYield = 32;  // of one busy way

void find_out_when_it_vanishes(int fd) noexcept {
  const auto set = [fd](int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
}

class Tunnel final : public UpgradeHandler {
 public:
  Tunnel(std::unique_ptr<ClientConnection> upstream, Duration idle) noexcept
      : upstream_(std::move(upstream)), idle_(idle) {}

  Task<> run(Socket& client, Traffic& traffic) override {
    moved_ = Loop::current().now();
    client.watch(nullptr);  // an end is what the ways find themselves, after what came before it
    find_out_when_it_vanishes(client.fd());
    find_out_when_it_vanishes(upstream_->socket.fd());
    TaskGroup ways;
    ways.spawn(carry(*this, client, upstream_->socket, traffic.from_client));
    ways.spawn(carry(*this, upstream_->socket, client, traffic.to_client));
    if (idle_ > Duration::zero()) ways.spawn(end_when_idle(*this, client.fd(), upstream_->socket.fd()));
    co_await over_.wait(kNever);
  }

 private:
  // Whose receiver takes bytes of what was sent is not idle, however slowly.
  static int unsent(int one, int other) noexcept {
    int first = 0;
    int second = 0;
    ::ioctl(one, SIOCOUTQ, &first);
    ::ioctl(other, SIOCOUTQ, &second);
    return first + second;
  }
  static Task<> end_when_idle(Tunnel& self, int client, int upstream) {
    int waiting = unsent(client, upstream);
    while (true) {
      const Time due = after(self.moved_, self.idle_);
      if (Loop::current().now() < due) {
        co_await sleep_until(due);
        continue;
      }
      const int now_waiting = unsent(client, upstream);
      if (now_waiting == waiting) break;
      waiting = now_waiting;
      self.moved_ = Loop::current().now();
    }
    self.over_.set();
  }

  static Task<> carry(Tunnel& self, Socket& from, Socket& to, uint64_t& bytes) {
    for (int round = 1;; ++round) {
      if (round % kRoundsBeforeYield == 0) co_await yield();
      Chunk pieces[kGatherPieces];
      iovec vectors[kGatherPieces];
      size_t count = 0;
      size_t size = 0;
      do {
        Result<Chunk> piece = co_await from.recv(kNever);
        if (!piece) {
          self.over_.set();
          co_return;
        }
        if (piece->empty()) {
          to.shutdown_send();
          if (++self.ended_ == 2) self.over_.set();
          co_return;
        }
        pieces[count] = *std::move(piece);
        vectors[count] = {const_cast<char*>(pieces[count].data()), pieces[count].size()};
        size += pieces[count++].size();
      } while (count < kGatherPieces && from.has_bytes());
      self.moved_ = Loop::current().now();
      auto sent = co_await to.send({vectors, count}, kNever);
      if (!sent) {
        self.over_.set();
        co_return;
      }
      bytes += size;
      self.moved_ = Loop::current().now();
    }
  }

  std::unique_ptr<ClientConnection> upstream_;
  Duration idle_;
  Time moved_{};   // when something last went either way
  int ended_ = 0;  // ways that came to their end
  Event over_;
};

}  // namespace

std::unique_ptr<UpgradeHandler> make_tunnel(std::unique_ptr<ClientConnection> upstream, Duration idle) {
  return std::make_unique<Tunnel>(std::move(upstream), idle);
}

}  // namespace trellis::http
