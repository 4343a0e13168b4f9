// trellis_queue_load: one measurement of the event log, of jobs, or of another server that does the same (and of Redis
// as a cache), for script/bench log, jobs and cache. Prints one line of JSON.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "queues/conversation.h"
#include "queues/jobs_load.h"
#include "queues/log_load.h"
#include "queues/measured.h"
#include "queues/socket_load.h"

namespace trellis::bench {
namespace {

Result<std::string> run(const std::string& what, const Options& options) {
  if (what == "log") return run_log(options);
  if (what == "jobs-enqueue") return run_jobs_enqueue(options);
  if (what == "jobs-perform") return run_jobs_perform(options);
  if (what == "jobs-begin") return run_jobs_begin(options);
  const std::string payload = payload_of(options.size);
  if (what == "redis-add") {
    return run_socket(options, [&](size_t) { return redis_producer("bench", payload); });
  }
  if (what == "redis-perform") {
    return run_socket(options, [&](size_t number) {
      return redis_consumer("bench", "workers", fmt::format("worker-{}", number), options.batch);
    });
  }
  if (what == "redis-get") {
    return run_socket(options, [&](size_t number) { return redis_reader(options.keys, number + 1); });
  }
  return run_socket(options, [&](size_t number) { return nats_producer("bench", number, payload); });
}

int bench_main(int argc, char** argv) {
  Options options;
  CLI::App app{"One measurement of a log or of jobs; prints one line of JSON."};
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--folder", options.folder, "where what runs in this process keeps its files; empty or new");
  app.add_option("--port", options.port, "of the server that is measured, on the loopback");
  app.add_option("--cpu-of", options.server, "process of that server");
  app.add_option("--producers", options.producers, "each with one request on its way")->check(CLI::Range(1, 10'000));
  app.add_option("--size", options.size, "bytes of an event")->check(CLI::Range(1, 1 << 20));
  app.add_option("--syncs", options.syncs, "files that the log syncs at once")->check(CLI::Range(1, 64));
  app.add_option("--partitions", options.partitions, "of the topic")->check(CLI::Range(1, 1024));
  app.add_option("--batch", options.batch, "jobs that are enqueued, or asked for, together")
      ->check(CLI::Range(1, 1000));
  app.add_option("--workers", options.workers, "jobs that are done at once")->check(CLI::Range(1, 1000));
  app.add_option("--ahead", options.ahead, "jobs that a worker claims beyond these")->check(CLI::Range(0, 999));
  app.add_option("--backlog", options.backlog, "jobs that wait at the beginning; for jobs-perform")
      ->check(CLI::Range(0, 10'000'000));
  app.add_option("--keys", options.keys, "that there are; for redis-get")->check(CLI::Range(1, 100'000'000));
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.05, 600.0));
  app.add_option("--warmup", options.warmup, "seconds before the measuring")->check(CLI::Range(0.0, 60.0));
  app.add_subcommand("log", "the embedded event log");
  app.add_subcommand("jobs-enqueue", "jobs in SQLite are enqueued");
  app.add_subcommand("jobs-perform", "jobs of a backlog are done");
  app.add_subcommand("jobs-begin", "jobs are enqueued and done; the latency is from the one to the begin of the other");
  app.add_subcommand("redis-add", "Redis: XADD to one stream");
  app.add_subcommand("redis-perform", "Redis: entries are read by a group, acknowledged and removed");
  app.add_subcommand("redis-get", "Redis: GET of random ones of the keys key0 ...");
  app.add_subcommand("nats-publish", "NATS: publish into the stream of the subject \"bench\"");
  CLI11_PARSE(app, argc, argv);

  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  const Result<std::string> found = run(app.get_subcommands().front()->get_name(), options);
  if (!found) {
    fmt::print(stderr, "trellis_queue_load: {}\n", found.error().to_string());
    return 1;
  }
  std::fputs(found->c_str(), stdout);
  return 0;
}

}  // namespace
}  // namespace trellis::bench

int main(int argc, char** argv) { return trellis::bench::bench_main(argc, argv); }
