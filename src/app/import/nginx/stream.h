// nginx's `stream` block: relays of TCP and UDP. Fills the draft; one thread.
#pragma once

#include "app/import/draft.h"
#include "app/import/nginx/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

void translate_nginx_stream(const NginxDirective& stream, ConfigDraft& draft, Remarks& remarks);

}  // namespace trellis::app
