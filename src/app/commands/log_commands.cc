#include "app/commands/log_commands.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "services/links/link_json.h"

namespace trellis::app {

using nlohmann::json;

namespace {

struct Options : ControlOptions {
  std::string log;
  std::string topic;
  std::string group;
  std::string ago;
  std::string at;
  int64_t offset = -1;
  int partition = -1;
  int limit = 10;
};

std::string given(int64_t number) { return number < 0 ? "" : std::to_string(number); }

int print_json(const json& answer) {
  std::printf("%s\n", answer.dump(2).c_str());
  return 0;
}

int topics(const Options& options) {
  const auto answer = ask(options, "GET", "/v1/log", {{"log", options.log}});
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  std::vector<std::vector<std::string>> rows;
  for (const json& one : list_of(*answer, "topics")) {
    char events[32];
    std::snprintf(events, sizeof events, "%.0f", number_of(one, "head") - number_of(one, "first"));
    rows.push_back(
        {text_of(one, "topic"), count_of(one, "partition"), count_of(one, "first"), count_of(one, "head"), events});
  }
  if (rows.empty()) {
    std::printf("no topics\n");
    return 0;
  }
  print_table({"TOPIC", "PARTITION", "FIRST", "HEAD", "EVENTS"}, std::move(rows));
  return 0;
}

int lag(const Options& options) {
  const auto answer = ask(options, "GET", "/v1/log/groups", {{"log", options.log}});
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  std::vector<std::vector<std::string>> rows;
  for (const json& one : list_of(*answer, "groups")) {
    rows.push_back({text_of(one, "group"), text_of(one, "topic"), count_of(one, "partition"),
                    count_of(one, "committed"), count_of(one, "head"), count_of(one, "lag")});
  }
  if (rows.empty()) {
    std::printf("no groups\n");
    return 0;
  }
  print_table({"GROUP", "TOPIC", "PARTITION", "COMMITTED", "HEAD", "LAG"}, std::move(rows));
  return 0;
}

// A line for each group and topic.
int groups(const Options& options) {
  const auto answer = ask(options, "GET", "/v1/log/groups", {{"log", options.log}});
  if (!answer) return 1;
  std::map<std::pair<std::string, std::string>, double> sums;
  for (const json& one : list_of(*answer, "groups"))
    sums[{text_of(one, "group"), text_of(one, "topic")}] += number_of(one, "lag");
  json all = json::array();
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, sum] : sums) {
    all.push_back({{"group", name.first}, {"topic", name.second}, {"lag", static_cast<int64_t>(sum)}});
    rows.push_back({name.first, name.second, count_of(all.back(), "lag")});
  }
  if (options.json) return print_json({{"groups", all}});
  if (rows.empty()) {
    std::printf("no groups\n");
    return 0;
  }
  print_table({"GROUP", "TOPIC", "LAG"}, std::move(rows));
  return 0;
}

std::string value_of(const json& event) {
  if (event.contains("value") && event["value"].is_null()) return "(tombstone)";
  if (event.contains("clicks")) {
    const json& clicks = event["clicks"];
    const std::string first = clicks.is_array() && !clicks.empty() ? " " + clicks.front().dump() : std::string();
    return count_of(event, "count") + " clicks" + first;
  }
  if (event.contains("hex")) return count_of(event, "bytes") + " bytes 0x" + text_of(event, "hex");
  return text_of(event, "value");
}

int peek(const Options& options) {
  const auto answer = ask(options, "GET", "/v1/log/peek",
                          {{"log", options.log},
                           {"topic", options.topic},
                           {"partition", given(options.partition)},
                           {"offset", given(options.offset)},
                           {"limit", std::to_string(options.limit)}});
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  std::vector<std::vector<std::string>> rows;
  for (const json& event : list_of(*answer, "events")) {
    rows.push_back({count_of(event, "offset"), text_of(event, "at"), text_of(event, "key"), value_of(event)});
  }
  if (rows.empty()) {
    std::printf("no events there\n");
    return 0;
  }
  print_table({"OFFSET", "AT", "KEY", "VALUE"}, std::move(rows), 200);
  return 0;
}

int replay(const Options& options) {
  if ((options.offset >= 0) + !options.ago.empty() + !options.at.empty() != 1) {
    std::fprintf(stderr, "trellis: say where to begin: one of --offset, --ago and --at\n");
    return 2;
  }
  std::optional<int64_t> at;
  if (!options.at.empty()) {
    at = services::links::parse_time(options.at);
    if (!at) {
      std::fprintf(stderr, "trellis: --at is a time such as 2027-01-31T12:00:00Z\n");
      return 2;
    }
  }
  const auto answer = ask(options, "POST", "/v1/log/replay",
                          {{"log", options.log},
                           {"topic", options.topic},
                           {"group", options.group},
                           {"partition", given(options.partition)},
                           {"offset", given(options.offset)},
                           {"at_ms", at ? std::to_string(*at) : ""},
                           {"ago", options.ago}});
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  for (const json& one : list_of(*answer, "partitions")) {
    std::printf("%s is at offset %s of partition %s now\n", options.group.c_str(), count_of(one, "offset").c_str(),
                count_of(one, "partition").c_str());
  }
  return 0;
}

}  // namespace

void add_log_commands(CLI::App& app, ChosenCommand& run) {
  const auto options = std::make_shared<Options>();  // lives as long as the callbacks
  CLI::App* log = app.add_subcommand("log", "topics, events and groups of a running node's event log");
  log->require_subcommand(1);
  const auto add = [&](const char* verb, const char* what, const char* example, int (*does)(const Options&)) {
    CLI::App* command = log->add_subcommand(verb, what);
    add_control_options(*command, *options);
    command->add_option("--log", options->log, "which log; may be left out where the node has one");
    command->footer(std::string("Example:\n  ") + example);
    command->callback([&run, does, options] { run = [does, options] { return does(*options); }; });
    return command;
  };
  const auto add_partition = [&](CLI::App* command, const char* what) {
    command->add_option("--partition", options->partition, what)->check(whole_number(0, INT32_MAX));
  };
  add("topics", "topics with their partitions: the first offset that is kept, and the next one", "trellis log topics",
      &topics);
  add("groups", "who reads, and how many events lie before each", "trellis log groups", &groups);
  add("lag", "how far each group is in each partition", "trellis log lag --json", &lag);
  CLI::App* look = add("peek", "events of a partition; the latest ones if no offset is said",
                       "trellis log peek clicks --partition 0 --offset 1000 --limit 5", &peek);
  look->add_option("TOPIC", options->topic, "the topic")->required();
  add_partition(look, "0 if not said");
  look->add_option("--offset", options->offset, "from this one on")->check(whole_number(0, INT64_MAX));
  look->add_option("--limit", options->limit, "how many")->check(CLI::Range(1, 100))->capture_default_str();
  CLI::App* back = add("replay", "let a group begin elsewhere: at an offset, or at a time",
                       "trellis log replay clicks search-index --ago 2h", &replay);
  back->add_option("TOPIC", options->topic, "the topic")->required();
  back->add_option("GROUP", options->group, "the group")->required();
  add_partition(back, "this one only; all if not said");
  back->add_option("--offset", options->offset, "at this offset of the partition")->check(whole_number(0, INT64_MAX));
  back->add_option("--ago", options->ago, "at the first event since then, such as 2h");
  back->add_option("--at", options->at, "at the first event since this time, such as 2027-01-31T12:00:00Z");
  log->footer("Examples:\n  trellis log topics\n  trellis log lag\n  trellis log peek clicks --limit 5");
}

}  // namespace trellis::app
