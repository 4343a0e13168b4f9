#include "app/commands/import_commands.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "app/import/import.h"
#include "base/json.h"

namespace trellis::app {

namespace {

struct Options {
  std::string file;
  std::string out;
  std::string from;
  std::string json;
  bool strict = false;
};

// True when all of it was written.
bool write_file(const std::string& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  bool good = file != nullptr;
  if (file) {
    good = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    good = std::fclose(file) == 0 && good;
  }
  if (!good) std::fprintf(stderr, "trellis: %s: %s\n", path.c_str(), std::strerror(errno));
  return good;
}

std::string report_of(const Options& options, const Imported& imported) {
  std::string text;
  JsonWriter json(text);
  json.begin_object()
      .member("from", options.file)
      .member("kind", to_string(imported.kind))
      .member("listeners", imported.listeners)
      .member("upstreams", imported.upstreams)
      .member("routes", imported.routes)
      .member("left_out", imported.remarks.left_out())
      .key("remarks")
      .begin_array();
  for (const Remark& remark : imported.remarks.kept()) {
    json.begin_object()
        .member("kind", to_string(remark.kind))
        .member("file", remark.at.file ? *remark.at.file : std::string())
        .member("line", remark.at.line)
        .member("directive", remark.directive)
        .member("why", remark.why)
        .member("instead", remark.instead)
        .end_object();
  }
  json.end_array().end_object();
  return text + "\n";
}

int import_file(const Options& options) {
  const ImportKind nginx = ImportKind::nginx;
  const ImportKind haproxy = ImportKind::haproxy;
  const ImportKind* kind = options.from.empty() ? nullptr : options.from == "nginx" ? &nginx : &haproxy;
  const Result<Imported> imported = import_config(options.file, kind, files_on_disk());
  if (!imported) {
    std::fprintf(stderr, "trellis: %s\n", imported.error().to_string().c_str());
    return 1;
  }
  if (options.out.empty()) {
    std::fwrite(imported->yaml.data(), 1, imported->yaml.size(), stdout);
  } else if (!write_file(options.out, imported->yaml)) {
    return 1;
  }
  for (const Remark& remark : imported->remarks.kept()) {
    const bool differs = remark.kind == Remark::Kind::differs;
    std::fprintf(stderr, "%s%s\n", remark.to_string().c_str(), differs ? " (differs)" : "");
  }
  if (!options.json.empty() && !write_file(options.json, report_of(options, *imported))) return 1;
  const size_t left_out = imported->remarks.left_out();
  std::fprintf(stderr, "%s: %zu listeners, %zu upstreams, %zu routes; %zu things left out\n", options.file.c_str(),
               imported->listeners, imported->upstreams, imported->routes, left_out);
  return options.strict && left_out > 0 ? 1 : 0;
}

}  // namespace

void add_import_command(CLI::App& app, ChosenCommand& run) {
  const auto options = std::make_shared<Options>();  // lives as long as the callback
  CLI::App* command = app.add_subcommand("import", "another server's configuration as one of Trellis");
  command->add_option("FILE", options->file, "nginx.conf with what it includes, or haproxy.cfg")->required();
  command->add_option("-o,--output", options->out, "the file to write; without it standard output");
  command->add_option("--from", options->from, "what it is, if the text does not tell: nginx or haproxy")
      ->check(CLI::IsMember({"nginx", "haproxy"}));
  command->add_option("--json", options->json, "write what was left out, and what differs, as JSON to this file");
  command->add_flag("--strict", options->strict, "fail when anything was left out");
  command->footer(
      "Examples:\n  trellis import /etc/nginx/nginx.conf -o edge.yaml\n"
      "  trellis import /etc/haproxy/haproxy.cfg -o edge.yaml\n  trellis import nginx.conf --json report.json --strict "
      "> edge.yaml\n"
      "What could not be translated is told on standard error, a line each, and at the top of the result.");
  command->callback([&run, options] { run = [options] { return import_file(*options); }; });
}

}  // namespace trellis::app
