// `trellis links stats` and `tail`: the clicks of a link, or of all of them, as tables and as they come. What visitors
// sent (referrers, languages, parameters) is shown without control characters, for a terminal obeys those. On the main
// thread.
#pragma once

#include "app/commands/links_commands.h"

namespace trellis::app {

int stats_of_links(const LinksOptions& options);
int tail_links(const LinksOptions& options);

}  // namespace trellis::app
