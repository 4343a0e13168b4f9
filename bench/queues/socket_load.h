// Load on another server over the loopback: connections, each with one request on its way, on one thread. Called by
// main.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "queues/conversation.h"
#include "queues/measured.h"

namespace trellis::bench {

using MakeConversation = std::function<std::unique_ptr<Conversation>(size_t number)>;

// `options.producers` connections. One line of JSON.
Result<std::string> run_socket(const Options& options, const MakeConversation& make);

}  // namespace trellis::bench
