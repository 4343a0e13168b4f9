#include "app/commands/purge_command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

namespace trellis::app {

using nlohmann::json;

namespace {

struct Options : ControlOptions {
  std::string url;
  std::string prefix;
  std::string host;
  std::string tag;
  std::string cache;
  bool all = false;
  bool soft = false;
  bool list = false;
};

bool is_true(const json& object, const char* name) {
  return object.is_object() && object.value(name, json(false)) == true;
}

int print_list(const Options& options) {
  const auto answer = ask(options, "GET", "/v1/purges", {{"cache", options.cache}});
  if (!answer) return 1;
  if (options.json) {
    std::printf("%s\n", answer->dump(2).c_str());
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json& cache : list_of(*answer, "caches")) {
    for (const json& rule : list_of(cache, "latest")) {
      rows.push_back({text_of(rule, "at"), text_of(cache, "cache"), is_true(rule, "soft") ? "soft" : "hard",
                      text_of(rule, "kind"), text_of(rule, "text")});
    }
  }
  if (rows.empty()) {
    std::printf("no purges\n");
  } else {
    print_table({"AT", "CACHE", "HOW", "BY", "WHAT"}, std::move(rows));
  }
  return 0;
}

// Whether all have it is the exit code: a script that publishes something wants to know.
int print_outcome(const json& answer) {
  const std::string what = text_of(answer, "text");
  std::printf("purged by %s%s%s%s\n", text_of(answer, "kind").c_str(), what.empty() ? "" : " ", what.c_str(),
              is_true(answer, "soft") ? " (soft)" : "");
  for (const json& cache : list_of(answer, "caches")) {
    const std::string name = text_of(cache, "cache");
    std::printf("  %s: this node%s\n", name.c_str(),
                is_true(cache, "kept") ? "" : (", but not kept over a restart: " + text_of(cache, "error")).c_str());
    for (const json& member : list_of(cache, "members")) {
      const std::string trouble = is_true(member, "acknowledged") ? "" : ": NOT YET: " + text_of(member, "error");
      std::printf("  %s: %s%s\n", name.c_str(), text_of(member, "member").c_str(), trouble.c_str());
    }
  }
  if (is_true(answer, "complete")) return 0;
  std::fprintf(stderr, "trellis: not complete; members that could not be reached hear of it when they can\n");
  return 1;
}

int purge(const Options& options) {
  if (options.list) return print_list(options);
  Parameters parameters = {{"cache", options.cache}, {"soft", options.soft ? "true" : ""}};
  int ways = 0;
  const auto by = [&](const char* kind, const std::string& text, bool said) {
    if (!said) return;
    ++ways;
    parameters.emplace_back("kind", kind);
    parameters.emplace_back("text", text);
  };
  by("key", options.url, !options.url.empty());
  by("prefix", options.prefix, !options.prefix.empty());
  by("host", options.host, !options.host.empty());
  by("tag", options.tag, !options.tag.empty());
  by("all", "", options.all);
  if (ways != 1) {
    std::fprintf(stderr, "trellis: say what to purge, one of URL, --prefix, --host, --tag and --all\n");
    return 2;
  }
  const auto answer = ask(options, "POST", "/v1/purges", parameters);
  if (!answer) return 1;
  if (options.json) {
    std::printf("%s\n", answer->dump(2).c_str());
    return is_true(*answer, "complete") ? 0 : 1;
  }
  return print_outcome(*answer);
}

}  // namespace

void add_purge_command(CLI::App& ctl, ChosenCommand& run) {
  const auto options = std::make_shared<Options>();  // lives as long as the callback
  CLI::App* command =
      ctl.add_subcommand("purge", "take what the cache filter keeps out of the cache, on all nodes of its cluster");
  add_control_options(*command, *options);
  command->add_option("URL", options->url, "one URL, with all its variants");
  command->add_option("--prefix", options->prefix, "all URLs that begin so: shop.example.com/img/*");
  command->add_option("--host", options->host, "all URLs of a host");
  command->add_option("--tag", options->tag, "all answers with this word in Surrogate-Key or Cache-Tag");
  command->add_flag("--all", options->all, "everything");
  command->add_flag("--soft", options->soft, "make it stale instead: it is validated at its next use");
  command->add_option("--cache", options->cache, "this cache only, one of `caches` in the configuration");
  command->add_flag("--list", options->list, "show the latest purges instead");
  command->footer(
      "Exit code 1 when a member of the cluster has not acknowledged.\n"
      "Examples:\n  trellis ctl purge https://shop.example.com/item/7\n"
      "  trellis ctl purge --prefix 'shop.example.com/img/*' --soft\n  trellis ctl purge --tag product-7 --json");
  command->callback([&run, options] { run = [options] { return purge(*options); }; });
}

}  // namespace trellis::app
