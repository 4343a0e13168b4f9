// `trellis links import` and `export`: files of links in and out of a running node, streamed, with progress. On the
// main thread.
#pragma once

#include "app/commands/links_commands.h"

namespace trellis::app {

int import_links(const LinksOptions& options);
int export_links(const LinksOptions& options);

}  // namespace trellis::app
