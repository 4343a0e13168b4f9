// Frontends and listens of HAProxy in mode tcp as relays: bytes are passed on; a name in the TLS hello may choose the
// backend. One thread.
#pragma once

#include <string>
#include <vector>

#include "app/import/draft.h"
#include "app/import/haproxy/backends.h"
#include "app/import/haproxy/proxies.h"
#include "app/import/haproxy/trust.h"
#include "app/import/remark.h"

namespace trellis::app {

// Makes relays of the proxy's `listeners` in the draft, or takes them out when it cannot be one, which is told.
void relay_haproxy(const HaproxyProxy& proxy, const HaproxyTrust& trust, const std::vector<std::string>& listeners,
                   HaproxyBackends& backends, ConfigDraft& draft, Remarks& remarks);

}  // namespace trellis::app
