// How a new process of a node takes over from the old one: it inherits the listening sockets, so that what waits in
// their backlogs is lost by nobody; says when it takes traffic; and the old one drains and goes. Whatever fails before
// that ends the new process and leaves the old one as it was. docs/operating.md tells of it. On the main thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace trellis::app {

// Descriptors by the name of their listener.
using SocketsByName = std::map<std::string, std::vector<int>>;

// What this process was given by the one before it. Empty in a process that took over from nobody.
struct Inherited {
  SocketsByName sockets;
  int line = -1;  // to the old process
};
// Once, before anything else starts a process: takes the variable TRELLIS_HANDOVER from the environment.
Result<Inherited> take_inherited();

// The new process tells the old one. `step` is "waiting" (its configuration is good; it needs the data that the old one
// holds) or "ready".
void tell_old_process(int line, std::string_view step);
// Until the old process is gone, as its end of the line tells.
void wait_for_old_process(int line);

// Begins `command` (argv, its first word the program) with these sockets.
class NewProcess {
 public:
  static Result<NewProcess> begin(const std::vector<std::string>& command, const SocketsByName& sockets);
  NewProcess(NewProcess&& other) noexcept;
  NewProcess& operator=(NewProcess&&) = delete;
  // A process that was not let go of is ended.
  ~NewProcess();

  // "waiting" or "ready". unavailable: it ended instead; deadline_exceeded; cancelled, once the descriptor `cancelled`
  // is readable (-1: none).
  Result<std::string> next_step(Duration patience, int cancelled = -1);
  pid_t pid() const noexcept { return pid_; }
  // From now on it stands by itself. The line stays open until this process ends.
  void let_go() noexcept { pid_ = -1; }

 private:
  NewProcess(pid_t pid, int line) noexcept : pid_(pid), line_(line) {}
  pid_t pid_ = -1;
  int line_ = -1;
};

// For tests: the text of the variable.
std::string handover_text(const SocketsByName& sockets, int line);
Result<Inherited> parse_handover(std::string_view text);

}  // namespace trellis::app
