#include "app/commands/explain_command.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/commands/http_call.h"
#include "http/fields.h"
#include "http/h1_parser.h"

namespace trellis::app {

using nlohmann::json;

namespace {

// route;t=0.021;d="api: path /v1/**"
std::optional<Decision> read_decision(std::string_view text) {
  Decision out;
  const size_t semicolon = text.find(';');
  const size_t detail = text.find(";d=\"");
  if (semicolon == std::string_view::npos || detail == std::string_view::npos || !text.ends_with('"'))
    return std::nullopt;
  out.step = text.substr(0, semicolon);
  if (const std::string_view time = text.substr(semicolon); time.starts_with(";t="))
    std::from_chars(time.data() + 3, time.data() + time.size(), out.at);
  for (size_t i = detail + 4; i + 1 < text.size(); ++i) {
    if (text[i] == '\\' && i + 2 < text.size()) ++i;
    out.detail += text[i];
  }
  return out;
}

// "api.example.com:8080/v1" of "http://api.example.com:8080/v1#top"; the address of a page that TLS is taken off
// before.
std::string without_scheme(const std::string& url) {
  const std::string page = url.substr(0, url.find('#'));
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (http::iequal(page.substr(0, scheme.size()), scheme)) return page.substr(scheme.size());
  }
  return page;
}

std::string port_of(const std::string& authority) {
  const size_t colon = authority.rfind(':');
  return colon == std::string::npos || authority.ends_with(']') ? "80" : authority.substr(colon + 1);
}

// The listener that is named, or has the URL's port, or is the only one.
std::optional<json> listener_for(const json& listeners, const ExplainOptions& options, const std::string& authority) {
  std::string known;
  for (const json& one : listeners) {
    const std::string address = text_of(one, "address");
    known += (known.empty() ? "" : ", ") + text_of(one, "listener") + " (" + address + ")";
    if (options.listener.empty() ? port_of(address) == port_of(authority)
                                 : text_of(one, "listener") == options.listener)
      return one;
  }
  if (listeners.size() == 1 && options.listener.empty()) return listeners.front();
  failed(listeners.empty() ? "the node has no HTTP listener" : "which listener? say --listener; there are: " + known);
  return std::nullopt;
}

// Where the listener is reached from this machine.
std::string reachable(std::string address) {
  for (const auto& [any, local] :
       {std::pair<std::string, std::string>{"0.0.0.0:", "127.0.0.1:"}, {"[::]:", "[::1]:"}}) {
    if (address.starts_with(any)) return local + address.substr(any.size());
  }
  return address;
}

void print(const std::string& asked, const std::string& way, int status, const std::vector<Decision>& decisions) {
  std::printf("%s: %d, by %s\n", asked.c_str(), status, way.c_str());
  size_t width = 0;
  for (const Decision& one : decisions) width = std::max(width, one.step.size());
  for (const Decision& one : decisions)
    std::printf("%9.3f ms  %-*s  %s\n", one.at, static_cast<int>(width), one.step.c_str(), one.detail.c_str());
}

void print_json(const std::string& asked, const std::string& way, int status, const std::vector<Decision>& decisions) {
  json out = {{"request", asked}, {"listener", way}, {"status", status}, {"decisions", json::array()}};
  for (const Decision& one : decisions)
    out["decisions"].push_back({{"ms", one.at}, {"step", one.step}, {"detail", one.detail}});
  std::printf("%s\n", out.dump(2).c_str());
}

int explain(const ExplainOptions& options) {
  const auto explanation = ask_and_explain(options);
  if (!explanation) return 1;
  (options.json ? print_json : print)(options.method + " " + options.url, explanation->way, explanation->status,
                                      explanation->decisions);
  return 0;
}

}  // namespace

std::optional<std::pair<std::string, std::string>> read_header(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0) {
    failed("\"" + text + "\" is no header: NAME: VALUE");
    return std::nullopt;
  }
  const size_t value = text.find_first_not_of(' ', colon + 1);
  return std::pair(text.substr(0, colon), value == std::string::npos ? "" : text.substr(value));
}

std::optional<Explanation> ask_and_explain(const ExplainOptions& options) {
  const auto trouble = [](const std::string& text) {
    failed(text);
    return std::nullopt;
  };
  const std::string rest = without_scheme(options.url);
  const std::string authority = rest.substr(0, rest.find_first_of("/?"));
  if (!http::valid_authority(authority) || rest.substr(authority.size()).starts_with("//"))
    return trouble("\"" + options.url + "\" is no address such as http://www.example.com/page");
  const auto known = ask(options, "GET", "/v1/explain");
  if (!known) return std::nullopt;
  const auto listener = listener_for(list_of(*known, "listeners"), options, authority);
  if (!listener) return std::nullopt;

  Call request{.method = options.method, .url = "http://" + rest, .body = options.data};
  request.as_client = true;
  request.connect = reachable(text_of(*listener, "address"));
  request.fields.emplace_back("X-Trellis-Explain", text_of(*known, "key"));
  for (const std::string& header : options.headers) {
    auto field = read_header(header);
    if (!field) return std::nullopt;
    request.fields.push_back(*std::move(field));
  }
  const auto answer = call(request);
  if (!answer && answer.error().code() != Code::unavailable) return trouble(answer.error().to_string());
  if (!answer) {
    return trouble(answer.error().to_string() +
                   "; a listener that expects the PROXY protocol cannot be asked this way: name another one");
  }

  Explanation out;
  for (const auto& [name, value] : answer->fields) {
    if (!http::iequal(name, "X-Trellis-Explain")) continue;
    if (auto decision = read_decision(value)) out.decisions.push_back(*std::move(decision));
  }
  if (out.decisions.empty()) {
    return trouble("the answer, " + std::to_string(answer->status) +
                   ", tells no decisions: it came before a route was looked for, or from another program");
  }
  out.way = text_of(*listener, "listener") + " on " + text_of(*listener, "address");
  out.status = answer->status;
  out.fields = answer->fields;
  return out;
}

void add_explain_command(CLI::App& ctl, ChosenCommand& run) {
  const auto options = std::make_shared<ExplainOptions>();  // lives as long as the callback
  CLI::App* command = ctl.add_subcommand("explain", "ask for a page, and be told each decision that was taken for it");
  add_control_options(*command, *options);
  command->add_option("URL", options->url, "as clients ask for it; it goes to this node, wherever the name leads")
      ->required();
  command->add_option("-X,--method", options->method, "another method than GET")->capture_default_str();
  command->add_option("-H,--header", options->headers, "NAME: VALUE, a field of the request; as often as you like")
      ->type_size(1)
      ->allow_extra_args(false);
  command->add_option("-d,--data", options->data, "the request's body");
  command->add_option("--listener", options->listener, "where it comes in; without it the one with the URL's port");
  command->footer(
      "Examples:\n  trellis ctl explain http://www.example.com/api/users\n"
      "  trellis ctl explain www.example.com/cart -X POST -d '{}' -H 'Cookie: beta=1' --json\n"
      "The request is a real one: the application sees it, and a POST changes what it changes.");
  command->callback([&run, options] { run = [options] { return explain(*options); }; });
}

}  // namespace trellis::app
