#include "app/commands/run.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "app/config.h"
#include "app/node/node.h"
#include "app/version.h"
#include "base/log.h"

namespace trellis::app {

namespace {

// systemd's protocol (sd_notify(3)): one datagram; nothing when nobody listens.
void notify_systemd(const std::string& state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (!path || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t size = std::strlen(path);
  if (size >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, size);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t sent =
      ::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address),
               static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size));
  ::close(fd);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Reloads asked for by the control API, to be run on the main thread.
class ReloadQueue {
 public:
  ReloadQueue() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~ReloadQueue() { ::close(fd_); }
  using Done = std::function<void(Result<ReloadReport>)>;
  void push(Done done) {
    {
      std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(done));
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t wrote = ::write(fd_, &one, sizeof one);
  }
  std::deque<Done> take() {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(fd_, &count, sizeof count);
    std::lock_guard lock(mutex_);
    return std::exchange(waiting_, {});
  }
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
  std::mutex mutex_;
  std::deque<Done> waiting_;
};

Result<ReloadReport> reload(Node& node, const RunOptions& options) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  notify_systemd("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(now.tv_sec * 1'000'000 + now.tv_nsec / 1000));
  Result<LoadedConfig> config = load_config(options.config, options.sets);
  Result<ReloadReport> report = config ? node.reload(*std::move(config)) : fail(std::move(config).error());
  if (report) {
    log_info("configuration reloaded", {{"changes", report->changes.size()}});
    for (const std::string& change : report->changes) log_info("changed", {{"what", change}});
    for (const std::string& warning : report->warnings) log_warn(warning);
  } else {
    log_error("the old configuration stays", {{"error", report.error().to_string()}});
  }
  notify_systemd("READY=1");
  return report;
}

void print_welcome(const Node& node) {
  std::string text;
  for (const ListenerStatus& listener : node.listeners()) {
    std::string address = listener.address;
    if (address.starts_with("127.0.0.1:") || address.starts_with("0.0.0.0:")) {
      address = "localhost" + address.substr(address.rfind(':'));
    }
    text += "listening " + listener.name + " http://" + address + "\n";
  }
  text += "control http://" + node.control_address() + "\n";
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

}  // namespace

int run(const RunOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond a limit fails, as on a full disk
  sigset_t signals;
  sigemptyset(&signals);
  for (const int one : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, one);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread: all inherit it
  raise_descriptor_limit();
  ::umask(0027);  // stores hold keys, logs hold addresses: nobody else's business

  Result<LoadedConfig> config = load_config(options.config, options.sets);
  if (!config) {
    const std::string problems = config.error().to_string();
    std::fprintf(stderr, "%s%s", problems.c_str(), problems.ends_with('\n') ? "" : "\n");
    return 1;
  }
  start_log({.level = config->values.observe.log_level,
             .format = config->values.observe.log_format,
             .node = config->values.node});
  Result<std::unique_ptr<Node>> started = Node::start(*std::move(config));
  if (!started) {
    log_error("cannot start", {{"error", started.error().to_string()}});
    stop_log();
    return 1;
  }
  Node& node = **started;
  ReloadQueue reloads;
  node.on_reload_request([&reloads](ReloadQueue::Done done) { reloads.push(std::move(done)); });
  const int signal_fd = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  print_welcome(node);
  log_info("running",
           {{"version", kVersion}, {"io", node.io()}, {"cores", node.cores()}, {"control", node.control_address()}});
  notify_systemd("READY=1\nSTATUS=running");

  bool stopping = false;
  while (!stopping) {
    pollfd fds[2] = {{signal_fd, POLLIN, 0}, {reloads.fd(), POLLIN, 0}};
    ::poll(fds, 2, 1000);
    node.tidy();
    for (ReloadQueue::Done& done : reloads.take()) done(reload(node, options));
    signalfd_siginfo info{};
    while (!stopping && ::read(signal_fd, &info, sizeof info) == sizeof info) {
      switch (info.ssi_signo) {
        case SIGHUP: (void)reload(node, options); break;
        case SIGUSR1: node.reopen_logs(); break;
        default: stopping = true;
      }
    }
  }
  // Another one ends the process at once, but not within a second: supervisors signal a process and its group together.
  std::jthread impatient([&signals](std::stop_token stopped) {
    const timespec slice{0, 100'000'000};
    for (int tenths = 0; !stopped.stop_requested(); ++tenths) {
      const int got = ::sigtimedwait(&signals, nullptr, &slice);
      if (tenths >= 10 && (got == SIGTERM || got == SIGINT)) ::_exit(130);
    }
  });
  log_info("draining");
  notify_systemd("STOPPING=1");
  node.stop();
  reloads.take();  // dropped: who asked for them, and the loops they would be told on, are gone
  ::close(signal_fd);
  log_info("stopped");
  started->reset();
  stop_log();
  return 0;
}

}  // namespace trellis::app
