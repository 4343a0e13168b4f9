// `trellis ctl explain URL`: asks a running node for a page as a client would, and prints the decisions that it took
// (docs/explain.md).
#pragma once

#include "app/commands/control_client.h"

namespace trellis::app {

void add_explain_command(CLI::App& ctl, ChosenCommand& run);

}  // namespace trellis::app
