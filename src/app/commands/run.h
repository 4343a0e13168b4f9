// `trellis run`: a node in the foreground, from its configuration to the end of its drain. Owns the process: signals
// (TERM and INT drain, HUP reloads, USR1 reopens logs, USR2 starts a new process that takes over), descriptor limit,
// systemd's notifications. Called once, on the main thread.
#pragma once

#include <string>
#include <vector>

namespace trellis::app {

struct RunOptions {
  std::string config;                // file or folder; "" is the built-in one box
  std::vector<std::string> sets;     // a.b=c
  std::vector<std::string> command;  // as this process was started: what an upgrade starts again
};
int run(const RunOptions& options);

}  // namespace trellis::app
