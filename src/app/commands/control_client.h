// What the commands that speak to a running node's control address share: one request, its JSON answer or the trouble
// in words, tables for people. For the command line only; blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace trellis::app {

struct ControlOptions {
  std::string control = "127.0.0.1:9900";
  bool json = false;
};
// An option of one of several commands that share `value`, which may come from the environment, too: the command line
// wins. Environment variables are read for every command, chosen or not; of those that were not, nothing is taken.
CLI::Option* add_shared_option(CLI::App& command, const std::string& name, std::string& value, const std::string& what,
                               const char* variable);

// --control (TRELLIS_CONTROL) and --json.
void add_control_options(CLI::App& command, ControlOptions& options);

// Commands are declared beside what they do; `run` is set to the one that was asked for and gives the exit code.
using ChosenCommand = std::function<int()>;

using Parameters = std::vector<std::pair<std::string, std::string>>;  // empty values are left out
// The answer's JSON object; none after the trouble was told on stderr.
std::optional<nlohmann::json> ask(const ControlOptions& options, const std::string& method, const std::string& path,
                                  const Parameters& parameters = {}, const std::string& body = {});

// Checks of options: a whole number from `low` to `high`; a text that is not empty, as that of a shell's unset variable
// is, which would pass for an option that was not said.
CLI::Validator whole_number(int64_t low, int64_t high);
CLI::Validator not_empty();

std::string percent_encoded(std::string_view text);
// Text of others on a terminal: control characters, which could steer it, as \x1b; `lines`: ends of lines stay.
std::string printable(std::string_view text, bool lines = false);
int failed(const std::string& text);  // says it on stderr; 1

// Members of an answer, whatever its shape: another server may be on the port.
std::string text_of(const nlohmann::json& object, const char* name);
double number_of(const nlohmann::json& object, const char* name);
nlohmann::json list_of(const nlohmann::json& object, const char* name);
std::string count_of(const nlohmann::json& object, const char* name);  // a whole number as text

// Columns as wide as they must be; the last one may be cut to `cut` bytes so that a line stays a line.
void print_table(const std::vector<std::string>& head, std::vector<std::vector<std::string>> rows, size_t cut = 80);
// "3 s", "5 min", "2 h", "4 d"
std::string span_text(double seconds);

}  // namespace trellis::app
