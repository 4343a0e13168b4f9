// `trellis links`: the short links of a running node from the shell, over its API. On the main thread; main() adds the
// commands to the command line and runs the one that was asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace CLI {
class App;
}

namespace trellis::app {

struct Call;
struct CallAnswer;

struct LinksOptions {
  std::string node = "http://localhost:8080";
  std::string key;  // of the API
  bool json = false;

  std::string domain;  // its host; "": the default one, or that of a short address
  std::string code;
  std::vector<std::string> codes;
  std::string url;
  std::string alias;
  std::optional<std::string> title;
  std::optional<std::string> not_before;
  std::optional<std::string> expires_at;
  std::optional<std::string> max_visits;
  bool forward_query = false;
  bool no_forward_query = false;
  std::vector<std::string> tags;
  bool no_tags = false;
  bool find_existing = false;
  std::string condition;  // the ETag for If-Match
  int status = 0;
  bool password = false;  // is asked for
  bool no_password = false;
  std::string rules;  // a file; "-": standard input
  bool no_rules = false;

  int limit = 20;
  std::string search;
  std::string tag;

  std::string file;  // "-": standard input or output
  std::string format;
  std::string on_conflict = "fail";
  std::string report;
  bool dry_run = false;

  std::string from;
  std::string to;
  std::string step;
  std::string by;
  std::string bots;
  int values = 0;  // of each dimension; 0: as many as the node gives
  int count = 0;   // clicks; 0: all that come
};

// What all of them share: a request of the links API, "page" out of "https://go.example.com/page" too, and its path.
Call links_call(const LinksOptions& options, std::string method, const std::string& path);
std::string code_in(const std::string& text);
std::string links_path(const std::string& code);
// The host of the domain that is meant: what was said, or that of a short address; "": the default one.
std::string domain_in(const std::string& text, const LinksOptions& options);
// The answer says that the node has no domain of this short address's host. As the node treats such a host, who reads
// asks again about the default one; who changes something does not.
bool is_other_host(const Result<CallAnswer>& answer, const std::string& text, const LinksOptions& options);

// Prints, and gives the process's exit code: 0 good, 1 failed, 2 wrong use.
class LinksCommands {
 public:
  explicit LinksCommands(CLI::App& app);
  LinksCommands(const LinksCommands&) = delete;
  LinksCommands& operator=(const LinksCommands&) = delete;

  // nullopt: none of them was asked for.
  std::optional<int> run();

 private:
  struct Command {
    CLI::App* app;
    int (*run)(const LinksOptions& options);
  };
  LinksOptions options_;
  std::vector<Command> commands_;
};

}  // namespace trellis::app
