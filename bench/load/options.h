// What trellis_load was asked to do: its command line, checked and turned into values. Read once by main, then
// constant.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace trellis::load {

struct Options {
  std::string host;
  std::string port = "80";
  std::vector<std::string> paths;  // at least one
  std::string method = "GET";
  std::vector<std::string> headers;  // "Name: value"
  std::string body;

  unsigned connections = 64;
  unsigned threads = 1;
  unsigned pipeline = 1;
  unsigned idle = 0;
  unsigned echo = 0;  // bytes of a WebSocket message; 0: plain requests
  double seconds = 10;
  double warmup = 0.5;
  double rate = 0;             // requests a second; 0: closed loop
  std::optional<double> zipf;  // skew of the choice of paths; none: they are cycled
  bool reconnect = false;
  std::vector<pid_t> cpu_of;
  bool json = false;
  bool help = false;
};

extern const char* const kHelp;

Result<Options> parse_options(int argc, char** argv);

}  // namespace trellis::load
