#include "app/commands/why_command.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/commands/explain_command.h"
#include "cache/rules/advice.h"
#include "http/fields.h"

namespace trellis::app {

using nlohmann::json;

namespace {

struct Options : ExplainOptions {
  std::string cache;
  bool fetch = false;
};

json part_of(const json& object, const char* name) {
  return object.is_object() ? object.value(name, json::object()) : json::object();
}

void line(const char* name, const std::string& text) { std::printf("%-10s %s\n", name, text.c_str()); }

// "200, 5120 bytes, age 12 s, fresh for 48 s of 60 s (the answer says so), ..."
std::string words_of(const json& answer) {
  const double ttl = number_of(answer, "ttl");
  std::string text = count_of(answer, "status");
  if (answer.contains("bytes")) text += ", " + count_of(answer, "bytes") + " bytes";
  text += ", age " + count_of(answer, "age") + " s, ";
  text += ttl > 0   ? "fresh for " + count_of(answer, "ttl") + " s more"
          : ttl < 0 ? "stale for " + span_text(-ttl)
                    : "stale from now on";
  text += " (lifetime " + count_of(answer, "lifetime") + " s, from " + text_of(answer, "lifetime_from") + ")";
  if (number_of(answer, "stale_while_revalidate") > 0)
    text += ", stale-while-revalidate " + count_of(answer, "stale_while_revalidate") + " s";
  if (number_of(answer, "stale_if_error") > 0) text += ", stale-if-error " + count_of(answer, "stale_if_error") + " s";
  text += answer.value("validator", false) ? ", can be validated" : ", cannot be validated";
  if (number_of(answer, "tags") > 0) text += ", " + count_of(answer, "tags") + " tags";
  if (number_of(answer, "parts") > 1) text += ", in " + count_of(answer, "parts") + " parts";
  const std::string purged = text_of(answer, "purged");
  if (purged != "no") text += purged == "soft" ? ", purged softly" : ", purged";
  return text;
}

// "of 65536 bytes: 9 of 16 are needed, of which memory has 5, disk 7, and 8 can be given; what follows is of number 2"
std::string slices_of(const json& answer) {
  const json slices = part_of(answer, "slices");
  std::string text = "of " + count_of(answer, "slice") + " bytes: ";
  text += number_of(slices, "needed") < number_of(slices, "of")
              ? count_of(slices, "needed") + " of " + count_of(slices, "of") + " are needed"
              : count_of(slices, "of") + " in all";
  if (number_of(slices, "looked_at") < number_of(slices, "needed"))
    text += " (the first " + count_of(slices, "looked_at") + " were looked at)";
  text += ", memory has " + count_of(slices, "memory") + ", disk " + count_of(slices, "disk") + "; " +
          count_of(slices, "usable") + " can be given without the origin. What follows is of number " +
          count_of(slices, "shown");
  return text;
}

std::string reason_of(const json& part) {
  const std::string remedy = text_of(part, "remedy");
  std::string text = text_of(part, "meaning");
  if (text.empty()) text = text_of(part, "reason");
  return remedy.empty() ? text : text + ". To change it: " + remedy;
}

// What the next request like this one meets, and why.
std::string verdict(const json& answer, bool fetch) {
  const std::string next = text_of(answer, "next");
  const json used = answer.contains("memory") && text_of(part_of(answer, "memory"), "purged") != "yes"
                        ? part_of(answer, "memory")
                        : part_of(answer, "disk");
  if (next == "hit") return "it is given from the cache";
  if (next == "stale") return "it is given from the cache although it is stale: " + reason_of(used);
  if (next == "partial") return "the origin is asked for what is missing: only parts of it are there";
  if (next == "validate") {
    const bool validator = used.value("validator", false);
    return (validator ? "the origin is asked whether it is still right: " : "the origin is asked for it anew: ") +
           reason_of(used);
  }
  if (next == "refused") {
    return "it is refused: " + (text_of(used, "reason") == "fresh" ? "only parts of it are there" : reason_of(used));
  }
  if (next == "wait") return "it is being fetched: the answer is shared";
  if (next == "bypass") return "the cache has nothing to do with it: " + reason_of(part_of(answer, "bypass"));
  if (next == "unshared")
    return "the origin is asked, and the answer not stored: " + reason_of(part_of(answer, "unshared"));
  if (next == "no-route") return "no route takes it";
  if (next == "no-cache-filter") return "its route has no cache filter: filters: [ { cache: { in: NAME } } ]";
  return "the origin is asked: nothing is stored. It was not asked for of late, was purged, or had to make room" +
         std::string(fetch ? "" : "; --fetch asks for it and tells whether it can be stored");
}

void print(const json& answer, bool fetch) {
  const std::string route = text_of(answer, "route");
  line("route", route.empty() ? "none" : route + " at listener " + text_of(answer, "listener"));
  if (answer.contains("cache")) line("cache", text_of(answer, "cache"));
  if (answer.contains("key")) {
    std::string key = text_of(answer, "key");
    for (size_t at = 0; (at = key.find('\n', at)) != std::string::npos;) key.replace(at, 1, " | ");
    line("key", key);
  }
  if (answer.contains("slice")) line("slices", slices_of(answer));
  if (answer.contains("varies_by")) {
    std::string names;
    for (const json& name : list_of(answer, "varies_by"))
      names += (names.empty() ? "" : ", ") + (name.is_string() ? name.get<std::string>() : "");
    line("varies by", names);
  }
  if (answer.contains("key")) {
    for (const char* tier : {"memory", "disk"})
      line(tier, answer.contains(tier) ? words_of(part_of(answer, tier)) : "nothing");
  }
  line("next", verdict(answer, fetch));
}

// "trellis; fwd=uri-miss; detail=no-store": the last member's detail.
std::string detail_of(const std::string& status) {
  const size_t at = status.rfind("detail=");
  if (at == std::string::npos || status.find(',', at) != std::string::npos) return "";
  std::string detail = status.substr(at + 7);
  if (detail.size() > 1 && detail.front() == '"' && detail.back() == '"') detail = detail.substr(1, detail.size() - 2);
  return detail;
}

int why(const Options& options) {
  std::optional<Explanation> fetched;
  if (options.fetch) {
    fetched = ask_and_explain(options);
    if (!fetched) return 1;
  }
  Parameters parameters = {{"url", options.url}, {"listener", options.listener}, {"cache", options.cache}};
  for (const std::string& header : options.headers) {
    if (!read_header(header)) return 1;
    parameters.emplace_back("header", header);
  }
  auto answer = ask(options, "GET", "/v1/caches/why", parameters);
  if (!answer) return 1;
  std::string status;
  if (fetched) {
    for (const auto& [name, value] : fetched->fields) {
      if (http::iequal(name, "Cache-Status")) status += (status.empty() ? "" : ", ") + value;
    }
  }
  const cache::Advice advice = cache::advice_for(detail_of(status));
  if (options.json) {
    if (fetched) {
      (*answer)["fetched"] = {{"status", fetched->status}, {"cache_status", status}};
      if (!advice.meaning.empty()) (*answer)["fetched"]["meaning"] = advice.meaning;
      if (!advice.remedy.empty()) (*answer)["fetched"]["remedy"] = advice.remedy;
    }
    std::printf("%s\n", answer->dump(2).c_str());
    return 0;
  }
  if (fetched) {
    line("fetched", std::to_string(fetched->status) + ", " + (status.empty() ? "with no Cache-Status" : status));
    for (const Decision& one : fetched->decisions) {
      if (one.step.starts_with("cache")) line("", one.step + ": " + one.detail);
    }
    if (!advice.meaning.empty())
      line("", std::string(advice.meaning) + (advice.remedy.empty() ? "" : ". To change it: ") +
                   std::string(advice.remedy));
  }
  print(*answer, options.fetch);
  return 0;
}

}  // namespace

void add_why_command(CLI::App& ctl, ChosenCommand& run) {
  const auto options = std::make_shared<Options>();  // lives as long as the callback
  CLI::App* cache = ctl.add_subcommand("cache", "what the cache of a route has for a page");
  cache->require_subcommand(1);
  CLI::App* command = cache->add_subcommand("why", "why a page comes from the cache, or does not");
  add_control_options(*command, *options);
  command->add_option("URL", options->url, "as clients ask for it")->required();
  command->add_option("-H,--header", options->headers, "NAME: VALUE, a field of the request; as often as you like")
      ->type_size(1)
      ->allow_extra_args(false);
  command->add_option("--cache", options->cache, "look in this cache, not in the route's own");
  command->add_option("--listener", options->listener, "where it comes in; without it the first whose route caches");
  command->add_flag("--fetch", options->fetch, "ask for it first, as a client would: the origin may be asked");
  const char* const examples =
      "Examples:\n  trellis ctl cache why http://www.example.com/logo.svg\n"
      "  trellis ctl cache why www.example.com/app.js --header 'Accept-Encoding: br'\n"
      "  trellis ctl cache why www.example.com/cart --fetch\n"
      "Without --fetch nothing is asked of the origin, and nothing changes.";
  command->footer(examples);
  cache->footer(examples);
  command->callback([&run, options] { run = [options] { return why(*options); }; });
}

}  // namespace trellis::app
