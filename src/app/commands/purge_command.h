// trellis ctl purge: takes what the `cache` filter keeps out of the cache, on all nodes of its cluster.
#pragma once

#include "app/commands/control_client.h"

namespace trellis::app {

void add_purge_command(CLI::App& ctl, ChosenCommand& run);

}  // namespace trellis::app
