// A password from whoever runs a command, never from its arguments, which others on the machine can read: typed twice
// on a terminal that does not show it, else the first line of standard input. Blocks; on the main thread.
#pragma once

#include <string>

#include "base/error.h"

namespace trellis::app {

// invalid_argument with a sentence for the person when there is none.
Result<std::string> ask_password();

}  // namespace trellis::app
