#include "app/commands/jobs_commands.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "app/commands/read_input.h"
#include "base/error.h"
#include "queue/jobs.h"

namespace trellis::app {

using nlohmann::json;

namespace {

struct Options : ControlOptions {
  std::string store;
  std::string queue;
  std::string kind;
  std::string payload;
  std::string file;
  std::string state = "dead";
  std::string delay;
  std::string key;
  std::string remove;
  std::vector<int64_t> ids;
  int64_t after = 0;
  int limit = 20;
  int priority = -1;
  int max_attempts = 0;
};

std::string number_text(int64_t number) { return std::to_string(number); }

int print_json(const json& answer) {
  std::printf("%s\n", answer.dump(2).c_str());
  return 0;
}

int stats(const Options& options) {
  const auto answer = ask(options, "GET", "/v1/jobs", {{"store", options.store}});
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  std::vector<std::vector<std::string>> rows;
  for (const json& one : list_of(*answer, "queues")) {
    const bool waits = number_of(one, "ready") > 0;
    rows.push_back({text_of(one, "queue"), count_of(one, "ready"), count_of(one, "delayed"), count_of(one, "leased"),
                    count_of(one, "done"), count_of(one, "dead"),
                    waits ? span_text(number_of(one, "oldest_seconds")) : "-"});
  }
  if (rows.empty()) {
    std::printf("no jobs\n");
    return 0;
  }
  print_table({"QUEUE", "READY", "DELAYED", "LEASED", "DONE", "DEAD", "OLDEST READY"}, std::move(rows));
  return 0;
}

int ls(const Options& options) {
  const auto answer = ask(options, "GET", "/v1/jobs/list",
                          {{"store", options.store},
                           {"queue", options.queue},
                           {"state", options.state},
                           {"after", options.after > 0 ? number_text(options.after) : ""},
                           {"limit", std::to_string(options.limit)}});
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  std::vector<std::vector<std::string>> rows;
  for (const json& job : list_of(*answer, "jobs")) {
    rows.push_back({count_of(job, "id"), text_of(job, "queue"), text_of(job, "kind"), count_of(job, "priority"),
                    count_of(job, "attempts"), text_of(job, "created_at"), text_of(job, "last_error")});
  }
  if (rows.empty()) {
    std::printf("no %s jobs%s\n", options.state.c_str(),
                options.queue.empty() ? "" : (" in the queue " + options.queue).c_str());
    return 0;
  }
  print_table({"ID", "QUEUE", "KIND", "PRIORITY", "ATTEMPTS", "CREATED", "LAST ERROR"}, std::move(rows));
  return 0;
}

int show(const Options& options) {
  json all = json::array();
  for (const int64_t id : options.ids) {
    const auto job = ask(options, "GET", "/v1/jobs/show", {{"store", options.store}, {"id", number_text(id)}});
    if (!job) return 1;
    if (options.json) {
      all.push_back(*job);
      continue;
    }
    std::printf("%-9s %s\n%-9s %s in %s\n", "job", count_of(*job, "id").c_str(), "kind", text_of(*job, "kind").c_str(),
                text_of(*job, "queue").c_str());
    std::printf("%-9s %s, %s attempts of %s in a row\n", "state", text_of(*job, "state").c_str(),
                count_of(*job, "attempts").c_str(), count_of(*job, "max_attempts").c_str());
    std::printf("%-9s %s\n%-9s %s\n", "priority", count_of(*job, "priority").c_str(), "created",
                text_of(*job, "created_at").c_str());
    for (const auto& [name, what] : {std::pair("ready_at", "ready at"), std::pair("lease_until", "leased to")}) {
      if (const std::string at = text_of(*job, name); !at.empty()) std::printf("%-9s %s\n", what, at.c_str());
    }
    if (const std::string worker = text_of(*job, "worker"); !worker.empty())
      std::printf("%-9s %s\n", "worker", worker.c_str());
    std::printf("%-9s %s bytes\n", "payload", count_of(*job, "payload_bytes").c_str());
    if (const std::string payload = text_of(*job, "payload"); !payload.empty())
      std::printf("  %s\n", printable(payload, true).c_str());
    const json history = list_of(*job, "history");
    if (!history.empty()) std::printf("errors\n");
    for (const json& failure : history) {
      std::printf("  %s  attempt %s  %s\n", text_of(failure, "at").c_str(), count_of(failure, "attempt").c_str(),
                  printable(text_of(failure, "error")).c_str());
    }
  }
  return options.json ? print_json(options.ids.size() == 1 ? all.front() : all) : 0;
}

int redrive(const Options& options) {
  if (options.ids.empty() == options.queue.empty()) {
    std::fprintf(stderr, "trellis: say which: either IDs, or --queue for all dead jobs of a queue\n");
    return 2;
  }
  double redriven = 0;
  for (const int64_t id : options.ids) {
    const auto answer = ask(options, "POST", "/v1/jobs/redrive", {{"store", options.store}, {"id", number_text(id)}});
    if (!answer) return 1;
    redriven += number_of(*answer, "redriven");
  }
  // A bounded number each time; those that die again meanwhile are redriven once more, so not for ever.
  for (int round = 0; round < 1000 && !options.queue.empty(); ++round) {
    const auto answer = ask(options, "POST", "/v1/jobs/redrive", {{"store", options.store}, {"queue", options.queue}});
    if (!answer) return 1;
    redriven += number_of(*answer, "redriven");
    if (number_of(*answer, "redriven") < 1000) break;
    std::fprintf(stderr, "%.0f redriven so far\n", redriven);
  }
  if (options.json) return print_json({{"redriven", static_cast<int64_t>(redriven)}});
  std::printf("%.0f redriven\n", redriven);
  return 0;
}

int cancel(const Options& options) {
  json cancelled = json::array();
  int code = 0;
  for (const int64_t id : options.ids) {
    const auto answer = ask(options, "POST", "/v1/jobs/cancel", {{"store", options.store}, {"id", number_text(id)}});
    if (!answer) code = 1;
    if (!answer) break;
    cancelled.push_back(id);
    if (!options.json) std::printf("job %s is cancelled\n", number_text(id).c_str());
  }
  if (options.json) print_json({{"cancelled", cancelled}});
  return code;
}

int enqueue(const Options& options) {
  std::string payload = options.payload;
  if (!options.file.empty()) {
    // One byte more than a payload has at most is enough for the node to refuse it.
    Result<std::string> read = read_input(options.file, queue::kMaxPayload + 1);
    if (!read) return failed(read.error().to_string());
    payload = *std::move(read);
  }
  const auto answer = ask(options, "POST", "/v1/jobs/enqueue",
                          {{"store", options.store},
                           {"queue", options.queue},
                           {"kind", options.kind},
                           {"priority", options.priority >= 0 ? std::to_string(options.priority) : ""},
                           {"max_attempts", options.max_attempts > 0 ? std::to_string(options.max_attempts) : ""},
                           {"delay", options.delay},
                           {"dedupe_key", options.key}},
                          payload);
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  const bool duplicate = answer->value("duplicate", false);
  std::printf("job %s%s\n", count_of(*answer, "id").c_str(), duplicate ? " has that key already" : "");
  return 0;
}

int schedules(const Options& options) {
  if (!options.remove.empty()) {
    const auto removed =
        ask(options, "POST", "/v1/jobs/schedules/remove", {{"store", options.store}, {"name", options.remove}});
    if (!removed) return 1;
    if (options.json) return print_json(*removed);
    std::printf("%s is removed\n", options.remove.c_str());
    return 0;
  }
  const auto answer = ask(options, "GET", "/v1/jobs/schedules", {{"store", options.store}});
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  std::vector<std::vector<std::string>> rows;
  for (const json& one : list_of(*answer, "schedules")) {
    rows.push_back({text_of(one, "name"), text_of(one, "cron"), text_of(one, "next_at"), text_of(one, "queue"),
                    text_of(one, "kind")});
  }
  if (rows.empty()) {
    std::printf("no schedules\n");
    return 0;
  }
  print_table({"NAME", "CRON (UTC)", "NEXT", "QUEUE", "KIND"}, std::move(rows));
  return 0;
}

}  // namespace

void add_jobs_commands(CLI::App& app, ChosenCommand& run) {
  const auto options = std::make_shared<Options>();  // lives as long as the callbacks
  CLI::App* jobs = app.add_subcommand("jobs", "queues, jobs and schedules of a running node");
  jobs->require_subcommand(1);
  const auto add = [&](const char* verb, const char* what, const char* example, int (*does)(const Options&)) {
    CLI::App* command = jobs->add_subcommand(verb, what);
    add_control_options(*command, *options);
    command->add_option("--store", options->store, "whose jobs; may be left out where the node has one store");
    command->footer(std::string("Example:\n  ") + example);
    command->callback([&run, does, options] { run = [does, options] { return does(*options); }; });
    return command;
  };
  add("stats", "how many jobs of each queue are in which state", "trellis jobs stats", &stats);
  CLI::App* list = add("ls", "jobs in one state; the dead ones if nothing is said",
                       "trellis jobs ls --queue links --state dead --limit 50", &ls);
  list->add_option("--queue", options->queue, "of this queue only");
  list->add_option("--state", options->state, "ready, delayed, leased, done or dead")
      ->check(CLI::IsMember({"ready", "delayed", "leased", "done", "dead"}))
      ->capture_default_str();
  list->add_option("--limit", options->limit, "how many")->check(CLI::Range(1, 100))->capture_default_str();
  list->add_option("--after", options->after, "dead jobs with ids above this one: the next page")
      ->check(whole_number(0, INT64_MAX));
  CLI::App* one = add("show", "a job with its payload and its errors", "trellis jobs show 42", &show);
  one->add_option("ID", options->ids, "the job's number")->required()->check(whole_number(1, INT64_MAX));
  CLI::App* again = add("redrive", "make dead jobs ready again, with all their attempts before them",
                        "trellis jobs redrive 42 43\n  trellis jobs redrive --queue links", &redrive);
  again->add_option("ID", options->ids, "the jobs' numbers")->check(whole_number(1, INT64_MAX));
  again->add_option("--queue", options->queue, "all dead jobs of this queue")->check(not_empty());
  CLI::App* away = add("cancel", "take jobs away that nobody is working on", "trellis jobs cancel 42", &cancel);
  away->add_option("ID", options->ids, "the jobs' numbers")->required()->check(whole_number(1, INT64_MAX));
  CLI::App* put = add("enqueue", "add a job by hand", "trellis jobs enqueue links remove-expired --delay 5m", &enqueue);
  put->add_option("QUEUE", options->queue, "who does it")->required();
  put->add_option("KIND", options->kind, "which handler does it")->required();
  CLI::Option* text = put->add_option("PAYLOAD", options->payload, "what the handler gets");
  put->add_option("--file", options->file, "the payload from a file; - is standard input")->excludes(text);
  put->add_option("--priority", options->priority, "0 to 9, 9 first; 4 if not said")->check(CLI::Range(0, 9));
  put->add_option("--max-attempts", options->max_attempts, "then it is dead; 10 if not said")
      ->check(CLI::Range(1, 100));
  put->add_option("--delay", options->delay, "not before, such as 5m")->check(not_empty());
  put->add_option("--key", options->key, "a second job with this key within a day is not enqueued")->check(not_empty());
  CLI::App* plan = add("schedules", "repeated jobs and when they are due",
                       "trellis jobs schedules\n  trellis jobs schedules --remove links.remove-expired", &schedules);
  plan->add_option("--remove", options->remove, "take this one away; a service puts its own back at its next start")
      ->check(not_empty());
  jobs->footer(
      "Examples:\n  trellis jobs stats\n  trellis jobs ls --state dead\n  trellis jobs show 42\n"
      "  trellis jobs redrive 42");
}

}  // namespace trellis::app
