// What a request's fields say that nobody behind this node may hear from its client: what belongs to the client's
// connection (RFC 9110 section 7.6.1), and what a client claims to know of its own way here. Taken off once, before the
// filters: a configuration's own fields come later and stay, whatever the client names in Connection. What is needed of
// them later (the trace, the request's id, what trusted proxies said, the wish to upgrade or to hear why) was read
// before. Pure; any core.
#pragma once

#include <cstddef>
#include <string_view>

#include "http/message.h"

namespace trellis::proxy {

// Upgrade stays where the request asks for one.
void take_off_received(http::Request& request);

// Elements of Via, whose comments may hold commas (RFC 9110 section 7.6.3).
size_t via_hops(std::string_view via) noexcept;

}  // namespace trellis::proxy
