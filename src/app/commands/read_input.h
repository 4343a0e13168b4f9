// What a command is given as a file or on standard input. Blocks; on the main thread.
#pragma once

#include <cstddef>
#include <string>

#include "base/error.h"

namespace trellis::app {

// The whole file, or its first `most` bytes; "-" is standard input.
Result<std::string> read_input(const std::string& path, size_t most);

}  // namespace trellis::app
