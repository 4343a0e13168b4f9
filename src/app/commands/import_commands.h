// `trellis import`: another server's configuration as one of Trellis. Nothing else calls it.
#pragma once

#include "app/commands/control_client.h"

namespace trellis::app {

void add_import_command(CLI::App& app, ChosenCommand& run);

}  // namespace trellis::app
