#include "app/commands/key_commands.h"

#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "app/commands/http_call.h"
#include "app/config.h"
#include "base/metrics.h"
#include "base/time.h"
#include "services/links/access/key_api.h"
#include "services/links/access/key_rows.h"
#include "services/links/domains/domain_rows.h"
#include "services/links/link_json.h"
#include "services/links/links.h"
#include "services/links/rows.h"
#include "store/sqlite.h"

namespace trellis::app {

using nlohmann::json;
using services::links::ApiKey;

namespace {

struct KeyOptions {
  std::string store;   // of a stopped node, by its name in the configuration; "": over the API
  std::string config;  // "": the built-in one box
  std::string node = "http://localhost:8080";
  std::string key;  // for the API
  std::string name;
  std::string scope = "write";
  std::string domain;
  std::string expires_at;
  std::string id;
  bool json = false;
};

int failed(const std::string& text) {
  std::fprintf(stderr, "trellis: %s\n", text.c_str());
  return 1;
}

std::string text_of(const json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

void print_key(const json& key) {
  const auto id = key.is_object() ? key.find("id") : key.end();
  const std::string end = text_of(key, "expires_at");
  const std::string used = text_of(key, "last_used_at");
  const std::string domain = text_of(key, "domain");
  std::printf("%6s  %-5s  %-8s…  last used %-24s  ends %-24s  %s%s\n", id != key.end() ? id->dump().c_str() : "",
              text_of(key, "scope").c_str(), text_of(key, "begins").c_str(), used.empty() ? "never" : used.c_str(),
              end.empty() ? "never" : end.c_str(), text_of(key, "name").c_str(),
              domain.empty() ? "" : (" (" + domain + " only)").c_str());
}

// The key alone on its line, for scripts.
int print_added(const json& key, bool as_json) {
  std::printf("%s\n", as_json ? key.dump(2).c_str() : text_of(key, "key").c_str());
  return 0;
}

int print_all(const json& keys, bool as_json) {
  if (as_json) {
    std::printf("%s\n", keys.dump(2).c_str());
  } else {
    for (const json& key : keys) print_key(key);
  }
  return 0;
}

json json_of(const ApiKey& key, std::string_view default_host, std::string_view text = {}) {
  std::string out;
  services::links::append_key(out, key, text, default_host);
  return json::parse(out, nullptr, false);
}

// --- In the store of a node that is stopped ---

struct StoppedNode {
  std::string path;      // of the store
  std::string base_url;  // of the links service on it; "": there is none
};

Result<StoppedNode> stopped_node(const KeyOptions& options) {
  TRY(const LoadedConfig config, load_config(options.config, {}));
  const auto& stores = config.values.stores;
  const auto found = stores.find(options.store);
  if (found == stores.end()) return fail(Code::not_found, "no store \"" + options.store + "\" in " + config.source);
  StoppedNode node{found->second.path, {}};
  for (const auto& entry : config.values.services) {
    const auto* links = entry.as<services::links::LinksConfig>();
    if (links && links->store == options.store) node.base_url = links->base_url;
  }
  return node;
}

// With the tables of the links service, which make it when the node has never run.
Result<std::unique_ptr<store::SqliteStore>> open_store(const std::string& path, Metrics& metrics) {
  ::umask(0027);  // as the node makes it
  std::error_code made;
  if (const auto folder = std::filesystem::path(path).parent_path(); !folder.empty())
    std::filesystem::create_directories(folder, made);
  if (made) return fail(Code::failed_precondition, path + ": " + made.message());
  TRY(auto store, store::SqliteStore::open({.name = "main", .path = path}, metrics));
  TRY_VOID(store->migrate("links", services::links::migrations()));
  TRY_VOID(store->migrate("links_domains", services::links::domain_migrations()));
  TRY_VOID(store->migrate("links_access", services::links::access_migrations()));
  return store;
}

int in_store(std::string_view verb, const KeyOptions& options, std::optional<int64_t> expires_at) {
  const Result<StoppedNode> node = stopped_node(options);
  if (!node) return failed(node.error().to_string());
  Metrics metrics;
  const auto store = open_store(node->path, metrics);
  if (!store) {
    std::string text = store.error().to_string();
    if (text.find("another process uses this store") != std::string::npos)
      text += "; stop that node first, or leave out --store and ask it by its API";
    return failed(text);
  }
  const auto rows = (*store)->write_now([](store::SqliteConnection& db) { return services::links::all_domains(db); });
  if (!rows) return failed(rows.error().to_string());
  const services::links::DomainTable domains(node->base_url, rows->all, rows->revision);
  const std::string& default_host = domains.default_domain().host;
  if (verb == "add") {
    const services::links::Domain* domain = options.domain.empty() ? nullptr : domains.find(options.domain);
    if (!options.domain.empty() && !domain) return failed("There is no such domain here.");
    const std::string text = services::links::make_key_text();
    ApiKey key = services::links::key_of(text, options.name, *services::links::key_scope(options.scope), expires_at,
                                         unix_millis(system_clock().wall()));
    if (domain) key.domain = services::links::KeyDomain{domain->id, std::string(domain->name_host())};
    const auto id =
        (*store)->write_now([&key](store::SqliteConnection& db) { return services::links::insert_key(db, key); });
    if (!id) return failed(id.error().to_string());
    if (!*id) return failed("there are 10,000 keys already; remove some");
    key.id = **id;
    return print_added(json_of(key, default_host, text), options.json);
  }
  if (verb == "rm") {
    int64_t id = 0;
    std::from_chars(options.id.data(), options.id.data() + options.id.size(), id);
    const auto gone =
        (*store)->write_now([id](store::SqliteConnection& db) { return services::links::delete_key(db, id); });
    if (!gone) return failed(gone.error().to_string());
    return *gone ? 0 : failed("There is no such key.");
  }
  const auto keys = (*store)->write_now([](store::SqliteConnection& db) { return services::links::all_keys(db); });
  if (!keys) return failed(keys.error().to_string());
  json all = json::array();
  for (const ApiKey& key : *keys) all.push_back(json_of(key, default_host));
  return print_all(all, options.json);
}

// --- Through the API of a running node ---

// The answer's JSON, or nothing after telling what is wrong.
std::optional<json> ask(const Call& request) {
  const Result<CallAnswer> answer = call(request);
  if (!answer) {
    failed(answer.error().to_string());
    return std::nullopt;
  }
  json body = json::parse(answer->body, nullptr, false);
  if (answer->status < 300 && (answer->status == 204 || body.is_object())) return body;
  std::string detail = text_of(body, "detail");
  if (detail.empty()) detail = "the node answered " + std::to_string(answer->status);
  if (answer->status == 401) detail += " (give it by --key or TRELLIS_KEY)";
  failed(detail);
  return std::nullopt;
}

int over_api(std::string_view verb, const KeyOptions& options) {
  const std::string keys = url_at(options.node, "/v1/keys");
  if (verb == "add") {
    json wanted{{"name", options.name}, {"scope", options.scope}};
    if (!options.expires_at.empty()) wanted["expires_at"] = options.expires_at;
    if (!options.domain.empty()) wanted["domain"] = options.domain;
    const auto made = ask({.method = "POST",
                           .url = keys,
                           .body = wanted.dump(-1, ' ', false, json::error_handler_t::replace),
                           .key = options.key});
    return made ? print_added(*made, options.json) : 1;
  }
  if (verb == "rm") return ask({.method = "DELETE", .url = keys + "/" + options.id, .key = options.key}) ? 0 : 1;
  json all = json::array();
  std::string cursor;
  for (int page = 0; page < 1000; ++page) {
    const auto listed = ask({.url = keys + "?limit=100" + cursor, .key = options.key});
    if (!listed) return 1;
    if (const auto items = listed->find("items"); items != listed->end() && items->is_array())
      all.insert(all.end(), items->begin(), items->end());
    const std::string next = text_of(*listed, "next");
    if (next.empty()) break;
    cursor = "&cursor=" + next;
  }
  return print_all(all, options.json);
}

// add, ls or rm.
int key_command(std::string_view verb, const KeyOptions& options) {
  std::optional<int64_t> expires_at;
  if (verb == "add") {
    if (!services::links::is_key_name(options.name)) {
      failed("a name is 1 to 128 bytes without control characters");
      return 2;
    }
    if (!services::links::key_scope(options.scope)) {
      failed("a scope is read, write or admin");
      return 2;
    }
    expires_at = services::links::parse_time(options.expires_at);
    if (!options.expires_at.empty() && (!expires_at || *expires_at <= unix_millis(system_clock().wall()))) {
      failed("--expires-at is written as in 2030-01-31T12:00:00Z and lies in the future");
      return 2;
    }
  }
  return options.store.empty() ? over_api(verb, options) : in_store(verb, options, expires_at);
}

}  // namespace

void add_key_commands(CLI::App& app, ChosenCommand& run) {
  const auto options = std::make_shared<KeyOptions>();  // lives as long as the callbacks
  CLI::App* keys = app.add_subcommand("key", "API keys of the links service");
  keys->require_subcommand(1);
  const auto add_verb = [&](const char* verb, const char* what, const char* example) {
    CLI::App* command = keys->add_subcommand(verb, what);
    command->add_option("--store", options->store, "work on this store of a node that is stopped, such as main");
    add_shared_option(*command, "--config", options->config,
                      "where the store is named; without it the built-in one box", "TRELLIS_CONFIG");
    add_shared_option(*command, "--node", options->node, "without --store: where the links API is", "TRELLIS_NODE");
    add_shared_option(*command, "--key", options->key, "without --store: a key of the scope admin", "TRELLIS_KEY");
    command->add_flag("--json", options->json, "print JSON");
    command->footer(std::string("Example:\n  ") + example);
    command->callback([&run, verb, options] { run = [verb, options] { return key_command(verb, *options); }; });
    return command;
  };
  CLI::App* add = add_verb("add", "make a key and print it, this once",
                           "trellis key add me --scope admin --store main --config edge.yaml");
  add->add_option("NAME", options->name, "what it is for")->required();
  add->add_option("--scope", options->scope, "read, write or admin")->capture_default_str();
  add->add_option("--expires-at", options->expires_at, "such as 2027-01-01T00:00:00Z");
  add->add_option("--domain", options->domain, "for links on this domain only, such as go.example.com");
  add_verb("ls", "list keys", "trellis key ls --node http://localhost:8080");
  CLI::App* revoke = add_verb("rm", "revoke a key", "trellis key rm 3");
  revoke->add_option("ID", options->id, "its number in the list")->required()->check(whole_number(1, INT64_MAX));
  keys->footer("Examples:\n  trellis key add me --scope admin --store main --config edge.yaml\n  trellis key ls");
}

}  // namespace trellis::app
