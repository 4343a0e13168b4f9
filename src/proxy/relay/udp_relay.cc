#include "proxy/relay/udp_relay.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <unordered_map>

#include "base/hash.h"
#include "base/log.h"
#include "proxy/relay/fault.h"
#include "proxy/relay/pump.h"
#include "proxy/relay/relay_log.h"
#include "runtime/loop.h"
#include "runtime/socket.h"
#include "runtime/sync.h"
#include "upstream/cluster.h"

namespace trellis::proxy {

namespace {

constexpr unsigned kBatch = 16;          // datagrams a system call
constexpr size_t kLargest = 64 * 1024;   // no datagram is larger
constexpr int kBatchesBeforeYield = 16;  // of one socket
constexpr auto kDrain = std::chrono::seconds(2);
constexpr size_t kMaxHeld = 16 * 1024 * 1024;  // bytes that injected delays keep
constexpr int kBuffer = 1024 * 1024;           // of the kernel, for bursts; as far as it allows it

// Who sends, and to which of our addresses: bytes, so that they can be hashed. Unused ones are zero.
struct Key {
  std::array<char, 16> client{};
  std::array<char, 16> local{};
  uint32_t scope = 0;
  uint16_t port = 0;
  uint16_t family = 0;
  bool operator==(const Key&) const = default;
};
static_assert(std::has_unique_object_representations_v<Key>);

// Addresses are the senders' choice: with a seed they cannot choose them to meet in one bucket.
struct KeyHash {
  uint64_t seed = 0;
  size_t operator()(const Key& key) const noexcept {
    return hash64({reinterpret_cast<const char*>(&key), sizeof key}, seed);
  }
};

struct Control {
  cmsghdr& head() noexcept { return *reinterpret_cast<cmsghdr*>(bytes); }
  alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(in6_pktinfo))];
};

// Room for one batch; of one relay, between two waits only.
struct Batch {
  Batch() : bytes(new char[kBatch * kLargest]) {}
  void prepare() noexcept {
    for (unsigned i = 0; i < kBatch; ++i) {
      vectors[i] = {bytes.get() + i * kLargest, kLargest};
      headers[i] = {};
      headers[i].msg_hdr.msg_iov = &vectors[i];
      headers[i].msg_hdr.msg_iovlen = 1;
    }
  }
  std::string_view datagram(unsigned i) const noexcept {
    return {static_cast<const char*>(vectors[i].iov_base), headers[i].msg_len};
  }
  std::unique_ptr<char[]> bytes;
  iovec vectors[kBatch];
  mmsghdr headers[kBatch];
  sockaddr_storage from[kBatch];
  Control control[kBatch];
};

// The address that a datagram was sent to, in the form in which a reply is sent from it. 0 bytes: not told.
size_t reply_control(msghdr& message, Control& out, Key& key) noexcept {
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    const bool four = head->cmsg_level == IPPROTO_IP && head->cmsg_type == IP_PKTINFO;
    const bool six = head->cmsg_level == IPPROTO_IPV6 && head->cmsg_type == IPV6_PKTINFO;
    if (!four && !six) continue;
    out = {};
    out.head().cmsg_level = head->cmsg_level;
    out.head().cmsg_type = head->cmsg_type;
    if (four) {
      in_pktinfo info{};
      std::memcpy(&info, CMSG_DATA(head), sizeof info);
      info.ipi_ifindex = 0;  // the routes decide
      std::memcpy(key.local.data(), &info.ipi_spec_dst, sizeof info.ipi_spec_dst);
      std::memcpy(CMSG_DATA(&out.head()), &info, sizeof info);
      out.head().cmsg_len = CMSG_LEN(sizeof info);
      return CMSG_SPACE(sizeof info);
    }
    in6_pktinfo info{};
    std::memcpy(&info, CMSG_DATA(head), sizeof info);
    if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = 0;
    std::memcpy(key.local.data(), &info.ipi6_addr, sizeof info.ipi6_addr);
    std::memcpy(CMSG_DATA(&out.head()), &info, sizeof info);
    out.head().cmsg_len = CMSG_LEN(sizeof info);
    return CMSG_SPACE(sizeof info);
  }
  return 0;
}

void put_client(const sockaddr_storage& from, Key& key) noexcept {
  key.family = from.ss_family;
  if (from.ss_family == AF_INET) {
    const auto& four = reinterpret_cast<const sockaddr_in&>(from);
    std::memcpy(key.client.data(), &four.sin_addr, sizeof four.sin_addr);
    key.port = four.sin_port;
  } else {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(from);
    std::memcpy(key.client.data(), &six.sin6_addr, sizeof six.sin6_addr);
    key.port = six.sin6_port;
    key.scope = six.sin6_scope_id;
  }
}

// From where a datagram came, as far as it is needed to pass it on later.
struct Origin {
  bool from_host = false;  // to the client of the session, and only the key is given
  Key key;
  net::Address client;
  Control control;
  size_t control_size = 0;
};

// A datagram that an injected delay keeps.
struct Held {
  Origin origin;
  std::string bytes;
  size_t cost() const noexcept { return sizeof *this + bytes.size(); }
};

enum class Dropped : uint8_t { sessions, draining, no_host, refused, full, too_long, failed };
constexpr std::array<const char*, 7> kDropped = {"sessions", "draining", "no_host", "refused",
                                                 "full",     "too_long", "failed"};

Dropped dropped_for(int error) noexcept {
  switch (error) {
    case EAGAIN:
    case ENOBUFS: return Dropped::full;
    case EMSGSIZE: return Dropped::too_long;
    case ECONNREFUSED: return Dropped::refused;
    default: return Dropped::failed;
  }
}

struct Session {
  Key key;
  net::Address client;
  Control control;  // what replies are sent with
  size_t control_size = 0;
  Socket socket;  // connected to the host
  std::shared_ptr<const UdpRelayOptions> options;
  std::shared_ptr<const upstream::Host> host;
  Time began{};
  Time last{};
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
  bool answered = false;  // the last datagram came from the host
  bool over = false;      // the next sweep closes it
  RelayEnd end = RelayEnd::idle;
  Session* newer = nullptr;  // by the last datagram
  Session* older = nullptr;
  Task<> replies;  // goes first
};

}  // namespace

struct UdpRelay::Impl {
  Impl(int fd, std::shared_ptr<const UdpRelayOptions> first_options, Metrics& metrics)
      : options(std::move(first_options)),
        figures(metrics, options->listener, "udp"),
        datagrams_in(datagrams(metrics, "in")),
        datagrams_out(datagrams(metrics, "out")),
        socket(Socket::adopt_datagrams(fd)),
        sessions(16, KeyHash{Loop::current().rng().next()}),
        sweep(&Impl::sweep_due, this),
        release(&Impl::release_due, this) {
    for (size_t i = 0; i < kDropped.size(); ++i) {
      dropped[i] = &metrics.counter("trellis_relay_dropped_total", "datagrams that were not passed on",
                                    {{"listener", options->listener}, {"reason", kDropped[i]}});
    }
  }
  ~Impl() {
    for (auto& [key, session] : sessions) {
      session->end = RelayEnd::drained;
      tell(*session);
    }
  }
  Counter& datagrams(Metrics& metrics, const char* direction) const {
    return metrics.counter("trellis_relay_datagrams_total", "datagrams that were passed on, seen from the client",
                           {{"listener", options->listener}, {"direction", direction}});
  }
  void drop(Dropped why) noexcept { dropped[static_cast<size_t>(why)]->add(); }

  static Task<> listen(Impl& relay);
  static Task<> answer(Impl& relay, Session& session);
  bool receive_some();
  void forward(const Origin& origin, std::string_view datagram);
  Session* open(const Origin& origin);
  bool is_to_move(const Session& session) const;
  void send_back(Session& session, unsigned count);
  bool passes(const Origin& origin, std::string_view datagram);
  unsigned keep_what_passes(const Session& session, unsigned count);
  void let_go(const Held& one);
  static void release_due(Timer& timer) noexcept;
  void release_until(Time due) noexcept;
  void touch(Session& session) noexcept;
  void unlink(Session& session) noexcept;
  void tell(const Session& session) noexcept;
  void close(Session& session) noexcept;
  void close_soon(Session& session, RelayEnd end) noexcept;
  void arm_sweep() noexcept;
  static void sweep_due(Timer& timer) noexcept;

  std::shared_ptr<const UdpRelayOptions> options;
  RelayFigures figures;
  Counter& datagrams_in;
  Counter& datagrams_out;
  std::array<Counter*, kDropped.size()> dropped{};
  Socket socket;
  Batch batch;    // from clients
  Batch replies;  // from hosts: a session may begin while a batch of clients is worked off
  std::unordered_map<Key, std::unique_ptr<Session>, KeyHash> sessions;
  Session* newest = nullptr;
  Session* oldest = nullptr;
  bool draining = false;
  Event empty;
  Timer sweep;
  std::multimap<Time, Held> held;  // by when they go on
  size_t held_bytes = 0;
  Timer release;
  TaskGroup group;  // last: its task uses what is above
};

// --- from the clients ---

Task<> UdpRelay::Impl::listen(Impl& relay) {
  for (int batches = 1;; ++batches) {
    const bool more = relay.receive_some();
    if (!more) {
      relay.socket.drained();
      co_await relay.socket.readable(kNever);
    } else if (batches % kBatchesBeforeYield == 0) {
      co_await yield();
    }
  }
}

// False: nothing is left.
bool UdpRelay::Impl::receive_some() {
  batch.prepare();
  for (unsigned i = 0; i < kBatch; ++i) {
    msghdr& message = batch.headers[i].msg_hdr;
    message.msg_name = &batch.from[i];
    message.msg_namelen = sizeof batch.from[i];
    message.msg_control = &batch.control[i];
    message.msg_controllen = sizeof batch.control[i];
  }
  const int count = ::recvmmsg(socket.fd(), batch.headers, kBatch, MSG_DONTWAIT, nullptr);
  // An error here is what ICMP said of an earlier reply, or a lack of memory: the next datagram comes all the same.
  if (count < 0) return errno == EINTR || errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == ENETUNREACH;
  for (unsigned i = 0; i < static_cast<unsigned>(count); ++i) {
    Origin origin;
    origin.client.storage = batch.from[i];
    origin.client.length = batch.headers[i].msg_hdr.msg_namelen;
    origin.control_size = reply_control(batch.headers[i].msg_hdr, origin.control, origin.key);
    put_client(origin.client.storage, origin.key);
    if (!options->faults || passes(origin, batch.datagram(i))) forward(origin, batch.datagram(i));
  }
  return static_cast<unsigned>(count) == kBatch;
}

void UdpRelay::Impl::forward(const Origin& origin, std::string_view datagram) {
  const auto found = sessions.find(origin.key);
  Session* session = found != sessions.end() ? found->second.get() : nullptr;
  if (session && session->host->failing() && !session->over && is_to_move(*session)) [[unlikely]] {
    session->end = RelayEnd::host_failing;
    close(*session);
    session = nullptr;
  }
  if (!session) session = open(origin);
  if (!session) return;
  if (session->over) return drop(Dropped::refused);
  const ssize_t sent = ::send(session->socket.fd(), datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  // What ICMP said of an earlier one. The client's next datagram begins a new session, perhaps at another host.
  if (sent < 0 && errno == ECONNREFUSED) {
    drop(Dropped::refused);
    close_soon(*session, RelayEnd::host_refused);
    return;
  }
  if (sent < 0) return drop(dropped_for(errno));
  session->answered = false;
  session->bytes_in += datagram.size();
  figures.bytes_in.add(datagram.size());
  datagrams_in.add();
  touch(*session);
}

// Who keeps sending to a host that fails its checks would stay there for ever: without an answer, and without a word of
// ICMP where the machine is gone. Is there another one?
bool UdpRelay::Impl::is_to_move(const Session& session) const {
  if (draining) return false;
  const std::shared_ptr<upstream::Host> other = options->to->pick_host(session.client.host());
  return other && other != session.host && !other->failing();
}

Session* UdpRelay::Impl::open(const Origin& origin) {
  if (draining) {
    drop(Dropped::draining);
    return nullptr;
  }
  if (sessions.size() >= options->sessions) {
    static LogThrottle throttle(std::chrono::seconds(10));
    log_every(throttle, LogLevel::warn, "datagrams of new clients are dropped: all sessions are in use",
              {{"listener", options->listener}, {"sessions", sessions.size()}});
    drop(Dropped::sessions);
    figures.turned_away.add();
    return nullptr;
  }
  const std::shared_ptr<upstream::Host> host = options->to->pick_host(origin.client.host());
  const net::Address to = host ? host->facts.address : net::Address();
  const int fd = host ? ::socket(to.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&to.storage), to.length) != 0) {
    const int error = errno;
    if (fd >= 0) ::close(fd);
    static LogThrottle throttle(std::chrono::seconds(10));
    log_every(throttle, LogLevel::warn, "no host for datagrams",
              {{"listener", options->listener},
               {"upstream", options->to->name()},
               {"error", host ? errno_error("socket", error).to_string() : "the upstream has none that works"}});
    drop(Dropped::no_host);
    return nullptr;
  }
  auto made = std::make_unique<Session>();
  Session& session = *made;
  session.key = origin.key;
  session.client = origin.client;
  session.control = origin.control;
  session.control_size = origin.control_size;
  session.socket = Socket::adopt_datagrams(fd);
  session.options = options;
  session.host = host;
  session.began = Loop::current().now();
  sessions.emplace(origin.key, std::move(made));
  figures.opened.add();
  touch(session);
  session.replies = answer(*this, session);
  session.replies.start();
  return &session;
}

// --- from a host ---

Task<> UdpRelay::Impl::answer(Impl& relay, Session& session) {
  session.socket.drained();  // nothing was sent yet
  for (int batches = 1;; ++batches) {
    co_await session.socket.readable(kNever);
    if (session.over) co_return;
    relay.replies.prepare();
    const int count = ::recvmmsg(session.socket.fd(), relay.replies.headers, kBatch, MSG_DONTWAIT, nullptr);
    if (count < 0 && errno == ECONNREFUSED) co_return relay.close_soon(session, RelayEnd::host_refused);
    if (count > 0) {
      const auto came = static_cast<unsigned>(count);
      for (unsigned i = 0; i < came; ++i) relay.replies.vectors[i].iov_len = relay.replies.headers[i].msg_len;
      relay.send_back(session, relay.options->faults ? relay.keep_what_passes(session, came) : came);
      session.answered = true;
      relay.touch(session);
      if (relay.draining) co_return relay.close_soon(session, RelayEnd::drained);
    }
    if (count < static_cast<int>(kBatch)) {
      session.socket.drained();
    } else if (batches % kBatchesBeforeYield == 0) {
      co_await yield();
    }
  }
}

// The first `count` of the batch of replies.
void UdpRelay::Impl::send_back(Session& session, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    msghdr& message = replies.headers[i].msg_hdr;
    message.msg_name = &session.client.storage;
    message.msg_namelen = session.client.length;
    message.msg_control = session.control_size > 0 ? &session.control : nullptr;
    message.msg_controllen = session.control_size;
    message.msg_flags = 0;
  }
  unsigned done = 0;
  while (done < count) {
    const int sent = ::sendmmsg(socket.fd(), replies.headers + done, count - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent <= 0) {
      drop(dropped_for(errno));
      ++done;  // not this one
      continue;
    }
    for (unsigned i = done; i < done + static_cast<unsigned>(sent); ++i) {
      const size_t size = replies.vectors[i].iov_len;
      session.bytes_out += size;
      figures.bytes_out.add(size);
      datagrams_out.add();
    }
    done += static_cast<unsigned>(sent);
  }
}

// --- faults ---

// False: it is lost, or goes on later.
bool UdpRelay::Impl::passes(const Origin& origin, std::string_view datagram) {
  UdpFaults& faults = *options->faults;
  const Fault fault = faults.plan.draw(Loop::current().rng());
  if (fault.reset) {
    faults.drops.add();
    return false;
  }
  if (fault.delay == Duration::zero() || draining) return true;
  Held one{origin, std::string(datagram)};
  if (held_bytes + one.cost() > kMaxHeld) {
    drop(Dropped::full);
    return false;
  }
  faults.delays.add();
  held_bytes += one.cost();
  held.emplace(after(Loop::current().now(), fault.delay), std::move(one));
  release.set(Loop::current().timers(), held.begin()->first);
  return false;
}

// Moves those that go back at once to the front of the batch of replies, and says how many they are.
unsigned UdpRelay::Impl::keep_what_passes(const Session& session, unsigned count) {
  Origin origin;
  origin.from_host = true;
  origin.key = session.key;
  unsigned kept = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (!passes(origin, {static_cast<const char*>(replies.vectors[i].iov_base), replies.vectors[i].iov_len})) continue;
    std::swap(replies.vectors[kept], replies.vectors[i]);
    ++kept;
  }
  return kept;
}

void UdpRelay::Impl::let_go(const Held& one) {
  if (!one.origin.from_host) return forward(one.origin, one.bytes);
  const auto found = sessions.find(one.origin.key);
  if (found == sessions.end() || found->second->over) return drop(Dropped::failed);
  Session& session = *found->second;
  replies.prepare();
  replies.vectors[0] = {const_cast<char*>(one.bytes.data()), one.bytes.size()};
  send_back(session, 1);
  touch(session);
}

void UdpRelay::Impl::release_due(Timer& timer) noexcept {
  static_cast<Impl*>(timer.owner())->release_until(Loop::current().now());
}

void UdpRelay::Impl::release_until(Time due) noexcept {
  while (!held.empty() && held.begin()->first <= due) {
    const auto first = held.extract(held.begin());
    held_bytes -= first.mapped().cost();
    let_go(first.mapped());
  }
  if (!held.empty()) release.set(Loop::current().timers(), held.begin()->first);
}

// --- the sessions, by their last datagram ---

void UdpRelay::Impl::touch(Session& session) noexcept {
  session.last = Loop::current().now();
  if (newest == &session) return;
  unlink(session);
  session.older = newest;
  (newest ? newest->newer : oldest) = &session;
  newest = &session;
  if (sweep.due() == kNever) arm_sweep();
}

void UdpRelay::Impl::unlink(Session& session) noexcept {
  if (newest != &session && !session.newer) return;  // not in line yet
  (session.newer ? session.newer->older : newest) = session.older;
  (session.older ? session.older->newer : oldest) = session.newer;
  session.newer = session.older = nullptr;
}

void UdpRelay::Impl::tell(const Session& session) noexcept {
  const std::string client = session.client.host();
  figures.closed.add();
  figures.ended({.listener = session.options->listener,
                 .protocol = "udp",
                 .client = client,
                 .client_port = session.client.port(),
                 .server_name = {},
                 .bytes_in = session.bytes_in,
                 .bytes_out = session.bytes_out,
                 .took = Loop::current().now() - session.began,
                 .upstream = session.options->to->name(),
                 .upstream_host = session.host->facts.name,
                 .end = session.end,
                 .wall = Loop::current().wall()},
                session.options->access_log.get());
}

// Never from inside the session's own task.
void UdpRelay::Impl::close(Session& session) noexcept {
  tell(session);
  unlink(session);
  sessions.erase(Key(session.key));
  if (draining && sessions.empty()) empty.set();
}

// By the next sweep, which is due now.
void UdpRelay::Impl::close_soon(Session& session, RelayEnd end) noexcept {
  session.end = end;
  session.over = true;
  unlink(session);
  session.newer = oldest;
  (oldest ? oldest->older : newest) = &session;
  oldest = &session;
  sweep.set(Loop::current().timers(), Loop::current().now());
}

void UdpRelay::Impl::arm_sweep() noexcept {
  if (!oldest) return;
  sweep.set(Loop::current().timers(), oldest->over ? Loop::current().now() : after(oldest->last, options->idle));
}

void UdpRelay::Impl::sweep_due(Timer& timer) noexcept {
  auto& relay = *static_cast<Impl*>(timer.owner());
  const Time now = Loop::current().now();
  while (relay.oldest && (relay.oldest->over || after(relay.oldest->last, relay.options->idle) <= now)) {
    relay.close(*relay.oldest);
  }
  relay.arm_sweep();
}

// --- UdpRelay ---

Result<int> listen_udp(const net::Address& address) {
  const int fd = ::socket(address.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(errno_error("socket", errno));
  const int on = 1;
  const bool six = address.storage.ss_family == AF_INET6;
  const bool ready =
      ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 &&
      ::setsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_RECVPKTINFO : IP_PKTINFO, &on, sizeof on) == 0 &&
      ::bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0;
  if (!ready) {
    const int error = errno;
    ::close(fd);
    return fail(errno_error("listen on " + address.to_string(), error));
  }
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kBuffer, sizeof kBuffer);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kBuffer, sizeof kBuffer);
  return fd;
}

UdpRelay::UdpRelay(int fd, std::shared_ptr<const UdpRelayOptions> options, Metrics& metrics)
    : impl_(std::make_unique<Impl>(fd, std::move(options), metrics)) {
  impl_->group.spawn(Impl::listen(*impl_));
}

UdpRelay::~UdpRelay() = default;

void UdpRelay::set_options(std::shared_ptr<const UdpRelayOptions> options) {
  impl_->options = std::move(options);
  impl_->arm_sweep();
}

Task<bool> UdpRelay::drain(Deadline deadline) {
  Impl& relay = *impl_;
  relay.release_until(kNever);  // nobody would be there to let them go
  relay.draining = true;
  for (Session* session = relay.newest; session;) {
    Session* const older = session->older;
    if (session->answered) {
      session->end = RelayEnd::drained;
      relay.close(*session);
    }
    session = older;
  }
  // Nothing more is taken in: where a new process has the socket, too, the datagrams are its own.
  relay.group.cancel_all();
  if (relay.sessions.empty()) co_return true;
  const Deadline due = std::min(deadline, after(Loop::current().now(), kDrain));
  const bool ended = co_await relay.empty.wait(due);
  co_return ended;
}

size_t UdpRelay::sessions() const noexcept { return impl_->sessions.size(); }

}  // namespace trellis::proxy
