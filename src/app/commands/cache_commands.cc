#include "app/commands/cache_commands.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

namespace trellis::app {

using nlohmann::json;

namespace {

struct Options : ControlOptions {
  std::string cache;
  std::string space;
  std::string key;
};

int print_json(const json& answer) {
  std::printf("%s\n", answer.dump(2).c_str());
  return 0;
}

std::string joined(const json& names) {
  std::string text;
  for (const json& name : names) {
    if (name.is_string()) text += (text.empty() ? "" : ", ") + name.get<std::string>();
  }
  return text;
}

// "-" where the cache has no such part.
std::string count_or_none(const json& object, const char* name) {
  return object.contains(name) ? count_of(object, name) : "-";
}

int ls(const Options& options) {
  const auto answer = ask(options, "GET", "/v1/caches");
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  std::vector<std::vector<std::string>> rows;
  for (const json& one : list_of(*answer, "caches")) {
    const json edge = one.value("edge", json::object());
    const json disk = edge.value("disk", json::object());
    rows.push_back({text_of(one, "cache"), count_of(one, "objects"), count_of(one, "bytes"), count_of(one, "capacity"),
                    count_or_none(disk, "objects"), count_or_none(disk, "bytes"), count_or_none(edge, "fills"),
                    joined(list_of(one, "spaces"))});
  }
  if (rows.empty()) {
    std::printf("no caches\n");
    return 0;
  }
  print_table({"CACHE", "OBJECTS", "BYTES", "CAPACITY", "ON DISK", "BYTES ON DISK", "FETCHES", "SPACES"},
              std::move(rows));
  return 0;
}

int purge(const Options& options) {
  if (!options.key.empty() && options.space.empty()) {
    std::fprintf(stderr, "trellis: --key is that of a space: say --space too\n");
    return 2;
  }
  const auto answer = ask(options, "POST", "/v1/caches/purge",
                          {{"cache", options.cache}, {"space", options.space}, {"key", options.key}});
  if (!answer) return 1;
  if (options.json) return print_json(*answer);
  const std::string spaces = joined(list_of(*answer, "purged"));
  if (options.key.empty()) {
    std::printf("purged all of %s\n", spaces.c_str());
  } else {
    std::printf("purged %s of %s, if it was there\n", options.key.c_str(), spaces.c_str());
  }
  return 0;
}

}  // namespace

void add_cache_commands(CLI::App& app, ChosenCommand& run) {
  const auto options = std::make_shared<Options>();  // lives as long as the callbacks
  CLI::App* cache = app.add_subcommand("cache", "the memory caches of a running node");
  cache->require_subcommand(1);
  const auto add = [&](const char* verb, const char* what, const char* example, int (*does)(const Options&)) {
    CLI::App* command = cache->add_subcommand(verb, what);
    add_control_options(*command, *options);
    command->footer(std::string("Example:\n  ") + example);
    command->callback([&run, does, options] { run = [does, options] { return does(*options); }; });
    return command;
  };
  add("ls", "caches with what they hold", "trellis cache ls", &ls);
  CLI::App* purging = add("purge", "let go of an object, a space of a cache, or all of it",
                          "trellis cache purge hot --space links --key page", &purge);
  purging->add_option("CACHE", options->cache, "the cache")->required();
  // WHY not empty: it would purge more than was meant.
  purging->add_option("--space", options->space, "this space only, such as links")->check(not_empty());
  purging
      ->add_option("--key", options->key,
                   "this object only: of links a code, with the host before it on a further domain (shop.example/sale)")
      ->check(not_empty());
  cache->footer("Examples:\n  trellis cache ls\n  trellis cache purge hot --space links --key page");
}

}  // namespace trellis::app
