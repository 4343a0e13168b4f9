#include "app/handover.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/encoding.h"

namespace trellis::app {

namespace {

constexpr const char* kVariable = "TRELLIS_HANDOVER";
constexpr size_t kMostSockets = 4096;
constexpr size_t kMostText = 64 * 1024;

bool is_open(int fd) noexcept { return ::fcntl(fd, F_GETFD) >= 0; }

Result<int> parse_descriptor(std::string_view text) {
  int fd = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
  if (error != std::errc() || end != text.data() + text.size() || fd < 3)
    return fail(Code::invalid_argument, "not a descriptor");
  return fd;
}

}  // namespace

// "line=9;77656220=5,6": names in hexadecimal, for they may hold anything.
std::string handover_text(const SocketsByName& sockets, int line) {
  std::string text = "line=" + std::to_string(line);
  for (const auto& [name, fds] : sockets) {
    text += ";" + to_hex(name) + "=";
    for (size_t i = 0; i < fds.size(); ++i) text += (i == 0 ? "" : ",") + std::to_string(fds[i]);
  }
  return text;
}

Result<Inherited> parse_handover(std::string_view text) {
  if (text.size() > kMostText) return fail(Code::invalid_argument, "TRELLIS_HANDOVER is too long");
  Inherited inherited;
  size_t count = 0;
  while (!text.empty()) {
    const size_t end = text.find(';');
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const size_t equals = part.find('=');
    if (equals == 0 || equals == std::string_view::npos)
      return fail(Code::invalid_argument, "TRELLIS_HANDOVER: a part without a name");
    std::string_view list = part.substr(equals + 1);
    if (part.substr(0, equals) == "line") {
      TRY(inherited.line, parse_descriptor(list));
      continue;
    }
    const auto name = from_hex(part.substr(0, equals));
    if (!name) return fail(Code::invalid_argument, "TRELLIS_HANDOVER: a name that is not in hexadecimal");
    std::vector<int>& fds = inherited.sockets[*name];
    while (!list.empty()) {
      const size_t comma = list.find(',');
      TRY(const int fd, parse_descriptor(list.substr(0, comma)));
      list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
      if (comma != std::string_view::npos && list.empty())
        return fail(Code::invalid_argument, "TRELLIS_HANDOVER: a list that does not end");
      if (++count > kMostSockets) return fail(Code::invalid_argument, "TRELLIS_HANDOVER: too many sockets");
      fds.push_back(fd);
    }
  }
  if (inherited.line < 0) return fail(Code::invalid_argument, "TRELLIS_HANDOVER: no line to the old process");
  return inherited;
}

Result<Inherited> take_inherited() {
  const char* text = std::getenv(kVariable);
  if (!text) return Inherited{};
  const std::string taken = text;
  ::unsetenv(kVariable);
  TRY(Inherited inherited, parse_handover(taken));
  const auto keep = [](int fd) -> Result<> {
    if (!is_open(fd)) return fail(Code::invalid_argument, "TRELLIS_HANDOVER: a descriptor that is not open");
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    return {};
  };
  TRY_VOID(keep(inherited.line));
  for (const auto& [name, fds] : inherited.sockets) {
    for (const int fd : fds) {
      TRY_VOID(keep(fd));
    }
  }
  return inherited;
}

void tell_old_process(int line, std::string_view step) {
  const std::string text = std::string(step) + "\n";
  [[maybe_unused]] const ssize_t sent = ::send(line, text.data(), text.size(), MSG_NOSIGNAL);
}

void wait_for_old_process(int line) {
  char byte = 0;
  while (true) {
    const ssize_t got = ::recv(line, &byte, 1, 0);
    if (got > 0 || (got < 0 && errno == EINTR)) continue;
    return;
  }
}

NewProcess::NewProcess(NewProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), line_(std::exchange(other.line_, -1)) {}

NewProcess::~NewProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    if (line_ >= 0) ::close(line_);
  }
  // One that was let go of waits for the end of this process, which is what closes the line.
}

Result<NewProcess> NewProcess::begin(const std::vector<std::string>& command, const SocketsByName& sockets) {
  int line[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) != 0) return fail(errno_error("socketpair", errno));
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  // A descriptor copied onto itself stays open in the new process.
  ::posix_spawn_file_actions_adddup2(&actions, line[1], line[1]);
  for (const auto& [name, fds] : sockets) {
    for (const int fd : fds) ::posix_spawn_file_actions_adddup2(&actions, fd, fd);
  }
  sigset_t none;
  sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

  std::vector<std::string> variables;
  for (char** each = environ; *each; ++each) {
    if (!std::string_view(*each).starts_with(std::string(kVariable) + "=")) variables.emplace_back(*each);
  }
  variables.push_back(std::string(kVariable) + "=" + handover_text(sockets, line[1]));
  std::vector<char*> environment;
  for (std::string& each : variables) environment.push_back(each.data());
  environment.push_back(nullptr);
  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  for (std::string& each : words) arguments.push_back(each.data());
  arguments.push_back(nullptr);

  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  ::close(line[1]);
  if (failed != 0) {
    ::close(line[0]);
    return fail(errno_error("cannot start " + command.front(), failed));
  }
  return NewProcess(pid, line[0]);
}

Result<std::string> NewProcess::next_step(Duration patience, int cancelled) {
  std::string text;
  const Time until = after(system_clock().now(), patience);
  while (true) {
    const Duration left = until - system_clock().now();
    if (left <= Duration::zero()) return fail(Code::deadline_exceeded, "the new process was not ready in time");
    pollfd waiting[2] = {{line_, POLLIN, 0}, {cancelled, POLLIN, 0}};
    const int ready = ::poll(waiting, 2, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count()));
    if (ready < 0 && errno != EINTR) return fail(errno_error("poll", errno));
    if (ready <= 0) continue;
    if (waiting[0].revents == 0)
      return fail(Code::cancelled, "this process was told to end before the new one was ready");
    char byte = 0;
    const ssize_t got = ::recv(line_, &byte, 1, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(Code::unavailable, "the new process ended before it was ready; its log says why");
    if (byte == '\n') return text;
    text += byte;
    if (text.size() > 64) return fail(Code::data_loss, "the new process says what nobody understands");
  }
}

}  // namespace trellis::app
