// Answers of a node as the command line reads them: members of JSON whatever its shape, for another server may be on
// the port; problems in words on stderr.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "app/commands/control_client.h"
#include "app/commands/http_call.h"
#include "base/error.h"

namespace trellis::app {

// False: there was no answer or a problem, which was said.
bool is_good(const Result<CallAnswer>& answer);
// The answer's JSON object, or the problem in words on stderr and nothing.
nlohmann::json answer_of(const Result<CallAnswer>& answer, bool& good);

}  // namespace trellis::app
