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
#include "app/handover.h"
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

constexpr Duration kStartPatience = std::chrono::seconds(25);  // with a new process

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Readable while the process has been told to end. Nothing takes the signal from here; it is blocked.
class StopSignals {
 public:
  StopSignals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int one : {SIGTERM, SIGINT}) sigaddset(&signals, one);
    fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~StopSignals() { ::close(fd_); }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  int fd() const noexcept { return fd_; }
  bool pending() const noexcept {
    pollfd waiting{fd_, POLLIN, 0};
    return ::poll(&waiting, 1, 0) > 0;
  }

 private:
  int fd_ = -1;
};

std::unexpected<Error> stopping_error() { return fail(Code::unavailable, "the node is stopping"); }

// What the control API asks of the main thread.
class MainQueue {
 public:
  MainQueue() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~MainQueue() { ::close(fd_); }
  using Work = std::function<void()>;
  // False: the node is stopping, nobody will do it.
  bool push(Work work) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return false;
      waiting_.push_back(std::move(work));
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t wrote = ::write(fd_, &one, sizeof one);
    return true;
  }
  // Gives what is left.
  std::deque<Work> close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    return take();
  }
  std::deque<Work> take() {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(fd_, &count, sizeof count);
    std::lock_guard lock(mutex_);
    return std::exchange(waiting_, {});
  }
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
  std::mutex mutex_;
  std::deque<Work> waiting_;
  bool closed_ = false;
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

struct Begun {
  int64_t pid = 0;
  bool waits = false;  // for the data that this process holds
};

Result<Begun> begin_successor(const Node& node, const RunOptions& options) {
  Result<NewProcess> begun = NewProcess::begin(options.command, node.sockets_to_hand_over());
  if (!begun) return fail(std::move(begun).error());
  // Requests are answered as ever; what else is asked of this process waits, but for the end: it ends the new one, too.
  const StopSignals stop_signals;
  TRY(const std::string step, begun->next_step(kStartPatience, stop_signals.fd()));
  const pid_t pid = begun->pid();
  begun->let_go();
  log_info("a new process takes over", {{"pid", pid}, {"step", step}});
  notify_systemd("MAINPID=" + std::to_string(pid));
  return Begun{.pid = pid, .waits = step != "ready"};
}

// A new process of the same command takes over, and this one has to go. Whatever fails leaves it as it is.
Result<Begun> upgrade(Node& node, const RunOptions& options) {
  log_info("a new process is being started", {{"command", options.command.front()}});
  const Result<> held = node.hold_changes();
  Result<Begun> begun = held ? begin_successor(node, options) : fail(held.error().clone());
  if (!begun) node.resume_changes();
  return begun;
}

void print_welcome(const Node& node) {
  std::string text;
  for (const ListenerStatus& listener : node.listeners()) {
    std::string address = listener.address;
    if (address.starts_with("127.0.0.1:") || address.starts_with("0.0.0.0:")) {
      address = "localhost" + address.substr(address.rfind(':'));
    }
    text += "listening " + listener.name + " " + std::string(listener.scheme) + "://" + address + "\n";
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
  for (const int one : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&signals, one);
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
  Result<Inherited> inherited = take_inherited();
  if (!inherited) {
    log_error("cannot take over", {{"error", inherited.error().to_string()}});
    stop_log();
    return 1;
  }
  const bool takes_over = inherited->line >= 0;
  if (takes_over && (!config->values.stores.empty() || !config->values.logs.empty())) {
    tell_old_process(inherited->line, "waiting");
    wait_for_old_process(inherited->line);
  }
  Result<std::unique_ptr<Node>> started = Node::start(*std::move(config), std::move(inherited->sockets));
  if (!started) {
    log_error("cannot start", {{"error", started.error().to_string()}});
    stop_log();
    return 1;
  }
  Node& node = **started;
  MainQueue asked;
  bool stopping = false;
  Successor successor = Successor::none;
  const auto upgrade_now = [&]() -> Result<int64_t> {
    if (stopping) return stopping_error();
    Result<Begun> begun = upgrade(node, options);
    if (!begun) {
      log_error("the old process stays", {{"error", begun.error().to_string()}});
      return fail(std::move(begun).error());
    }
    // Who told this process to end meanwhile, by the id that was the node's, meant the node.
    if (StopSignals().pending()) ::kill(static_cast<pid_t>(begun->pid), SIGTERM);
    stopping = true;
    successor = begun->waits || node.holds_data() ? Successor::waits : Successor::serves;
    return begun->pid;
  };
  const auto reload_now = [&]() -> Result<ReloadReport> {
    if (stopping) return stopping_error();
    return reload(node, options);
  };
  using ReloadDone = std::function<void(Result<ReloadReport>)>;
  using UpgradeDone = std::function<void(Result<int64_t>)>;
  node.on_reload_request([&](ReloadDone done) {
    if (!asked.push([&, done] { done(reload_now()); })) done(stopping_error());
  });
  node.on_upgrade_request([&](UpgradeDone done) {
    if (!asked.push([&, done] { done(upgrade_now()); })) done(stopping_error());
  });
  const int signal_fd = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  print_welcome(node);
  log_info("running",
           {{"version", kVersion}, {"io", node.io()}, {"cores", node.cores()}, {"control", node.control_address()}});
  notify_systemd("READY=1\nSTATUS=running");
  if (takes_over) tell_old_process(inherited->line, "ready");

  while (!stopping) {
    pollfd fds[2] = {{signal_fd, POLLIN, 0}, {asked.fd(), POLLIN, 0}};
    ::poll(fds, 2, 1000);
    node.tidy();
    for (MainQueue::Work& work : asked.take()) work();
    signalfd_siginfo info{};
    while (!stopping && ::read(signal_fd, &info, sizeof info) == sizeof info) {
      switch (info.ssi_signo) {
        case SIGHUP: (void)reload(node, options); break;
        case SIGUSR1: node.reopen_logs(); break;
        case SIGUSR2: (void)upgrade_now(); break;
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
  if (successor == Successor::none) notify_systemd("STOPPING=1");
  for (MainQueue::Work& work : asked.close()) work();  // which says that the node is stopping
  node.stop(successor);
  ::close(signal_fd);
  log_info("stopped");
  started->reset();
  stop_log();
  return 0;
}

}  // namespace trellis::app
