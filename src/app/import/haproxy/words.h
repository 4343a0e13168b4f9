// What HAProxy's keywords mean to Trellis when no part of the translation reads them: nothing has to be done, or
// nothing can. Pure.
#pragma once

#include "app/import/haproxy/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

// Tells why a line was left out and what to do instead, unless it needs nothing.
void tell_unread(const HaproxyLine& line, Remarks& remarks);

// Rules that keep requests out. What they guard must not be open because they cannot be said.
bool refuses(const HaproxyLine& line);

}  // namespace trellis::app
