#include "app/commands/control_client.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/commands/http_call.h"

namespace trellis::app {

using nlohmann::json;

CLI::Option* add_shared_option(CLI::App& command, const std::string& name, std::string& value, const std::string& what,
                               const char* variable) {
  const auto take = [&command, &value](const std::string& text) {
    if (command.parsed()) value = text;
  };
  CLI::Option* option = command.add_option_function<std::string>(name, take, what)->envname(variable);
  if (!value.empty()) option->default_str(value);
  return option;
}

void add_control_options(CLI::App& command, ControlOptions& options) {
  add_shared_option(command, "--control", options.control, "the node's control address", "TRELLIS_CONTROL");
  command.add_flag("--json", options.json, "print the answer as it came");
}

CLI::Validator whole_number(int64_t low, int64_t high) {
  const std::string what = std::to_string(low) + " to " + std::to_string(high);
  return CLI::Validator(
      [low, high, what](std::string& text) -> std::string {
        int64_t number = 0;
        const char* const end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, number);
        if (error == std::errc() && stop == end && number >= low && number <= high) return {};
        return "expected a number from " + what + ", got \"" + text + "\"";
      },
      "");
}

CLI::Validator not_empty() {
  return CLI::Validator([](std::string& text) { return text.empty() ? std::string("is empty") : std::string(); }, "");
}

int failed(const std::string& text) {
  std::fprintf(stderr, "trellis: %s\n", text.c_str());
  return 1;
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const unsigned char c : text) {
    if (std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~') {
      out += static_cast<char>(c);
    } else {
      char hex[4];
      std::snprintf(hex, sizeof hex, "%%%02X", c);
      out += hex;
    }
  }
  return out;
}

std::string printable(std::string_view text, bool lines) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    const bool second_set = c == 0xc2 && next >= 0x80 && next < 0xa0;  // U+0080 to U+009F
    if ((c == '\n' || c == '\t') && lines) {
      out += text[i];
    } else if (c < 0x20 || c == 0x7f || second_set) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02x", second_set ? next : c);
      out += hex;
      if (second_set) ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::optional<json> ask(const ControlOptions& options, const std::string& method, const std::string& path,
                        const Parameters& parameters, const std::string& body) {
  Call request{.method = method, .url = "http://" + options.control + path, .body = body};
  if (!body.empty()) request.content_type = "application/octet-stream";
  char separator = '?';
  for (const auto& [name, value] : parameters) {
    if (value.empty()) continue;
    request.url += std::exchange(separator, '&') + name + "=" + percent_encoded(value);
  }
  const Result<CallAnswer> answer = call(request);
  if (!answer) {
    failed(answer.error().to_string());
    return std::nullopt;
  }
  json object = json::parse(answer->body, nullptr, false);
  if (answer->status >= 400) {
    const std::string detail = text_of(object, "detail");
    failed(detail.empty() ? "the node answered " + std::to_string(answer->status) : detail);
    return std::nullopt;
  }
  if (!object.is_object()) {
    failed("what answers at " + options.control + " is no Trellis node: its answer is no JSON object");
    return std::nullopt;
  }
  return object;
}

std::string text_of(const json& object, const char* name) {
  if (!object.is_object()) return {};
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double number_of(const json& object, const char* name) {
  if (!object.is_object()) return 0;
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

json list_of(const json& object, const char* name) {
  if (!object.is_object()) return json::array();
  const auto found = object.find(name);
  return found != object.end() && found->is_array() ? *found : json::array();
}

std::string count_of(const json& object, const char* name) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", number_of(object, name));
  return text;
}

void print_table(const std::vector<std::string>& head, std::vector<std::vector<std::string>> rows, size_t cut) {
  rows.insert(rows.begin(), head);
  std::vector<size_t> widths(head.size());
  for (std::vector<std::string>& row : rows) {
    for (std::string& cell : row) cell = printable(cell);
    if (row.back().size() > cut) row.back() = row.back().substr(0, cut - 3) + "...";
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    std::printf("%s\n", line.c_str());
  }
}

std::string span_text(double seconds) {
  const auto in = [seconds](double unit, const char* name) {
    char text[48];
    std::snprintf(text, sizeof text, "%.0f %s", seconds / unit, name);
    return std::string(text);
  };
  if (seconds < 120) return in(1, "s");
  if (seconds < 7200) return in(60, "min");
  return seconds < 172'800 ? in(3600, "h") : in(86'400, "d");
}

}  // namespace trellis::app
