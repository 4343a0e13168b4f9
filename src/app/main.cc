// The command line: what each command takes is told here, what it does stands in its own file.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>

#include "app/commands/cache_commands.h"
#include "app/commands/commands.h"
#include "app/commands/control_client.h"
#include "app/commands/explain_command.h"
#include "app/commands/hosts_commands.h"
#include "app/commands/import_commands.h"
#include "app/commands/jobs_commands.h"
#include "app/commands/key_commands.h"
#include "app/commands/links_commands.h"
#include "app/commands/log_commands.h"
#include "app/commands/purge_command.h"
#include "app/commands/run.h"
#include "app/commands/store_commands.h"
#include "app/commands/why_command.h"
#include "app/version.h"

namespace {

// Whether all that was printed is where it should be, such as on a disk that has room; else it is said.
bool output_written() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return true;
  std::fprintf(stderr, "trellis: the output could not be written\n");
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace trellis::app;
  CLI::App app("Trellis: a web-scale backend in one program.");
  app.require_subcommand(1);
  app.footer(
      "Examples:\n  trellis run                       one box on http://localhost:8080, data in ./data\n"
      "  trellis check edge.yaml           every problem of a configuration with its place\n"
      "  trellis ctl status                the live figures of a running node\n"
      "  trellis links add https://example.com/");

  RunOptions run_options;
  CLI::App* run_command = app.add_subcommand("run", "run one node in the foreground");
  run_command
      ->add_option("CONFIG", run_options.config,
                   "file, or folder of *.yaml; without it one box with everything embedded")
      ->envname("TRELLIS_CONFIG");
  run_command->add_option("--set", run_options.sets, "change one value: --set runtime.io=epoll")
      ->allow_extra_args(false);
  bool print_config = false;
  run_command->add_flag("--print-config", print_config, "print the built-in one-box configuration and end");
  run_command->footer(
      "Examples:\n  trellis run\n  trellis run edge.yaml --set listeners.web.bind=0.0.0.0:80\n"
      "Signals: TERM and INT drain and stop, HUP reloads, USR1 reopens the access log, USR2 lets a new process of the\n"
      "same command take over.");

  CheckOptions check_options;
  CLI::App* check_command =
      app.add_subcommand("check", "say everything that is wrong with a configuration, and change nothing");
  check_command->add_option("CONFIG", check_options.config, "file, or folder of *.yaml")
      ->envname("TRELLIS_CONFIG")
      ->required();
  check_command->add_option("--set", check_options.sets, "change one value first: --set a.b=c")
      ->allow_extra_args(false);
  check_command->add_flag("--json", check_options.json, "print JSON");
  check_command->footer("Example:\n  trellis check edge.yaml");

  CtlOptions ctl_options;
  CLI::App* ctl_command = app.add_subcommand("ctl", "ask or steer a running node");
  ctl_command->require_subcommand(1);
  const auto add_control = [&](CLI::App* command) {
    add_shared_option(*command, "--control", ctl_options.control, "the node's control address", "TRELLIS_CONTROL");
    command->add_flag("--json", ctl_options.json, "print the answer as it came");
  };
  CLI::App* ctl_status = ctl_command->add_subcommand("status", "the tiers with their figures");
  CLI::App* ctl_reload =
      ctl_command->add_subcommand("reload", "read the configuration again; the old one stays if the new one is wrong");
  CLI::App* ctl_upgrade = ctl_command->add_subcommand(
      "upgrade", "let a new process of the installed program take over; the old one stays if that does not start");
  CLI::App* ctl_level = ctl_command->add_subcommand("loglevel", "change what the node logs");
  ctl_level->add_option("LEVEL", ctl_options.argument, "debug, info, warn, error or off")->required();
  for (CLI::App* command : {ctl_status, ctl_reload, ctl_upgrade, ctl_level}) add_control(command);
  ctl_status->footer("Example:\n  trellis ctl status --json");
  ctl_reload->footer("Example:\n  trellis ctl reload --control 127.0.0.1:9900");
  ctl_upgrade->footer("Example:\n  install -m 755 build/release/trellis /usr/local/bin/trellis && trellis ctl upgrade");
  ctl_level->footer("Example:\n  trellis ctl loglevel debug");
  ctl_command->footer(
      "Examples:\n  trellis ctl status\n  trellis ctl hosts\n  trellis ctl explain http://www.example.com/page\n"
      "  trellis ctl reload --control 127.0.0.1:9900\n"
      "  trellis ctl loglevel debug");

  LinksCommands links(app);

  StoreOptions store_options;
  CLI::App* store_command_group = app.add_subcommand("store", "the databases of a node that is stopped");
  store_command_group->require_subcommand(1);
  const auto add_store = [&](const char* verb, const char* what, const char* file, bool required) {
    CLI::App* command = store_command_group->add_subcommand(verb, what);
    command->add_option("STORE", store_options.store, "its name in the configuration, such as main")->required();
    command->add_option("FILE", store_options.file, file)->required(required);
    add_shared_option(*command, "--config", store_options.config,
                      "file, or folder of *.yaml; without it the built-in one box", "TRELLIS_CONFIG");
    return command;
  };
  CLI::App* store_backup = add_store("backup", "copy the store into one file, and check the copy", "the copy", true);
  CLI::App* store_restore = add_store("restore", "put a copy in the store's place", "the copy", true);
  CLI::App* store_check = add_store("check", "read all of the store: damage, sizes, versions of its schema",
                                    "a copy to check instead of the store itself", false);
  for (CLI::App* command : {store_backup, store_restore})
    command->add_flag("--force", store_options.force, "replace what is there");
  store_backup->add_flag("--running", store_options.running,
                         "let the running node make it; FILE is a name then, in `backups` beside the store");
  store_backup->add_option("--control", store_options.control, "the running node's control address")
      ->envname("TRELLIS_CONTROL")
      ->capture_default_str();
  store_check->add_flag("--json", store_options.json, "print JSON");
  store_backup->footer(
      "Examples:\n  trellis store backup main backup.db --config edge.yaml\n"
      "  trellis store backup main monday.db --running");
  store_restore->footer("Example:\n  trellis store restore main backup.db --force");
  store_check->footer("Examples:\n  trellis store check main\n  trellis store check main backup.db --json");
  store_command_group->footer(
      "Examples:\n  trellis store backup main backup.db\n  trellis store restore main backup.db --force\n"
      "  trellis store check main --config edge.yaml");

  ChosenCommand chosen;  // of the commands that are declared in their own files
  add_hosts_commands(*ctl_command, chosen);
  add_purge_command(*ctl_command, chosen);
  add_explain_command(*ctl_command, chosen);
  add_why_command(*ctl_command, chosen);
  add_cache_commands(app, chosen);
  add_jobs_commands(app, chosen);
  add_log_commands(app, chosen);
  add_key_commands(app, chosen);
  add_import_command(app, chosen);

  ReferenceOptions reference_options;
  CLI::App* reference_command = app.add_subcommand("reference", "write the configuration's reference and JSON schema");
  reference_command->add_option("DIR", reference_options.folder, "the folder to write to")->required();
  reference_command->add_flag("--check", reference_options.check,
                              "write nothing; fail if the folder's files are not up to date");
  reference_command->footer("Example:\n  trellis reference docs/reference");

  CLI::App* version_command = app.add_subcommand("version", "print the version");
  version_command->footer("Example:\n  trellis version");

  run_options.command.assign(argv, argv + argc);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }

  if (*run_command && !print_config) return run(run_options);
  const auto command = [&]() -> int {
    if (chosen) return chosen();
    if (*run_command) return print_one_box();
    if (*check_command) return check(check_options);
    if (*ctl_status) return ctl("status", ctl_options);
    if (*ctl_reload) return ctl("reload", ctl_options);
    if (*ctl_upgrade) return ctl("upgrade", ctl_options);
    if (*ctl_level) return ctl("loglevel", ctl_options);
    if (const std::optional<int> code = links.run()) return *code;
    if (*store_backup) return store_command("backup", store_options);
    if (*store_restore) return store_command("restore", store_options);
    if (*store_check) return store_command("check", store_options);
    if (*reference_command) return reference(reference_options);
    if (*version_command) {
      std::printf("trellis %.*s\n", static_cast<int>(kVersion.size()), kVersion.data());
      return 0;
    }
    return 2;
  };
  const int code = command();
  return output_written() ? code : std::max(code, 1);
}
