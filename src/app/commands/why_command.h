// `trellis ctl cache why URL`: what a running node's cache has for a URL, and why an answer comes from there or not
// (docs/edge-cache.md#telling-why).
#pragma once

#include "app/commands/control_client.h"

namespace trellis::app {

void add_why_command(CLI::App& ctl, ChosenCommand& run);

}  // namespace trellis::app
