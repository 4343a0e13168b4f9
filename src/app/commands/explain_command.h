// `trellis ctl explain URL`: asks a running node for a page as a client would, and prints the decisions that it took
// (docs/explain.md).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/commands/control_client.h"

namespace trellis::app {

struct Decision {
  double at = 0;  // ms
  std::string step;
  std::string detail;
};
struct Explanation {
  std::string way;  // "web on 0.0.0.0:80"
  int status = 0;
  std::vector<std::pair<std::string, std::string>> fields;  // of the answer
  std::vector<Decision> decisions;
};
struct ExplainOptions : ControlOptions {
  std::string url;
  std::string method = "GET";
  std::vector<std::string> headers;  // "NAME: VALUE"
  std::string data;
  std::string listener;
};
// Sends the request. None after the trouble was told on stderr.
std::optional<Explanation> ask_and_explain(const ExplainOptions& options);
// "Accept-Encoding: br" as name and value; none after the trouble was told.
std::optional<std::pair<std::string, std::string>> read_header(const std::string& text);

void add_explain_command(CLI::App& ctl, ChosenCommand& run);

}  // namespace trellis::app
