// `trellis jobs`: queues, jobs and schedules of a running node, over its control address. Nothing else calls it.
#pragma once

#include "app/commands/control_client.h"

namespace trellis::app {

void add_jobs_commands(CLI::App& app, ChosenCommand& run);

}  // namespace trellis::app
