// Brings events of links to webhooks: the handler of the jobs that enqueue_webhooks() made. A delivery is a signed
// POST; anything but a 2xx answer brings it back after a backoff, and in the end it is a dead job that can be looked at
// and redriven. Where a URL leads is checked when the connection is made, after names were resolved: a webhook cannot
// reach into the node's own network unless the configuration allows it. libcurl does the HTTP, in the blocking pool;
// the handler runs on the home loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "queue/worker.h"
#include "runtime/blocking_pool.h"
#include "runtime/task.h"

struct sockaddr;

namespace trellis::queue {
class ServiceJobs;
}
namespace trellis::store {
class SqliteStore;
}

namespace trellis::services::links {

class WebhookDelivery {
 public:
  // Borrows the store.
  WebhookDelivery(store::SqliteStore& store, bool allow_private) : store_(store), allow_private_(allow_private) {}
  ~WebhookDelivery();  // breaks off what is under way, within about a second; after the workers have left

  // Adds the handler.
  void start(queue::ServiceJobs& jobs, Loop& home, Clock& clock);

 private:
  Task<Result<queue::Done>> deliver(int64_t job, std::string payload, Deadline deadline);

  store::SqliteStore& store_;
  bool allow_private_;
  Loop* home_ = nullptr;
  Clock* clock_ = nullptr;
  std::atomic<bool> stopping_ = false;
  std::unique_ptr<BlockingPool> pool_;  // from the first delivery on
};

// "t=1767225600,v1=<hexadecimal HMAC-SHA256 of t, a dot and the body>"
std::string webhook_signature(std::string_view secret, int64_t seconds, std::string_view body);

// Whether an address is one of the public internet: not of this machine, a private network, or a special purpose.
bool is_public_address(const sockaddr* address) noexcept;

struct WebhookPost {
  std::string url;
  std::string event;
  std::string delivery;  // its number
  std::string signature;
  std::string body;
  bool allow_private = false;
  const std::atomic<bool>* stopping = nullptr;  // breaks it off
};
// Blocks, ten seconds at most. The status of the answer. failed_precondition: the address is not a public one.
Result<int> post_webhook(const WebhookPost& post);

}  // namespace trellis::services::links
