#include "app/commands/ask_password.h"

#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

namespace trellis::app {

namespace {

constexpr size_t kMaxLine = 1024;
constexpr char kInterrupt = 3;  // Ctrl-C

// While it lives, what is typed is not shown, and Ctrl-C is a character: a process that ended here would leave the
// terminal as it is.
class HiddenTyping {
 public:
  HiddenTyping() {
    known_ = ::tcgetattr(STDIN_FILENO, &before_) == 0;
    if (!known_) return;
    termios hidden = before_;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
    known_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden) == 0;
  }
  HiddenTyping(const HiddenTyping&) = delete;
  HiddenTyping& operator=(const HiddenTyping&) = delete;
  ~HiddenTyping() {
    if (known_) (void)::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  bool works() const noexcept { return known_; }

 private:
  termios before_{};
  bool known_ = false;
};

std::unexpected<Error> refuse(const char* why) { return fail(Error(Code::invalid_argument, why).from(Side::client)); }

// Byte for byte: what follows the line is left for others.
Result<std::string> read_line() {
  std::string line;
  while (line.size() < kMaxLine) {
    char c = 0;
    const ssize_t got = ::read(STDIN_FILENO, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return refuse("standard input cannot be read");
    if (got == 0 || c == '\n') break;
    if (c == kInterrupt) return refuse("the password was not given");
    line.push_back(c);
  }
  if (line.ends_with('\r')) line.pop_back();
  if (line.empty()) return refuse("the password is empty");
  return line;
}

Result<std::string> prompt(std::string_view text) {
  std::fprintf(stderr, "%.*s", static_cast<int>(text.size()), text.data());
  std::fflush(stderr);
  Result<std::string> line = read_line();
  std::fputc('\n', stderr);
  return line;
}

}  // namespace

Result<std::string> ask_password() {
  if (::isatty(STDIN_FILENO) != 1) return read_line();
  const HiddenTyping hidden;
  if (!hidden.works()) return refuse("the terminal would show the password");
  TRY(std::string password, prompt("Password: "));
  TRY(const std::string again, prompt("Again: "));
  if (again != password) return refuse("the two are not the same");
  return password;
}

}  // namespace trellis::app
