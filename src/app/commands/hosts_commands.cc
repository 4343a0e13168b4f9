#include "app/commands/hosts_commands.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "upstream/balancer.h"

namespace trellis::app {

using nlohmann::json;

namespace {

struct Options : ControlOptions {
  std::string upstream;
  std::string host;
  std::string zone;
  int weight = 1;
  int priority = 0;
  bool backup = false;
  bool undo = false;
};

std::string hosts_path(const Options& options) {
  return "/v1/upstreams/" + percent_encoded(options.upstream) + "/hosts";
}

std::string state_text(const json& host) {
  const std::string state = text_of(host, "state");
  if (state != "ejected") return state;
  return "ejected, " + span_text(number_of(host, "ejected_seconds")) + " left";
}

void add_rows(std::vector<std::vector<std::string>>& rows, const json& upstream) {
  for (const json& host : list_of(upstream, "hosts")) {
    const double answers = number_of(host, "answers");
    char mean[32];
    std::snprintf(mean, sizeof mean, "%.1f", number_of(host, "mean_ms"));
    const std::string zone = text_of(host, "zone");
    rows.push_back({text_of(upstream, "upstream"), text_of(host, "host"), count_of(host, "weight"),
                    zone.empty() ? "-" : zone, count_of(host, "priority"),
                    host.is_object() && host.value("backup", json(false)) == true ? "yes" : "-",
                    text_of(host, "origin"), state_text(host), count_of(host, "active"), count_of(host, "answers"),
                    count_of(host, "errors"), answers > 0 ? mean : "-"});
  }
}

// What a table of hosts cannot show: sources that give none, and hosts that were taken away.
void print_rest(const json& upstream) {
  const std::string name = text_of(upstream, "upstream");
  for (const json& source : list_of(upstream, "sources")) {
    const std::string trouble = text_of(source, "trouble");
    if (trouble.empty()) continue;
    std::printf("%s: %s %s: %s\n", name.c_str(), text_of(source, "kind").c_str(), text_of(source, "name").c_str(),
                trouble.c_str());
  }
  for (const json& removed : list_of(upstream, "removed")) {
    if (removed.is_string())
      std::printf("%s: %s was removed; trellis ctl hosts add brings it back\n", name.c_str(),
                  removed.get<std::string>().c_str());
  }
}

int print_upstreams(const json& upstreams) {
  std::vector<std::vector<std::string>> rows;
  for (const json& upstream : upstreams) add_rows(rows, upstream);
  if (rows.empty()) {
    std::printf("no hosts\n");
  } else {
    print_table({"UPSTREAM", "HOST", "WEIGHT", "ZONE", "PRIORITY", "BACKUP", "FROM", "STATE", "ACTIVE", "ANSWERS",
                 "ERRORS", "MEAN MS"},
                std::move(rows));
  }
  for (const json& upstream : upstreams) print_rest(upstream);
  return 0;
}

int print_json(const json& answer) {
  std::printf("%s\n", answer.dump(2).c_str());
  return 0;
}

int list(const Options& options) {
  const auto answer = ask(options, "GET", options.upstream.empty() ? "/v1/upstreams" : hosts_path(options));
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  return print_upstreams(options.upstream.empty() ? list_of(*answer, "upstreams") : json::array({*answer}));
}

int change(const Options& options, const std::string& method, Parameters parameters) {
  parameters.emplace_back("host", options.host);
  const auto answer = ask(options, method, hosts_path(options), parameters);
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  return print_upstreams(json::array({*answer}));
}

int add(const Options& options) {
  return change(options, "POST",
                {{"weight", std::to_string(options.weight)},
                 {"zone", options.zone},
                 {"priority", options.priority > 0 ? std::to_string(options.priority) : ""},
                 {"backup", options.backup ? "true" : ""}});
}
int remove(const Options& options) { return change(options, "DELETE", {}); }
int drain(const Options& options) { return change(options, "PATCH", {{"drain", options.undo ? "false" : "true"}}); }
int undrain(const Options& options) { return change(options, "PATCH", {{"drain", "false"}}); }
int weigh(const Options& options) { return change(options, "PATCH", {{"weight", std::to_string(options.weight)}}); }

}  // namespace

void add_hosts_commands(CLI::App& ctl, ChosenCommand& run) {
  const auto options = std::make_shared<Options>();  // lives as long as the callbacks
  const auto declare = [&](CLI::App& under, const char* verb, const char* what, const std::string& example,
                           int (*does)(const Options&)) {
    CLI::App* command = under.add_subcommand(verb, what);
    add_control_options(*command, *options);
    command->footer("Example:\n  " + example);
    command->add_option("UPSTREAM", options->upstream, "the upstream")->required();
    command->add_option("HOST", options->host, "HOST:PORT, or a host's name as listed")->required();
    command->callback([&run, does, options] { run = [does, options] { return does(*options); }; });
    return command;
  };
  const auto with_weight = [&](CLI::App* command) {
    command->add_option("WEIGHT", options->weight, "its share beside others'; 0: nothing new goes there")
        ->required()
        ->check(CLI::Range(0, static_cast<int>(upstream::kMaxWeight)));
  };

  CLI::App* hosts = ctl.add_subcommand("hosts", "the hosts of upstreams, how they do, and changes that are kept");
  add_control_options(*hosts, *options);
  hosts->add_option("UPSTREAM", options->upstream, "of this upstream only");
  hosts->callback([&run, hosts, options] {
    if (hosts->get_subcommands().empty()) run = [options] { return list(*options); };
  });
  CLI::App* adding = declare(*hosts, "add", "a new host, or one that was removed",
                             "trellis ctl hosts add app 10.0.0.13:8080 --weight 5", &add);
  adding->add_option("--weight", options->weight, "its share beside others'")
      ->check(CLI::Range(0, static_cast<int>(upstream::kMaxWeight)))
      ->capture_default_str();
  adding->add_option("--zone", options->zone, "where it stands");
  adding
      ->add_option("--priority", options->priority,
                   "hosts of a higher number wait until none of a lower one can be asked")
      ->check(CLI::Range(0, static_cast<int>(upstream::kMaxPriority)))
      ->capture_default_str();
  adding->add_flag("--backup", options->backup, "asked only while no other host can be");
  declare(*hosts, "remove", "take a host away, one of the configuration, too",
          "trellis ctl hosts remove app 10.0.0.12:8080", &remove);
  declare(*hosts, "drain", "no new requests for a host; those under way finish",
          "trellis ctl hosts drain app 10.0.0.12:8080", &drain);
  declare(*hosts, "undrain", "the end of it", "trellis ctl hosts undrain app 10.0.0.12:8080", &undrain);
  with_weight(
      declare(*hosts, "weight", "give a host another share", "trellis ctl hosts weight app 10.0.0.12:8080 3", &weigh));
  hosts->footer(
      "Examples:\n  trellis ctl hosts\n  trellis ctl hosts app\n  trellis ctl hosts add app 10.0.0.13:8080\n"
      "  trellis ctl hosts drain app 10.0.0.12:8080");

  CLI::App* draining = declare(ctl, "drain", "short for hosts drain", "trellis ctl drain app 10.0.0.12:8080", &drain);
  draining->add_flag("--undo", options->undo, "undrain");
  with_weight(declare(ctl, "weight", "short for hosts weight", "trellis ctl weight app 10.0.0.12:8080 3", &weigh));
}

}  // namespace trellis::app
