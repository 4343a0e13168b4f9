#include "app/commands/commands.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/commands/answer_json.h"
#include "app/commands/control_client.h"
#include "app/commands/http_call.h"
#include "app/config.h"
#include "base/json.h"
#include "config/reference.h"

namespace trellis::app {

using nlohmann::json;

namespace {

std::string with_newline(std::string text) {
  if (!text.ends_with('\n')) text += '\n';
  return text;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

int check(const CheckOptions& options) {
  Result<LoadedConfig> config = load_config(options.config, options.sets);
  if (options.json) {
    std::string text;
    JsonWriter writer(text);
    writer.begin_object().member("ok", config.has_value()).key("problems").begin_array();
    if (!config) {
      std::istringstream lines(config.error().to_string());
      for (std::string line; std::getline(lines, line);) writer.value(line);
    }
    writer.end_array().end_object();
    std::printf("%s\n", text.c_str());
  } else if (!config) {
    std::fprintf(stderr, "%s", with_newline(config.error().to_string()).c_str());
  } else {
    std::printf("%s: good: %zu listeners, %zu routes, %zu upstreams, %zu services\n", options.config.c_str(),
                config->values.listeners.size(), config->values.routes.size(), config->values.upstreams.size(),
                config->values.services.size());
  }
  return config ? 0 : 1;
}

int print_one_box() {
  const std::string_view text = one_box_config();
  std::fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

int ctl(std::string_view verb, const CtlOptions& options) {
  Call request;
  const std::string base = "http://" + options.control;
  if (verb == "status") {
    request.url = base + "/v1/status";
  } else if (verb == "reload") {
    request.method = "POST";
    request.url = base + "/v1/reload";
  } else if (verb == "upgrade") {
    request.method = "POST";
    request.url = base + "/v1/upgrade";
  } else {
    request.method = "PUT";
    request.url = base + "/v1/loglevel?level=" + percent_encoded(options.argument);
  }
  bool good = false;
  const json body = answer_of(call(request), good);
  if (!good) return 1;
  if (options.json) {
    std::printf("%s\n", body.dump(2).c_str());
    return 0;
  }
  if (verb == "status") {
    std::printf("%s, version %s, up %.0f s, %.0f cores on %s\n", text_of(body, "node").c_str(),
                text_of(body, "version").c_str(), number_of(body, "uptime_seconds"), number_of(body, "cores"),
                text_of(body, "io").c_str());
    for (const json& tier : list_of(body, "tiers")) {
      std::string figures;
      const json listed = tier.is_object() && tier.contains("figures") ? tier["figures"] : json::object();
      for (const auto& [name, value] : listed.items()) {
        if (!value.is_number()) continue;
        char text[96];
        std::snprintf(text, sizeof text, "  %s %.6g", name.c_str(), value.get<double>());
        figures += text;
      }
      std::printf("%-10s%s\n", text_of(tier, "id").c_str(), figures.c_str());
    }
  } else if (verb == "reload") {
    const json changes = list_of(body, "changes");
    for (const json& change : changes) {
      if (change.is_string()) std::printf("%s\n", change.get<std::string>().c_str());
    }
    for (const json& warning : list_of(body, "warnings")) {
      if (warning.is_string()) std::printf("warning: %s\n", warning.get<std::string>().c_str());
    }
    std::printf("reloaded, %zu changes\n", changes.size());
  } else if (verb == "upgrade") {
    std::printf("process %.0f has taken over\n", number_of(body, "pid"));
  } else {
    std::printf("level %s\n", text_of(body, "level").c_str());
  }
  return 0;
}

int reference(const ReferenceOptions& options) {
  const std::pair<const char*, std::string> files[] = {
      {"configuration.md", config::reference_markdown<NodeConfig>("Configuration reference")},
      {"configuration.schema.json", config::json_schema<NodeConfig>("Trellis configuration")},
  };
  int stale = 0;
  for (const auto& [name, text] : files) {
    const std::filesystem::path path = std::filesystem::path(options.folder) / name;
    if (options.check) {
      if (read_file(path) == text) continue;
      ++stale;
      failed(path.string() + " is not up to date; run: trellis reference " + options.folder);
      continue;
    }
    std::error_code error;
    std::filesystem::create_directories(options.folder, error);
    std::ofstream out(path, std::ios::binary);
    out << text;
    if (!out.good()) return failed("cannot write " + path.string());
    std::printf("wrote %s\n", path.c_str());
  }
  return stale == 0 ? 0 : 1;
}

}  // namespace trellis::app
