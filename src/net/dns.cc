#include "net/dns.h"

#include <ares.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "net/dns_message.h"
#include "runtime/loop.h"
#include "runtime/sync.h"

namespace trellis::net {

namespace {

constexpr int kTryMillis = 1000;  // of the first try at a server; each later one takes twice as long
constexpr int kTries = 3;
constexpr Duration kHostsFileTtl = std::chrono::seconds(10);
constexpr int kClassInternet = 1;
constexpr int kTypeA = 1;
constexpr int kTypeAaaa = 28;
constexpr int kTypeSrv = 33;

// Of the loop that asks; the thread posts the answer there.
struct Waiting {
  Event ended;
  std::optional<Result<DnsAnswer>> answer;
};

struct Request {
  std::string name;
  uint16_t port = 0;
  bool services = false;
  Loop* home = nullptr;
  std::shared_ptr<Waiting> waiting;
};

// A name whose addresses are looked up: the one asked for, or a target of a service.
struct Target {
  std::string name;
  uint16_t port = 0;
  uint16_t priority = 0;
  uint16_t weight = 0;
};

struct Job {
  Request request;
  std::vector<Target> targets;
  std::vector<DnsHost> found;
  Duration ttl = Duration::max();
  std::optional<Error> trouble;  // the first that is no plain "there is none"
  bool exists = false;           // the name, whatever its records are
  size_t open = 0;               // questions under way
};

// One question to the servers; c-ares carries it.
struct Question {
  void* worker;
  std::shared_ptr<Job> job;
  std::optional<size_t> target;  // none: for the services
};

Error trouble_of(const std::string& name, int status) {
  const std::string what = "cannot resolve " + name + ": ";
  switch (status) {
    case ARES_ENOTFOUND: return Error(Code::not_found, what + "there is no such name").from(Side::upstream);
    case ARES_ENODATA: return Error(Code::not_found, what + "it has no such records").from(Side::upstream);
    case ARES_ETIMEOUT: return Error(Code::deadline_exceeded, what + "no server answers").from(Side::upstream);
    case ARES_ESERVFAIL: return Error(Code::unavailable, what + "the servers failed").from(Side::upstream);
    case ARES_EREFUSED: return Error(Code::unavailable, what + "the servers refused").from(Side::upstream);
    case ARES_ECONNREFUSED:
      return Error(Code::unavailable, what + "the servers cannot be reached").from(Side::upstream);
    case ARES_EBADRESP: return Error(Code::data_loss, what + "the server's answer cannot be read").from(Side::upstream);
    default: return Error(Code::unavailable, what + ::ares_strerror(status)).from(Side::upstream);
  }
}

bool is_none(int status) noexcept { return status == ARES_ENOTFOUND || status == ARES_ENODATA; }

void set_port(Address& address, uint16_t port) noexcept {
  if (address.storage.ss_family == AF_INET) {
    reinterpret_cast<sockaddr_in&>(address.storage).sin_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in6&>(address.storage).sin6_port = htons(port);
  }
}

// Has this machine a way there? Sends nothing. Without IPv6, the IPv6 addresses of a name are no hosts.
bool has_route(const Address& address) noexcept {
  const int fd = ::socket(address.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno != EAFNOSUPPORT;
  const int failed = ::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length);
  const int error = failed == 0 ? 0 : errno;
  ::close(fd);
  return error != ENETUNREACH && error != EADDRNOTAVAIL && error != EAFNOSUPPORT;
}

std::string csv_of(const std::vector<Address>& servers) {
  std::string text;
  for (const Address& server : servers) text += (text.empty() ? "" : ",") + server.to_string();
  return text;
}

}  // namespace

class Dns::Worker {
 public:
  explicit Worker(std::vector<Address> servers) : servers_(std::move(servers)) {}
  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    if (thread_.joinable()) {
      wake();
      thread_.join();
    }
    if (wake_fd_ >= 0) ::close(wake_fd_);
  }

  Result<> submit(Request request) {
    const std::lock_guard lock(mutex_);
    if (under_way_.load() >= kMaxLookups)
      return fail(Error(Code::resource_exhausted, "too many names are being looked up").from(Side::self));
    if (!thread_.joinable()) {
      wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
      if (wake_fd_ < 0) return fail(errno_error("eventfd", errno));
      thread_ = std::thread([this] { run(); });
    }
    under_way_.fetch_add(1);
    fresh_.push_back(std::move(request));
    wake();
    return {};
  }

 private:
  void wake() const noexcept {
    const uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_fd_, &one, sizeof one);
  }

  void run() {
    static std::once_flag once;
    std::call_once(once, [] { ::ares_library_init(ARES_LIB_INIT_ALL); });
    while (true) {
      if (channel_ && jobs_ == 0) close_channel();
      std::vector<Request> fresh;
      {
        const std::lock_guard lock(mutex_);
        if (stopping_) break;
        fresh.swap(fresh_);
      }
      if (!fresh.empty() && !channel_) open_channel();
      for (Request& request : fresh) begin(std::move(request));
      wait();
    }
    close_channel();  // whoever still waits is told
  }

  void open_channel() {
    const std::string servers = csv_of(servers_);
    ares_options options{};
    options.timeout = kTryMillis;
    options.tries = kTries;
    options.sock_state_cb = &Worker::socket_changed;
    options.sock_state_cb_data = this;
    int status = ::ares_init_options(&channel_, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status == ARES_SUCCESS && !servers.empty()) status = ::ares_set_servers_ports_csv(channel_, servers.c_str());
    if (status == ARES_SUCCESS) return;
    log_warn("names cannot be looked up", {{"error", ::ares_strerror(status)}});
    close_channel();
  }
  void close_channel() {
    if (channel_) ::ares_destroy(std::exchange(channel_, nullptr));
    sockets_.clear();
  }

  // --- Waiting ---

  struct Interest {
    bool read = false;
    bool write = false;
  };
  static void socket_changed(void* self, ares_socket_t fd, int readable, int writable) {
    auto& sockets = static_cast<Worker*>(self)->sockets_;
    if (readable || writable) {
      sockets[fd] = {readable != 0, writable != 0};
    } else {
      sockets.erase(fd);
    }
  }

  void wait() {
    std::vector<pollfd> polled{{.fd = wake_fd_, .events = POLLIN, .revents = 0}};
    for (const auto& [fd, interest] : sockets_) {
      const auto events = static_cast<short>((interest.read ? POLLIN : 0) | (interest.write ? POLLOUT : 0));
      polled.push_back({.fd = fd, .events = events, .revents = 0});
    }
    int millis = -1;
    timeval span{};
    if (channel_ && ::ares_timeout(channel_, nullptr, &span))
      millis = static_cast<int>(span.tv_sec * 1000 + (span.tv_usec + 999) / 1000);
    ::poll(polled.data(), polled.size(), millis);
    if (polled.front().revents != 0) {
      uint64_t count = 0;
      [[maybe_unused]] const auto read = ::read(wake_fd_, &count, sizeof count);
    }
    if (!channel_) return;
    for (size_t i = 1; i < polled.size(); ++i) {
      const short events = polled[i].revents;
      if (events == 0) continue;
      const bool failed = (events & (POLLERR | POLLHUP | POLLNVAL)) != 0;
      const bool read = failed || (events & POLLIN) != 0;
      const bool write = failed || (events & POLLOUT) != 0;
      ::ares_process_fd(channel_, read ? polled[i].fd : ARES_SOCKET_BAD, write ? polled[i].fd : ARES_SOCKET_BAD);
    }
    ::ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // what waited too long
  }

  // --- One lookup ---

  void begin(Request request) {
    ++jobs_;
    auto job = std::make_shared<Job>();
    job->request = std::move(request);
    job->open = 1;  // until all questions are asked: answers may come from inside
    if (!channel_) {
      job->trouble = Error(Code::unavailable, "cannot resolve " + job->request.name + ": the resolver cannot start")
                         .from(Side::self);
    } else if (job->request.services) {
      ask(job, job->request.name, kTypeSrv, std::nullopt);
    } else {
      job->targets.push_back({.name = job->request.name, .port = job->request.port});
      ask_target(job, 0);
    }
    close(job);
  }

  void ask_target(const std::shared_ptr<Job>& job, size_t index) {
    const std::string name = job->targets[index].name;
    if (take_from_hosts_file(*job, job->targets[index])) return;
    ask(job, name, kTypeA, index);
    ask(job, name, kTypeAaaa, index);
  }

  void ask(const std::shared_ptr<Job>& job, const std::string& name, int type, std::optional<size_t> target) {
    ++job->open;
    ::ares_search(channel_, name.c_str(), kClassInternet, type, &Worker::answered, new Question{this, job, target});
  }

  static void answered(void* asked, int status, int, unsigned char* bytes, int length) {
    const std::unique_ptr<Question> question(static_cast<Question*>(asked));
    auto& self = *static_cast<Worker*>(question->worker);
    Job& job = *question->job;
    Result<DnsRecords> records = DnsRecords();
    if (status == ARES_SUCCESS) records = read_dns_answer(std::span(bytes, static_cast<size_t>(std::max(length, 0))));
    const std::string& name = question->target ? job.targets[*question->target].name : job.request.name;
    job.exists = job.exists || status == ARES_SUCCESS || status == ARES_ENODATA;
    if (status != ARES_SUCCESS && !is_none(status)) {
      if (!job.trouble) job.trouble = trouble_of(name, status);
    } else if (!records) {
      if (!job.trouble) job.trouble = trouble_of(name, ARES_EBADRESP);
    } else if (question->target) {
      add_addresses(job, job.targets[*question->target], *std::move(records));
    } else {
      self.add_services(question->job, *std::move(records));
    }
    self.close(question->job);
  }

  static void add_addresses(Job& job, const Target& target, DnsRecords records) {
    for (Address& address : records.addresses) {
      set_port(address, target.port);
      job.found.push_back({address, target.priority, target.weight, target.name});
    }
    if (!records.addresses.empty()) job.ttl = std::min(job.ttl, records.ttl);
  }

  void add_services(const std::shared_ptr<Job>& job, DnsRecords records) {
    std::erase_if(records.services, [](const DnsService& service) {
      return service.target.empty() || service.port == 0 || !is_dns_name(service.target);
    });
    if (records.services.empty()) return;
    job->ttl = records.ttl;
    for (DnsService& service : records.services) {
      // A dot at the end: no search list for what a server gave.
      job->targets.push_back({service.target + ".", service.port, service.priority, service.weight});
    }
    for (size_t i = 0; i < job->targets.size() && channel_; ++i) ask_target(job, i);
  }

  bool take_from_hosts_file(Job& job, const Target& target) {
    std::string name = target.name;
    if (name.ends_with('.')) name.pop_back();
    const auto add = [&](Address address) {
      job.found.push_back({address, target.priority, target.weight, target.name});
      job.ttl = std::min(job.ttl, kHostsFileTtl);
      return true;
    };
    bool found = false;
    for (const int family : {AF_INET, AF_INET6}) {
      hostent* entry = nullptr;
      if (::ares_gethostbyname_file(channel_, name.c_str(), family, &entry) != ARES_SUCCESS) continue;
      const std::unique_ptr<hostent, decltype(&::ares_free_hostent)> owned(entry, &::ares_free_hostent);
      for (char** at = entry->h_addr_list; at && *at && job.found.size() < kMaxDnsHosts; ++at) {
        char text[INET6_ADDRSTRLEN] = "";
        if (!::ares_inet_ntop(entry->h_addrtype, *at, text, sizeof text)) continue;
        if (const auto address = make_address(text, target.port)) found = add(*address);
      }
    }
    if (!found && (name == "localhost" || name.ends_with(".localhost"))) {  // RFC 6761 section 6.3
      if (const auto address = make_address("127.0.0.1", target.port)) found = add(*address);
    }
    return found;
  }

  // One of what keeps the job open has ended.
  void close(const std::shared_ptr<Job>& job) {
    if (--job->open > 0) return;
    --jobs_;
    under_way_.fetch_sub(1);
    finish(*job);
  }

  static void finish(Job& job) {
    const Request& request = job.request;
    Result<DnsAnswer> answer = DnsAnswer();
    if (job.found.empty()) {
      const int none = job.exists ? ARES_ENODATA : ARES_ENOTFOUND;
      answer = fail(job.trouble ? *std::move(job.trouble) : trouble_of(request.name, none));
    } else {
      const auto routed =
          std::ranges::stable_partition(job.found, [](const DnsHost& host) { return has_route(host.address); });
      if (routed.begin() != job.found.begin()) job.found.erase(routed.begin(), routed.end());
      // Servers turn the records round: the same ones must be the same answer, and the same ones of too many be taken.
      std::ranges::stable_sort(job.found, {}, [](const DnsHost& host) {
        return std::tuple(host.priority, host.target, host.address.to_string());
      });
      if (job.found.size() > kMaxDnsHosts) job.found.resize(kMaxDnsHosts);
      for (DnsHost& host : job.found) {
        if (!request.services) {
          host.target.clear();
        } else if (host.target.ends_with('.')) {
          host.target.pop_back();
        }
      }
      answer->hosts = std::move(job.found);
      answer->ttl = job.ttl;
      answer->complete = !job.trouble.has_value();
    }
    auto found = std::make_shared<Result<DnsAnswer>>(std::move(answer));
    request.home->post([waiting = request.waiting, found] {
      waiting->answer = std::move(*found);
      waiting->ended.set();
    });
  }

  // WHY a lock: the loops give their requests to one thread; held for moments.
  std::mutex mutex_;
  std::vector<Request> fresh_;
  bool stopping_ = false;
  std::atomic<size_t> under_way_{0};
  int wake_fd_ = -1;
  std::thread thread_;

  const std::vector<Address> servers_;
  // Of the thread.
  ares_channel channel_ = nullptr;
  std::map<ares_socket_t, Interest> sockets_;
  size_t jobs_ = 0;
};

Dns::Dns(std::vector<Address> servers) : worker_(std::make_unique<Worker>(std::move(servers))) {}
Dns::~Dns() = default;

namespace {
Task<Result<DnsAnswer>> answer_of(std::shared_ptr<Waiting> waiting, std::string name, Deadline deadline) {
  const bool in_time = co_await waiting->ended.wait(deadline);
  if (!in_time)
    co_return fail(Error(Code::deadline_exceeded, "cannot resolve " + name + " in time").from(Side::upstream));
  co_return std::move(*waiting->answer);
}
}  // namespace

Task<Result<DnsAnswer>> Dns::addresses(std::string name, uint16_t port, Deadline deadline) {
  if (const auto numeric = make_address(name, port))
    co_return DnsAnswer{.hosts = {{.address = *numeric}}, .ttl = Duration::max()};
  if (!is_dns_name(name)) co_return fail(Error(Code::invalid_argument, "\"" + name + "\" is no name of a host"));
  auto waiting = std::make_shared<Waiting>();
  CO_TRY_VOID(worker_->submit({name, port, false, &Loop::current(), waiting}));
  auto answering = answer_of(std::move(waiting), std::move(name), deadline);
  Result<DnsAnswer> answer = co_await answering;
  co_return answer;
}

Task<Result<DnsAnswer>> Dns::services(std::string name, Deadline deadline) {
  if (!is_dns_name(name)) co_return fail(Error(Code::invalid_argument, "\"" + name + "\" is no name of services"));
  auto waiting = std::make_shared<Waiting>();
  CO_TRY_VOID(worker_->submit({name, 0, true, &Loop::current(), waiting}));
  auto answering = answer_of(std::move(waiting), std::move(name), deadline);
  Result<DnsAnswer> answer = co_await answering;
  co_return answer;
}

}  // namespace trellis::net
