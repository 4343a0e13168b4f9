// `trellis log`: topics, events and groups of a running node's event logs, over its control address. Nothing else calls
// it.
#pragma once

#include "app/commands/control_client.h"

namespace trellis::app {

void add_log_commands(CLI::App& app, ChosenCommand& run);

}  // namespace trellis::app
