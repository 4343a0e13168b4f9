// `trellis ctl hosts`, and its short forms `ctl drain` and `ctl weight`: the hosts of a running node's upstreams, over
// its control address. Nothing else calls it.
#pragma once

#include "app/commands/control_client.h"

namespace trellis::app {

// `ctl`: the command that they stand under.
void add_hosts_commands(CLI::App& ctl, ChosenCommand& run);

}  // namespace trellis::app
