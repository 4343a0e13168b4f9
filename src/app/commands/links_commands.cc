#include "app/commands/links_commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "app/commands/answer_json.h"
#include "app/commands/ask_password.h"
#include "app/commands/control_client.h"
#include "app/commands/http_call.h"
#include "app/commands/links_clicks.h"
#include "app/commands/links_files.h"
#include "app/commands/read_input.h"
#include "services/links/rules/rules.h"

namespace trellis::app {

using nlohmann::json;

Call links_call(const LinksOptions& options, std::string method, const std::string& path) {
  Call call{.method = std::move(method), .url = url_at(options.node, path)};
  if (!options.key.empty()) call.fields.emplace_back("x-api-key", options.key);
  return call;
}

std::string code_in(const std::string& text) {
  const size_t slash = text.rfind('/');
  return slash == std::string::npos ? text : text.substr(slash + 1);
}

std::string links_path(const std::string& code) { return "/v1/links/" + percent_encoded(code_in(code)); }

std::string domain_in(const std::string& text, const LinksOptions& options) {
  const size_t host = text.find("://");
  if (!options.domain.empty() || host == std::string::npos) return options.domain;
  return text.substr(host + 3, text.find('/', host + 3) - host - 3);
}

bool is_other_host(const Result<CallAnswer>& answer, const std::string& text, const LinksOptions& options) {
  if (!answer || answer->status != 400 || !options.domain.empty() || domain_in(text, options).empty()) return false;
  return text_of(json::parse(answer->body, nullptr, false), "field") == "domain";
}

namespace {

// As the node compares hosts: in any case of letters, without the port that goes without saying.
std::string plain_host(std::string host) {
  for (char& c : host) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  for (const std::string_view port : {":80", ":443"}) {
    if (host.ends_with(port)) {
      host.resize(host.size() - port.size());
      break;
    }
  }
  if (host.ends_with('.')) host.pop_back();
  return host;
}

// False, and said: the address is of another domain than --domain.
bool agrees(const std::string& text, const LinksOptions& options) {
  LinksOptions without;
  const std::string host = domain_in(text, without);
  if (options.domain.empty() || host.empty() || plain_host(host) == plain_host(options.domain)) return true;
  failed(text + " is not on the domain " + options.domain + "; leave one of them out");
  return false;
}

// Of a change: is_good(), and clear about the host.
bool is_changed(const Result<CallAnswer>& answer, const std::string& text, const LinksOptions& options) {
  if (!is_other_host(answer, text, options)) return is_good(answer);
  failed("the node has no domain " + domain_in(text, options) + "; name the link by its code, " + code_in(text) +
         ", if that of the default domain is meant");
  return false;
}

std::string path_of(const std::string& code, const LinksOptions& options) {
  const std::string domain = domain_in(code, options);
  return links_path(code) + (domain.empty() ? "" : "?domain=" + percent_encoded(domain));
}

std::string text_of_json(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

void print_line(const json& link) {
  std::printf("%-40s %8.0f  %s\n", text_of(link, "short_url").c_str(), number_of(link, "clicks"),
              text_of(link, "url").c_str());
}

void print_link(const json& link) {
  for (const char* name :
       {"short_url", "url", "title", "status", "tags", "clicks", "max_visits", "visits_left", "forward_query",
        "has_password", "created_at", "updated_at", "not_before", "expires_at", "etag"}) {
    const auto value = link.find(name);
    if (value == link.end() || value->is_null() || *value == false || (value->is_array() && value->empty())) continue;
    std::string text;
    if (value->is_array()) {
      for (const json& each : *value)
        text += (text.empty() ? "" : ", ") + (each.is_string() ? each.get<std::string>() : each.dump());
    } else {
      text = value->is_string() ? value->get<std::string>() : value->dump();
    }
    if (!text.empty()) std::printf("%-13s %s\n", name, text.c_str());
  }
  size_t number = 0;
  for (const json& rule : list_of(link, "rules"))
    std::printf("%-13s %s\n", ("rule " + std::to_string(++number)).c_str(), text_of_json(rule).c_str());
}

// A number as it was written, or nothing for "none"; what is no number goes to the node as text, which says what is
// wrong.
json number_or_none(const std::string& text) {
  if (text == "none" || text == "never") return nullptr;
  const bool digits = !text.empty() && text.size() < 16 &&
                      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits ? json(std::stoll(text)) : json(text);
}

json time_or_none(const std::string& text) {
  if (text == "none" || text == "never") return nullptr;
  return text;
}

void take_settings(json& wanted, const LinksOptions& options) {
  if (options.title) wanted["title"] = *options.title;
  if (options.not_before) wanted["not_before"] = time_or_none(*options.not_before);
  if (options.expires_at) wanted["expires_at"] = time_or_none(*options.expires_at);
  if (options.max_visits) wanted["max_visits"] = number_or_none(*options.max_visits);
  if (options.forward_query) wanted["forward_query"] = true;
  if (!options.tags.empty()) wanted["tags"] = options.tags;
  if (options.status != 0) wanted["status"] = options.status;
}

// False: there is none, which was said.
bool take_password(json& wanted, const LinksOptions& options) {
  if (!options.password) return true;
  Result<std::string> password = ask_password();
  if (!password) {
    failed(password.error().what());
    return false;
  }
  wanted["password"] = *std::move(password);
  return true;
}

// False: they cannot be had, which was said.
bool take_rules(json& wanted, const LinksOptions& options) {
  if (options.rules.empty()) return true;
  if (options.rules == "-" && options.password) {
    failed("rules and a password cannot both come from standard input");
    return false;
  }
  // One byte more than rules have at most is enough for the node to refuse them.
  const Result<std::string> text = read_input(options.rules, services::links::kMaxRulesText + 1);
  if (!text) {
    failed(text.error().to_string());
    return false;
  }
  try {
    wanted["rules"] = json::parse(*text);
  } catch (const json::exception& error) {
    failed((options.rules == "-" ? "standard input" : options.rules) +
           ": the rules are not valid JSON: " + error.what());
    return false;
  }
  return true;
}

int add(const LinksOptions& options) {
  json wanted{{"url", options.url}};
  if (!options.alias.empty()) wanted["alias"] = options.alias;
  if (!options.domain.empty()) wanted["domain"] = options.domain;
  if (options.find_existing) wanted["find_existing"] = true;
  take_settings(wanted, options);
  if (!take_rules(wanted, options) || !take_password(wanted, options)) return 2;
  Call request = links_call(options, "POST", "/v1/links");
  request.body = text_of_json(wanted);
  bool good = false;
  const json link = answer_of(call(request), good);
  if (!good) return 1;
  std::printf("%s\n", options.json ? link.dump(2).c_str() : text_of(link, "short_url").c_str());
  return 0;
}

int edit(const LinksOptions& options) {
  json wanted = json::object();
  if (!options.url.empty()) wanted["url"] = options.url;
  take_settings(wanted, options);
  if (options.no_tags) wanted["tags"] = json::array();
  if (options.no_forward_query) wanted["forward_query"] = false;
  if (options.no_password) wanted["password"] = nullptr;
  if (options.no_rules) wanted["rules"] = json::array();
  if (!take_rules(wanted, options) || !take_password(wanted, options)) return 2;
  if (wanted.empty()) {
    failed("nothing is said that should change; see trellis links edit --help");
    return 2;
  }
  Call request = links_call(options, "PATCH", path_of(options.code, options));
  request.body = text_of_json(wanted);
  if (!options.condition.empty()) request.fields.emplace_back("if-match", options.condition);
  const Result<CallAnswer> answer = call(request);
  if (!is_changed(answer, options.code, options)) return 1;
  bool good = false;
  const json link = answer_of(answer, good);
  if (!good) return 1;
  if (options.json) {
    std::printf("%s\n", link.dump(2).c_str());
  } else {
    print_link(link);
  }
  return 0;
}

int rm(const LinksOptions& options) {
  int code = 0;
  json removed = json::array();
  for (const std::string& each : options.codes) {
    if (!is_changed(call(links_call(options, "DELETE", path_of(each, options))), each, options)) {
      code = 1;
      continue;
    }
    removed.push_back(code_in(each));
    if (!options.json) std::printf("removed %s\n", code_in(each).c_str());
  }
  if (options.json) std::printf("%s\n", json{{"removed", removed}}.dump(2).c_str());
  return code;
}

int show(const LinksOptions& options) {
  Result<CallAnswer> answer = call(links_call(options, "GET", path_of(options.code, options)));
  if (is_other_host(answer, options.code, options)) answer = call(links_call(options, "GET", links_path(options.code)));
  bool good = false;
  const json link = answer_of(answer, good);
  if (!good) return 1;
  if (options.json) {
    std::printf("%s\n", link.dump(2).c_str());
  } else {
    print_link(link);
  }
  return 0;
}

int ls(const LinksOptions& options) {
  int left = options.limit;
  std::string cursor;
  json all = json::array();
  while (left > 0) {
    std::string path = "/v1/links?limit=" + std::to_string(std::min(left, 100));
    if (!options.search.empty()) path += "&q=" + percent_encoded(options.search);
    if (!options.tag.empty()) path += "&tag=" + percent_encoded(options.tag);
    if (!options.domain.empty()) path += "&domain=" + percent_encoded(options.domain);
    if (!cursor.empty()) path += "&cursor=" + percent_encoded(cursor);
    bool good = false;
    const json page = answer_of(call(links_call(options, "GET", path)), good);
    if (!good) return 1;
    for (const json& link : list_of(page, "items")) {
      if (options.json)
        all.push_back(link);
      else
        print_line(link);
      --left;
    }
    cursor = text_of(page, "next");
    if (cursor.empty()) break;
  }
  if (options.json) std::printf("%s\n", all.dump(2).c_str());
  return 0;
}

}  // namespace

LinksCommands::LinksCommands(CLI::App& app) {
  CLI::App* group = app.add_subcommand("links", "short links of a node");
  group->require_subcommand(1);
  const auto command = [&](const char* verb, const char* what, int (*does)(const LinksOptions&), const char* example) {
    CLI::App* one = group->add_subcommand(verb, what);
    add_shared_option(*one, "--node", options_.node, "where the links API is", "TRELLIS_NODE");
    add_shared_option(*one, "--key", options_.key, "API key, for a node that wants one", "TRELLIS_KEY");
    one->add_flag("--json", options_.json, "print JSON");
    one->add_option("--domain", options_.domain, "the domain of the links, such as go.example.com");
    one->footer(std::string("Example:\n  ") + example);
    commands_.push_back({one, does});
    return one;
  };
  const auto settings = [&](CLI::App* one) {
    one->add_option("--title", options_.title, "a name for the list");
    one->add_option("--status", options_.status, "301, 302, 307 or 308");
    one->add_option("--not-before", options_.not_before, "until then it answers 404, such as 2027-01-01T00:00:00Z");
    one->add_option("--expires-at", options_.expires_at, "from then on it answers 410");
    one->add_option("--max-visits", options_.max_visits, "so many visits are granted");
    one->add_flag("--forward-query", options_.forward_query, "pass the visitor's query on");
    one->add_flag("--password", options_.password,
                  "ask for a password that visitors need; or the first line of standard input");
    one->add_option("--rules", options_.rules, "a file with its rules as JSON; - is standard input");
    one->add_option("--tag", options_.tags, "to find it by; once for each")->allow_extra_args(false);
  };

  CLI::App* adding = command("add", "shorten an address", add,
                             "trellis links add https://example.com/a/long/page --alias page --tag news");
  adding->add_option("URL", options_.url, "where the link leads")->required();
  adding->add_option("--alias", options_.alias, "a code of your own");
  settings(adding);
  adding->add_flag("--find-existing", options_.find_existing, "give a link that is the same, if there is one");

  CLI::App* listing =
      command("ls", "list links, newest first", ls, "trellis links ls --search example --tag news --limit 50");
  listing->add_option("--limit", options_.limit, "how many")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  listing->add_option("--search", options_.search, "a part of the address, title or code");
  listing->add_option("--tag", options_.tag, "only those that carry it");

  CLI::App* showing = command("show", "one link with its clicks", show, "trellis links show page --json");
  showing->add_option("CODE", options_.code, "the code, or the short address")->required();

  CLI::App* editing = command("edit", "change a link; what is not said stays", edit,
                              "trellis links edit page --url https://example.com/new --expires-at never --no-tags");
  editing->add_option("CODE", options_.code, "the code, or the short address")->required();
  editing->add_option("--url", options_.url, "where it leads from now on");
  settings(editing);
  editing->add_flag("--no-forward-query", options_.no_forward_query, "keep the visitor's query")
      ->excludes("--forward-query");
  editing->add_flag("--no-password", options_.no_password, "let everybody follow it")->excludes("--password");
  editing->add_flag("--no-tags", options_.no_tags, "take all tags away")->excludes("--tag");
  editing->add_flag("--no-rules", options_.no_rules, "lead everybody to the address")->excludes("--rules");
  editing->add_option("--if-match", options_.condition, "only if this is still its ETag");

  CLI::App* removing = command("rm", "remove links; their codes answer 410 from then on", rm, "trellis links rm page");
  removing->add_option("CODE", options_.codes, "codes, or short addresses")->required();

  CLI::App* counting = command("stats", "the clicks of a link, or of all links", stats_of_links,
                               "trellis links stats page --step hour --by country,referrer");
  counting->add_option("CODE", options_.code, "the code, or the short address; all links without it");
  counting->add_option("--from", options_.from, "a day or a time such as 2027-01-31T12:00:00Z");
  counting->add_option("--to", options_.to, "likewise; up to now without it");
  counting->add_option("--step", options_.step, "day without it")->check(CLI::IsMember({"minute", "hour", "day"}));
  counting->add_option("--by", options_.by, "dimensions with commas in between; all without it");
  counting->add_option("--bots", options_.bots, "in the dimensions; left out without it")
      ->check(CLI::IsMember({"exclude", "only", "all"}));
  counting->add_option("--limit", options_.values, "values of each dimension; 20 without it")
      ->check(CLI::Range(1, 500));

  CLI::App* tailing =
      command("tail", "clicks as they come, until it is ended by Ctrl-C", tail_links, "trellis links tail page --json");
  tailing->add_option("CODE", options_.code, "the code, or the short address; all links without it");
  tailing->add_option("--count", options_.count, "end after so many clicks")->check(CLI::Range(1, 1'000'000'000));

  CLI::App* importing = command("import", "take links from a file of this service, Shlink, YOURLS, Kutt or Bitly",
                                import_links, "trellis links import links.csv --dry-run");
  importing->add_option("FILE", options_.file, "CSV or NDJSON; - for standard input")->required();
  importing->add_option("--format", options_.format, "auto, csv or ndjson")
      ->check(CLI::IsMember({"auto", "csv", "ndjson"}));
  importing->add_flag("--dry-run", options_.dry_run, "check everything and write nothing");
  importing->add_option("--on-conflict", options_.on_conflict, "when another link has the code: fail or skip")
      ->check(CLI::IsMember({"fail", "skip"}))
      ->capture_default_str();
  importing->add_flag("--find-existing", options_.find_existing, "make none where a link is the same");
  importing->add_option("--report", options_.report, "write what became of each row into this file, as NDJSON");

  CLI::App* exporting =
      command("export", "write all links into a file", export_links, "trellis links export links.csv");
  exporting->add_option("FILE", options_.file, "the file; - or nothing for standard output");
  exporting->add_option("--format", options_.format, "csv, ndjson or shlink; by the file's name without it")
      ->check(CLI::IsMember({"csv", "ndjson", "shlink"}));

  group->footer(
      "Examples:\n  trellis links add https://example.com/a/long/page --alias page\n  trellis links ls --search "
      "example\n  trellis links edit page --title News\n  trellis links stats page --by country\n"
      "  trellis links import links.csv --dry-run\n"
      "  trellis links export links.csv --node http://localhost:8080");
}

std::optional<int> LinksCommands::run() {
  for (const Command& each : commands_) {
    if (!*each.app) continue;
    if (!agrees(options_.code, options_)) return 2;
    for (const std::string& code : options_.codes)
      if (!agrees(code, options_)) return 2;
    return each.run(options_);
  }
  return std::nullopt;
}

}  // namespace trellis::app
