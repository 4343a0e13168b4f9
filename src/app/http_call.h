// One HTTP request of the command line to a node, blocking: for `trellis ctl` and `trellis links`. Not for loops.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace trellis::app {

struct CallAnswer {
  int status = 0;
  std::string body;
};
struct Call {
  std::string method = "GET";
  std::string url;  // http://host:port/path
  std::string body;
  std::string content_type = "application/json";
};
// unavailable when the node is not reached, with a hint.
Result<CallAnswer> call(const Call& request);

}  // namespace trellis::app
