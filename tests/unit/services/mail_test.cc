// Mail over SMTP, against a server of the test's own.
#include "services/mail/mail.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <latch>
#include <memory>
#include <string>

#include "base/metrics.h"
#include "config/load.h"
#include "queue/jobs_sqlite.h"
#include "queue/schedule_runner.h"
#include "queue/service_jobs.h"
#include "runtime/loop.h"
#include "services/mail/message.h"
#include "store/sqlite.h"
#include "tests/fakes/run_task.h"
#include "tests/unit/services/smtp_fake.h"

namespace trellis::services::mail {
namespace {

using namespace std::chrono_literals;

SmtpMail mail_to(const SmtpFake& server) {
  SmtpMail mail;
  mail.server = {.host = "127.0.0.1", .port = server.port()};
  mail.tls = SmtpTls::off;
  mail.from = "links@example.com";
  mail.to = "ada@example.org";
  mail.data = "Subject: x\r\n\r\n.dot\r\nlast\r\n";
  mail.timeout = 30s;
  return mail;
}

Error failure_of(const SmtpMail& mail) {
  const Result<void> sent = send_smtp(mail);
  return sent ? Error(Code::internal, "it was sent") : sent.error().clone();
}

TEST(Smtp, AddressesAreReadStrictly) {
  EXPECT_EQ(SmtpAddress::from_text("smtp://mail.example.com")->to_text(), "smtp://mail.example.com:25");
  EXPECT_EQ(SmtpAddress::from_text("smtps://mail.example.com")->to_text(), "smtps://mail.example.com:465");
  EXPECT_EQ(SmtpAddress::from_text("smtp://[::1]:2525")->to_text(), "smtp://[::1]:2525");
  EXPECT_EQ(SmtpAddress::from_text("smtp://[::1]")->to_text(), "smtp://[::1]:25");
  for (const char* text : {"", "mail.example.com", "http://a", "smtp://", "smtp://a:", "smtp://a:0", "smtp://a:70000",
                           "smtp://a:25/x", "smtp://user@a", "smtp://a b", "smtp://a?x", "smtp://[::1", "smtp://a:b"})
    EXPECT_FALSE(SmtpAddress::from_text(text)) << text;
}

TEST(Smtp, OnlyThisMachineIsLoopback) {
  for (const char* host : {"localhost", "127.0.0.1", "127.1.2.3", "[::1]"})
    EXPECT_TRUE((SmtpAddress{.host = host}).is_loopback()) << host;
  for (const char* host : {"127.mail.example.com", "127.0.0.1.example.com", "127.", "127.0.0.256", "128.0.0.1",
                           "localhost.example.com", "[::2]", ""})
    EXPECT_FALSE((SmtpAddress{.host = host}).is_loopback()) << host;
}

TEST(Smtp, SendsAMail) {
  SmtpFake server;
  const Result<void> sent = send_smtp(mail_to(server));
  ASSERT_TRUE(sent) << sent.error().to_string();
  ASSERT_EQ(server.mails().size(), 1u);
  EXPECT_EQ(server.mails()[0], "Subject: x\r\n\r\n.dot\r\nlast\r\n");
  const auto commands = server.commands();
  EXPECT_EQ(commands[0], "EHLO example.com");
  EXPECT_TRUE(commands[1].starts_with("MAIL FROM:<links@example.com>")) << commands[1];
  EXPECT_EQ(commands[2], "RCPT TO:<ada@example.org>");
}

TEST(Smtp, ARefusalForGoodIsToldWithTheServersWords) {
  for (const char* word : {"MAIL", "RCPT", "DATA", "."}) {
    SmtpFake server(SmtpFake::Answers{{std::string(word), "550-no such user\r\n550 \x1b[31mhere"}});
    const Error error = failure_of(mail_to(server));
    EXPECT_EQ(error.code(), Code::failed_precondition) << word << ": " << error.to_string();
    EXPECT_EQ(error.what(), "the mail server: 550-no such user 550 ?[31mhere") << word;
  }
}

TEST(Smtp, WhatMayPassIsTriedAgain) {
  for (const char* word : {"", "MAIL", "RCPT", "DATA", "."}) {
    SmtpFake server(SmtpFake::Answers{{std::string(word), "451 later"}});
    const Error error = failure_of(mail_to(server));
    EXPECT_EQ(error.code(), Code::unavailable) << word << ": " << error.to_string();
    EXPECT_NE(error.what().find("451 later"), std::string::npos) << word << ": " << error.to_string();
  }
  // Before MAIL a refusal is about us, not about this mail.
  for (const char* word : {"", "EHLO"}) {
    SmtpFake server(SmtpFake::Answers{{std::string(word), "554 no service"}, {"HELO", "554 no service"}});
    EXPECT_EQ(failure_of(mail_to(server)).code(), Code::unavailable) << word;
  }
  SmtpFake server(SmtpFake::Answers{{"MAIL", "530 log in first"}});
  EXPECT_EQ(failure_of(mail_to(server)).code(), Code::unavailable);
}

TEST(Smtp, AConnectionThatBreaksIsTriedAgain) {
  for (const char* word : {"", "EHLO", "MAIL", "RCPT", "DATA", "data", "."}) {
    SmtpFake server(SmtpFake::Answers{{std::string(word), ""}});
    EXPECT_EQ(failure_of(mail_to(server)).code(), Code::unavailable) << word;
  }
  SmtpMail nobody;
  {
    SmtpFake gone;
    nobody = mail_to(gone);
  }
  EXPECT_EQ(failure_of(nobody).code(), Code::unavailable);
}

TEST(Smtp, AServerThatMakesNoSenseDoesNoHarm) {
  std::string endless;
  for (int i = 0; i < 3000; ++i) endless += "250-and then there is this to say\r\n";
  for (const std::string& nonsense : {std::string("HTTP/1.1 200 OK"), std::string(100'000, 'x'), std::string("999 ?"),
                                      std::string("2"), endless, "250 " + std::string(70'000, 'y')}) {
    for (const char* word : {"", "MAIL", "."}) {
      SmtpFake server(SmtpFake::Answers{{std::string(word), nonsense}});
      SmtpMail mail = mail_to(server);
      mail.timeout = 300ms;
      const Error error = failure_of(mail);
      if (error.code() != Code::internal) {
        EXPECT_EQ(error.code(), Code::unavailable) << error.to_string();
      }
      EXPECT_LT(error.what().size(), 400u);
    }
  }
}

TEST(Smtp, LogsInAndKeepsThePasswordToItself) {
  SmtpFake server;
  SmtpMail mail = mail_to(server);
  mail.login = {"user", "secret"};
  ASSERT_TRUE(send_smtp(mail));
  EXPECT_EQ(server.commands()[1], "AUTH PLAIN");
  EXPECT_EQ(server.commands()[2], "AHVzZXIAc2VjcmV0");
  server.answer("login", "535 not with AHVzZXIAc2VjcmV0 secret");
  const Error error = failure_of(mail);
  EXPECT_EQ(error.code(), Code::unavailable);
  EXPECT_EQ(error.what().find("secret"), std::string::npos) << error.what();
  EXPECT_EQ(error.what().find("AHVzZXIAc2VjcmV0"), std::string::npos) << error.what();
}

TEST(Smtp, SendsNothingWithoutTlsWhereItIsRequired) {
  SmtpFake server;
  SmtpMail mail = mail_to(server);
  mail.tls = SmtpTls::required;
  EXPECT_EQ(failure_of(mail).code(), Code::unavailable);
  for (const std::string& command : server.commands()) EXPECT_FALSE(command.starts_with("MAIL")) << command;
  mail.tls = SmtpTls::opportunistic;
  EXPECT_TRUE(send_smtp(mail));
}

TEST(Smtp, IsBrokenOffAtAStop) {
  SmtpFake server;
  std::atomic<bool> stopping = true;
  SmtpMail mail = mail_to(server);
  mail.stopping = &stopping;
  EXPECT_EQ(failure_of(mail).code(), Code::unavailable);
}

// --- The service ---

class MailTest : public testing::Test {
 protected:
  MailTest() : pool_(2) {
    LoopOptions options;
    options.seed = 1;
    options.pool = &pool_;
    loop_ = *Loop::make(options);
    std::string pattern = testing::TempDir() + "mailXXXXXX";
    folder_ = mkdtemp(pattern.data());
    store::SqliteOptions store;
    store.path = folder_ + "/mail.db";
    store_ = *store::SqliteStore::open(store, metrics_);
    queue_ = *queue::SqliteJobQueue::open(*store_, metrics_);
    schedules_ = std::make_unique<queue::ScheduleRunner>(*store_, *queue_);
    config_.from = "links@example.com";
    config_.tls = SmtpTls::off;
    config_.per_minute = 60'000;
    config_.server = {.host = "127.0.0.1", .port = server_.port()};
  }
  ~MailTest() override {
    if (jobs_) (void)fakes::run_task(*loop_, jobs_->stop(kNever));
    service_.reset();
    jobs_.reset();
    schedules_.reset();
    queue_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  Result<void> start(queue::WorkerPlan plan = {}) {
    jobs_ = std::make_unique<queue::ServiceJobs>(*queue_, *schedules_, "node");
    service_ = std::make_unique<MailService>(config_);
    Env env{*loop_, 1, metrics_, system_clock(), jobs_.get()};
    auto task = service_->start(env);
    Result<void> started = fakes::run_task(*loop_, std::move(task));
    jobs_->work({std::move(plan)}, 10s);
    return started;
  }
  int64_t enqueue(const std::string& payload, int max_attempts = 2) {
    queue::NewJob job;
    job.queue = kMailQueue;
    job.kind = kMailKind;
    job.payload = payload;
    job.max_attempts = max_attempts;
    auto task = queue_->enqueue({std::move(job)}, kNever);
    return fakes::run_task(*loop_, std::move(task))->front().id;
  }
  queue::JobRecord job(int64_t id) { return **fakes::run_task(*loop_, queue_->find(id, kNever)); }
  template <class Condition>
  bool turn_until(Condition condition) {
    const auto until = std::chrono::steady_clock::now() + 120s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > until) return false;
      loop_->run_once(10ms);
    }
    return true;
  }
  bool turn_until_state(int64_t id, queue::JobState state) {
    return turn_until([&] { return job(id).state == state; });
  }

  SmtpFake server_;
  MailConfig config_;
  Metrics metrics_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_;  // ends before the loop: its work comes back to it
  std::string folder_;
  std::unique_ptr<store::SqliteStore> store_;
  std::unique_ptr<queue::SqliteJobQueue> queue_;
  std::unique_ptr<queue::ScheduleRunner> schedules_;
  std::unique_ptr<queue::ServiceJobs> jobs_;
  std::unique_ptr<MailService> service_;
};

TEST_F(MailTest, DoesAJob) {
  ASSERT_TRUE(start());
  const std::string payload = R"({"to":"ada@example.org","subject":"Hello","text":"World"})";
  const int64_t id = enqueue(payload);
  ASSERT_TRUE(turn_until_state(id, queue::JobState::done));
  ASSERT_EQ(server_.mails().size(), 1u);
  const std::string mail = server_.mails()[0];
  EXPECT_NE(mail.find("Subject: Hello\r\n"), std::string::npos);
  EXPECT_NE(mail.find("Message-ID: " + message_id(id, payload, "links@example.com")), std::string::npos);
}

TEST_F(MailTest, BuriesWhatIsRefusedForGood) {
  server_.answer("RCPT", "550 no such user");
  ASSERT_TRUE(start());
  const int64_t refused = enqueue(R"({"to":"ada@example.org"})", 10);
  const int64_t wrong = enqueue(R"({"to":"ada@example.org\r\nBcc: b@c"})", 10);
  ASSERT_TRUE(turn_until_state(refused, queue::JobState::dead));
  ASSERT_TRUE(turn_until_state(wrong, queue::JobState::dead));
  ASSERT_EQ(job(refused).history.size(), 1u);
  EXPECT_NE(job(refused).history[0].error.find("550 no such user"), std::string::npos);
}

TEST_F(MailTest, TriesAgainWithTheSameMessageId) {
  server_.answer(".", "451 later");
  ASSERT_TRUE(start());
  const int64_t id = enqueue(R"({"to":"ada@example.org","text":"x"})", 10);
  ASSERT_TRUE(turn_until([&] { return !job(id).history.empty(); }));
  server_.answer(".", "250 taken");
  ASSERT_TRUE(turn_until_state(id, queue::JobState::done));
  const auto mails = server_.mails();
  ASSERT_GE(mails.size(), 2u);
  const auto id_of = [](const std::string& mail) {
    const size_t begin = mail.find("Message-ID: ");
    return mail.substr(begin, mail.find("\r\n", begin) - begin);
  };
  EXPECT_EQ(id_of(mails.front()), id_of(mails.back()));
}

TEST_F(MailTest, GivesBackWhatIsNotItsTurn) {
  config_.per_minute = 1;
  ASSERT_TRUE(start({.queues = {}, .concurrency = 4, .timeout = 12s}));
  for (int i = 0; i < 3; ++i) enqueue(R"({"to":"ada@example.org"})", 1);
  ASSERT_TRUE(turn_until([&] { return server_.mails().size() == 1; }));
  service_->begin_drain();
  (void)fakes::run_task(*loop_, jobs_->stop(kNever));
  const auto stats = fakes::run_task(*loop_, queue_->stats(kNever));
  ASSERT_EQ(stats->size(), 1u);
  EXPECT_EQ((*stats)[0].ready, 2);
  EXPECT_EQ((*stats)[0].dead, 0);
  EXPECT_EQ(server_.mails().size(), 1u);
}

TEST_F(MailTest, SendsInTheTimeOfAShortJob) {
  ASSERT_TRUE(start({.queues = {}, .concurrency = 4, .timeout = 2s}));
  const int64_t id = enqueue(R"({"to":"ada@example.org"})", 50);
  ASSERT_TRUE(turn_until_state(id, queue::JobState::done));
  EXPECT_GE(server_.mails().size(), 1u);
}

TEST_F(MailTest, EndsItsThreadsBesideTheLoop) {
  ASSERT_TRUE(start());
  const int64_t id = enqueue(R"({"to":"ada@example.org"})");
  ASSERT_TRUE(turn_until_state(id, queue::JobState::done));
  (void)fakes::run_task(*loop_, jobs_->stop(kNever));
  const auto free = std::make_shared<std::latch>(1);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(pool_.try_post([free] { free->wait(); }));  // all that it has
  auto stopping = service_->stop(kNever);
  stopping.start();
  for (int i = 0; i < 10; ++i) loop_->run_once(0ms);
  EXPECT_FALSE(stopping.done());
  free->count_down();
  ASSERT_TRUE(turn_until([&] { return stopping.done(); }));
  EXPECT_TRUE(stopping.take());
}

TEST_F(MailTest, ReadsThePasswordFromItsFile) {
  config_.user = "user";
  config_.password_file = folder_ + "/password";
  EXPECT_FALSE(start());
  std::ofstream(config_.password_file) << "secret\n";
  ASSERT_TRUE(start());
  const int64_t id = enqueue(R"({"to":"ada@example.org"})");
  ASSERT_TRUE(turn_until_state(id, queue::JobState::done));
  EXPECT_EQ(server_.commands()[1], "AUTH PLAIN");
}

std::string problems_of(const std::string& yaml) {
  config::Problems problems;
  const config::Node node = config::parse(yaml, "mail.yaml", {}, problems);
  (void)config::read<MailConfig>(node, problems);
  return problems.to_string();
}

TEST(MailConfig, IsChecked) {
  const std::string good = "store: main\nserver: smtp://mail.example.com:587\nfrom: a@example.com\n";
  EXPECT_EQ(problems_of(good), "");
  EXPECT_EQ(problems_of(good + "user: u\npassword_file: p\n"), "");
  EXPECT_NE(problems_of(good + "user: u\n"), "");
  EXPECT_NE(problems_of(good + "user: u\npassword_file: p\ntls: opportunistic\n"), "");
  EXPECT_NE(problems_of(good + "from_name: \"a\\r\\nBcc: b@c\"\n"), "");
  EXPECT_NE(problems_of("store: main\nserver: http://a\nfrom: a@b\n"), "");
  EXPECT_NE(problems_of("store: main\nserver: smtp://a\nfrom: nobody\n"), "");
}

}  // namespace
}  // namespace trellis::services::mail
