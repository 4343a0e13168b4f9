// `trellis key`: API keys of the links service, either through a running node's API (with a key that may), or in the
// store of a node that is stopped, which is how the first one is made: who may write that file may do everything
// anyway. Prints, and gives the process's exit code (0 good, 1 failed, 2 wrong use). On the main thread.
#pragma once

#include "app/commands/control_client.h"

namespace trellis::app {

void add_key_commands(CLI::App& app, ChosenCommand& run);

}  // namespace trellis::app
