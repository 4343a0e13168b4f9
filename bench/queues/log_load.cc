#include "queues/log_load.h"

#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "queue/event_log.h"
#include "runtime/cores.h"
#include "runtime/sync.h"

namespace trellis::bench {
namespace {

Task<> produce(queue::EventLog& log, const std::string& payload, size_t number, Tally& tally) {
  uint64_t turn = 0;
  while (!tally.stopped()) {
    const uint64_t began = now_nanos();
    std::vector<queue::Event> events(1);
    events[0].key = fmt::format("{}-{}", number, ++turn);
    events[0].value = payload;
    auto append = log.append("bench", std::move(events));
    const Result<std::vector<queue::EventPosition>> where = co_await append;
    if (where) {
      tally.record(1, now_nanos() - began);
    } else {
      tally.fail(where.error().to_string());
      co_return;
    }
  }
}

}  // namespace

Result<std::string> run_log(const Options& options) {
  Metrics metrics;
  TRY(const std::unique_ptr<Cores> cores, Cores::start({.count = 1, .blocking_threads = 1}));
  queue::EventLogOptions log_options;
  log_options.folder = options.folder;
  log_options.max_syncs = options.syncs;
  TRY(const std::unique_ptr<queue::EventLog> log, queue::EventLog::open(std::move(log_options), metrics));
  queue::TopicOptions topic;
  topic.name = "bench";
  topic.partitions = static_cast<uint32_t>(options.partitions);
  TRY_VOID(log->open_topic(topic));

  Tally tally;
  const std::string payload = payload_of(options.size);
  auto producers = std::make_unique<TaskGroup>();
  cores->run_on(0, [&] {
    for (size_t i = 0; i < options.producers; ++i) producers->spawn(produce(*log, payload, i, tally));
  });
  const Result<Measurement> found = measure(options, tally);
  tally.phase.store(Phase::stop);
  cores->finish_on(0, [&] { return producers->join(kNever); });
  const uint64_t batches = log->batches();
  log->close();
  cores->run_on(0, [&] { producers.reset(); });
  cores->stop();
  if (!found) return fail(found.error().clone());
  return as_json(*found, tally, fmt::format(",\"batches\":{}", batches));
}

}  // namespace trellis::bench
