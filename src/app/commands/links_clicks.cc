#include "app/commands/links_clicks.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "app/commands/answer_json.h"
#include "app/commands/http_call.h"

namespace trellis::app {

using nlohmann::json;

namespace {

constexpr size_t kMaxEvent = 64 << 10;  // bytes of one
constexpr size_t kBar = 40;             // columns of the longest bar
constexpr size_t kMaxText = 60;         // bytes of a value that a visitor sent

// Without C0, DEL and the C1 of UTF-8; "-" for none.
std::string shown(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size() && out.size() < kMaxText; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 = byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1) ++i;
    out += c1 || byte < 0x20 || byte == 0x7f ? '?' : text[i];
  }
  return out.empty() ? "-" : out;
}

void add_parameter(std::string& path, const char* name, const std::string& value) {
  if (value.empty()) return;
  path += path.find('?') == std::string::npos ? '?' : '&';
  path += std::string(name) + "=" + percent_encoded(value);
}

std::string count_text(double count) { return std::to_string(static_cast<long long>(count)); }

// "2030-01-31", "2030-01-31 12:00"
std::string moment(std::string time, const std::string& step) {
  if (time.size() > 16) time.resize(step == "day" ? 10 : 16);
  std::replace(time.begin(), time.end(), 'T', ' ');
  return time;
}

void print_series(const json& answer) {
  const json series = list_of(answer, "series");
  double most = 1;
  for (const json& point : series) most = std::max(most, number_of(point, "clicks"));
  const std::string step = text_of(answer, "step");
  for (const json& point : series) {
    const double clicks = number_of(point, "clicks");
    const auto bar = static_cast<size_t>(clicks / most * static_cast<double>(kBar) + 0.5);
    std::printf("  %-16s %9s  %s\n", moment(text_of(point, "at"), step).c_str(), count_text(clicks).c_str(),
                std::string(clicks > 0 ? std::max<size_t>(bar, 1) : 0, '#').c_str());
  }
}

void print_dimensions(const json& answer) {
  const auto by = answer.find("by");
  if (by == answer.end() || !by->is_object()) return;
  for (const auto& [name, dimension] : by->items()) {
    const json values = list_of(dimension, "values");
    if (values.empty()) continue;
    std::printf("\n%s\n", name.c_str());
    for (const json& value : values)
      std::printf("  %-40s %9s\n", shown(text_of(value, "value")).c_str(),
                  count_text(number_of(value, "clicks")).c_str());
    for (const char* rest : {"other", "none"}) {
      if (const double clicks = number_of(dimension, rest); clicks > 0)
        std::printf("  (%s)%*s %9s\n", rest, static_cast<int>(38 - std::string_view(rest).size()), "",
                    count_text(clicks).c_str());
    }
  }
}

// The fields of server-sent events that the stream of clicks has: event and data of one line.
class Events {
 public:
  // `see` gets each event: its name and its data. unavailable: this is no stream of events.
  template <typename See>
  Result<void> take(std::string_view piece, See see) {
    for (const char c : piece) {
      if (c != '\n') {
        if (line_.size() >= kMaxEvent) return fail(Code::data_loss, "an event is longer than 64 KiB");
        line_ += c;
        continue;
      }
      if (line_.empty()) {
        if (!data_.empty()) {
          TRY_VOID(see(name_, data_));
        }
        name_.clear();
        data_.clear();
      } else if (line_.starts_with("event: ")) {
        name_ = line_.substr(7);
      } else if (line_.starts_with("data: ")) {
        data_ = line_.substr(6);
      }
      line_.clear();
    }
    return {};
  }

 private:
  std::string line_;
  std::string name_;
  std::string data_;
};

void print_click(const json& click) {
  std::string visitor = shown(text_of(click, "browser")) + " on " + shown(text_of(click, "os"));
  if (click.value("bot", false)) visitor += " (bot)";
  std::printf("%s  %-16s %-3s %-8s %-28s %s\n", moment(text_of(click, "at"), "second").c_str(),
              shown(text_of(click, "code")).c_str(), shown(text_of(click, "country")).c_str(),
              shown(text_of(click, "device")).c_str(), visitor.c_str(), shown(text_of(click, "referrer")).c_str());
}

}  // namespace

int stats_of_links(const LinksOptions& options) {
  std::string path = options.code.empty() ? "/v1/stats" : links_path(options.code) + "/stats";
  add_parameter(path, "from", options.from);
  add_parameter(path, "to", options.to);
  add_parameter(path, "step", options.step);
  add_parameter(path, "by", options.by);
  add_parameter(path, "bots", options.bots);
  if (options.values > 0) add_parameter(path, "limit", std::to_string(options.values));
  std::string of_domain = path;
  add_parameter(of_domain, "domain", domain_in(options.code, options));
  Result<CallAnswer> told = call(links_call(options, "GET", of_domain));
  if (is_other_host(told, options.code, options)) told = call(links_call(options, "GET", path));
  bool good = false;
  const json answer = answer_of(told, good);
  if (!good) return 1;
  if (options.json) {
    std::printf("%s\n", answer.dump(2, ' ', false, json::error_handler_t::replace).c_str());
    return 0;
  }
  const std::string step = text_of(answer, "step");
  std::printf("%s, %s to %s\n", options.code.empty() ? "all links" : text_of(answer, "code").c_str(),
              moment(text_of(answer, "from"), step).c_str(), moment(text_of(answer, "to"), step).c_str());
  std::printf("clicks %s   visitors %s   bots %s\n\n", count_text(number_of(answer, "clicks")).c_str(),
              count_text(number_of(answer, "visitors")).c_str(), count_text(number_of(answer, "bots")).c_str());
  print_series(answer);
  print_dimensions(answer);
  return 0;
}

int tail_links(const LinksOptions& options) {
  std::string path = "/v1/stream";
  if (!options.code.empty()) add_parameter(path, "code", code_in(options.code));
  std::string of_domain = path;
  add_parameter(of_domain, "domain", domain_in(options.code, options));
  Events events;
  int left = options.count;
  const auto see = [&](const std::string& name, const std::string& data) -> Result<void> {
    const json event = json::parse(data, nullptr, false);
    if (!event.is_object()) return fail(Code::data_loss, "an event is no JSON object");
    if (name == "left_out") {
      std::fprintf(stderr, "%s clicks came too fast to be shown\n", count_of(event, "clicks").c_str());
      return {};
    }
    if (name != "click") return {};
    if (options.json) {
      std::printf("%s\n", event.dump(-1, ' ', true, json::error_handler_t::replace).c_str());
    } else {
      print_click(event);
    }
    std::fflush(stdout);
    if (std::ferror(stdout)) return fail(Code::cancelled, "nobody reads");
    if (left > 0 && --left == 0) return fail(Code::cancelled, "enough");
    return {};
  };
  Streams streams;
  streams.take = [&](std::string_view piece) { return events.take(piece, see); };
  Result<CallAnswer> answer = call_streaming(links_call(options, "GET", of_domain), streams);
  if (is_other_host(answer, options.code, options)) answer = call_streaming(links_call(options, "GET", path), streams);
  if (!answer && answer.error().code() == Code::cancelled && options.count > 0 && left == 0) return 0;
  if (!is_good(answer)) return 1;
  return failed("the node ended the stream: it stops, or its configuration was changed");
}

}  // namespace trellis::app
