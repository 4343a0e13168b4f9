#include "services/mail/mail.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <utility>

#include "queue/service_jobs.h"
#include "runtime/loop.h"
#include "services/mail/message.h"

namespace trellis::services::mail {

namespace {

constexpr size_t kThreads = 16;  // the workers' concurrency says how many of them are used
constexpr size_t kMostWaiting = 1000;
constexpr size_t kMostPassword = 1024;
constexpr Duration kTimeout = std::chrono::minutes(2);
constexpr Duration kLeast = std::chrono::seconds(10);  // for a mail to be sent; who has less gives the job back
constexpr Duration kSpare = std::chrono::seconds(1);   // for the job's end to be written
// Jobs may have less than that from the first (`workers.X.timeout`): then these parts of what they have.
constexpr int kLeastPart = 2;
constexpr int kSparePart = 8;

// What the threads and the home loop share of a mail; who waits may go first.
struct Sending {
  Event done;
  std::optional<Result<void>> sent;
};

// A file of one line.
Result<std::string> read_password(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) return fail(errno_error("password_file " + path, errno));
  std::string text(kMostPassword + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty() || text.size() > kMostPassword || !is_header_text(text))
    return fail(Code::invalid_argument, "password_file " + path + ": it must hold one line, of at most 1,024 bytes");
  return text;
}

}  // namespace

config::Fields<MailConfig> MailConfig::fields() {
  return {
      {"store", "whose jobs it does; absent: only those of other nodes, which `workers` names", &MailConfig::store},
      {"server", "who takes the mail; smtps is TLS from the first byte", &MailConfig::server, config::kRequired},
      {"from", "the address that mail comes from", &MailConfig::from, config::kRequired},
      {"from_name", "the name shown with it", &MailConfig::from_name},
      {"user", "who logs in at the server; absent: nobody does", &MailConfig::user},
      {"password_file", "the user's password, a file of one line", &MailConfig::password_file},
      {"tls",
       "by STARTTLS. required: or nothing is sent, and the server's certificate must hold; opportunistic: where the "
       "server has it, with any certificate; off: never",
       &MailConfig::tls,
       config::one_of<SmtpTls>(
           {{"required", SmtpTls::required}, {"opportunistic", SmtpTls::opportunistic}, {"off", SmtpTls::off}})},
      {"ca_file", "certificates that the server's must come from; absent: the system's", &MailConfig::ca_file},
      {"per_minute", "mails a minute, evenly", &MailConfig::per_minute, config::range(1, 60'000)},
  };
}

void MailConfig::check(config::Checker& at) const {
  if (!is_mail_address(from)) at.problem("from", "this is no address such as links@example.com");
  if (!is_header_text(from_name) || from_name.size() > 100)
    at.problem("from_name", "at most 100 bytes and no control characters");
  if (user.empty() != password_file.empty()) at.problem("user", "user and password_file belong together");
  if (!is_header_text(user)) at.problem("user", "there are control characters in it");
  if (!user.empty() && tls != SmtpTls::required && !server.tls && !server.is_loopback())
    at.problem("tls", "a password goes over TLS only", "tls: required, or a server on this machine");
}

MailService::~MailService() { stopping_ = true; }

Task<Result<void>> MailService::start(Env& env) {
  home_ = &env.loop;
  clock_ = &env.clock;
  if (!config_.password_file.empty()) {
    auto reading = blocking([path = config_.password_file] { return read_password(path); });
    Result<std::string> password = co_await reading;
    if (!password) co_return fail(std::move(password).error());
    password_ = *std::move(password);
  }
  if (env.jobs) {
    env.jobs->handle(
        kMailQueue, kMailKind,
        [this](const queue::JobRun& job) { return send(job.lease.id, job.payload, job.deadline); },
        queue::Needs::nothing);
  }
  co_return Result<void>();
}

Task<Result<void>> MailService::stop(Deadline) {
  draining_.set();
  stopping_ = true;
  if (!pool_) co_return Result<void>();
  // Its threads may need a second to break off, and the loop has others to serve.
  auto closing = blocking([pool = std::move(pool_)]() mutable {
    pool.reset();
    return Result<void>();
  });
  Result<void> closed = co_await closing;
  co_return closed;
}

// Mails go out one behind the other at the rate. False: the turn would come too late for this attempt.
Task<bool> MailService::take_turn(Deadline deadline) {
  const Time turn = std::max(home_->now(), next_turn_);
  const Duration left = deadline - home_->now();
  if (deadline - turn < std::min(kLeast, left / kLeastPart)) {
    // Whose jobs are given back at once gets them again at once.
    (void)co_await draining_.wait(deadline - std::min(kSpare, left / kSparePart));
    co_return false;
  }
  next_turn_ = turn + Duration(std::chrono::minutes(1)) / config_.per_minute;
  const bool drains = co_await draining_.wait(turn);
  co_return !drains;
}

Task<Result<queue::Done>> MailService::send(int64_t job, std::string payload, Deadline deadline) {
  const Result<Message> message = read_message(payload);
  if (!message) co_return fail(message.error().clone());
  const Duration spare = std::min(kSpare, (deadline - home_->now()) / kSparePart);
  auto waiting = take_turn(deadline);
  const bool turn = co_await waiting;
  if (!turn) co_return queue::Done::not_begun;

  SmtpMail mail;
  mail.server = config_.server;
  mail.tls = config_.tls;
  mail.ca_file = config_.ca_file;
  mail.login = {config_.user, password_};
  mail.from = config_.from;
  mail.to = message->to;
  mail.data = compose(*message, {config_.from, config_.from_name}, message_id(job, payload, config_.from),
                      unix_millis(clock_->wall()));
  mail.stopping = &stopping_;
  if (!pool_) pool_ = std::make_unique<BlockingPool>(kThreads, kMostWaiting);
  auto sending = std::make_shared<Sending>();
  const bool queued =
      pool_->try_post([mail = std::move(mail), sending, home = home_, clock = clock_, deadline, spare]() mutable {
        // It ends before another may begin the job anew.
        mail.timeout = std::min(kTimeout, deadline - clock->now() - spare);
        auto sent = std::make_shared<Result<void>>();
        if (mail.timeout >= std::max<Duration>(spare, std::chrono::milliseconds(1))) {  // to libcurl 0 is for ever
          *sent = send_smtp(mail);
        } else {
          *sent = fail(Error(Code::deadline_exceeded, "the mail waited too long for a thread").from(Side::self));
        }
        home->post([sending, sent] {
          sending->sent = std::move(*sent);
          sending->done.set();
        });
      });
  if (!queued) co_return fail(Error(Code::resource_exhausted, "too many mails are being sent").from(Side::self));
  (void)co_await sending->done.wait(deadline);
  if (!sending->sent)
    co_return fail(Error(Code::deadline_exceeded, "the mail was not through in time").from(Side::upstream));
  if (!*sending->sent) co_return fail(sending->sent->error().clone());
  co_return queue::Done::yes;
}

}  // namespace trellis::services::mail
