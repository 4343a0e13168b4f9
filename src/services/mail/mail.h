// Sends mail: does the jobs of kind `mail` (message.h), one message to one address each, at the rate that its server
// takes, and tries again what can be tried again. Whoever wants a mail sent enqueues mail_job() in the write of what it
// belongs to. It has no routes and touches no store but through its jobs, so it runs as well on a node where nothing
// else does. The handler lives on the home loop and sends in threads of its own; owned by the app.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/time.h"
#include "config/fields.h"
#include "queue/worker.h"
#include "runtime/blocking_pool.h"
#include "runtime/sync.h"
#include "runtime/task.h"
#include "services/mail/smtp.h"
#include "services/service.h"

namespace trellis::services::mail {

struct MailConfig {
  std::string store;  // a name, resolved by the app
  SmtpAddress server;
  std::string from;
  std::string from_name;
  std::string user;
  std::string password_file;
  SmtpTls tls = SmtpTls::required;
  std::string ca_file;
  uint32_t per_minute = 60;

  static config::Fields<MailConfig> fields();
  void check(config::Checker& at) const;
};

class MailService final : public Service {
 public:
  // Precondition: the configuration was checked.
  explicit MailService(MailConfig config) : config_(std::move(config)) {}
  ~MailService() override;  // breaks off what is under way, within about a second; after the workers have left

  Task<Result<void>> start(Env& env) override;
  void mount(http::Routes&) override {}
  void begin_drain() override { draining_.set(); }
  Task<Result<void>> stop(Deadline deadline) override;

 private:
  Task<Result<queue::Done>> send(int64_t job, std::string payload, Deadline deadline);
  Task<bool> take_turn(Deadline deadline);

  MailConfig config_;
  std::string password_;
  Loop* home_ = nullptr;
  Clock* clock_ = nullptr;
  Time next_turn_;  // of the rate
  Event draining_;
  std::atomic<bool> stopping_ = false;
  std::unique_ptr<BlockingPool> pool_;  // from the first mail on
};

}  // namespace trellis::services::mail
