#include "upstream/health/config.h"

#include <algorithm>
#include <charconv>

#include "base/arena.h"
#include "config/values.h"
#include "http/h1_parser.h"
#include "http/target.h"

namespace trellis::upstream {

using namespace std::chrono_literals;

namespace {

constexpr size_t kMaxText = 4096;    // of send, expect and body
constexpr size_t kMaxService = 255;  // of a gRPC service's name

std::optional<uint16_t> status_from(std::string_view text) {
  uint16_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 100 || value > 599) return std::nullopt;
  return value;
}

Result<uint32_t> errors_from(std::string_view text) {
  if (text == "off") return 0;
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0 || value > 1'000'000)
    return fail(Code::invalid_argument, "1 to 1000000, or off");
  return value;
}

Result<std::optional<double>> rate_from(std::string_view text) {
  if (text == "off") return std::optional<double>();
  TRY(const double value, config::parse_percent(text));
  if (value < 0.01 || value > 1.0) return fail(Code::invalid_argument, "1% to 100%, or off");
  return std::optional<double>(value);
}

Result<std::optional<double>> factor_from(std::string_view text) {
  if (text == "off") return std::optional<double>();
  TRY(const double value, config::parse_number(text));
  if (value < 1.5 || value > 1000) return fail(Code::invalid_argument, "1.5 to 1000, or off");
  return std::optional<double>(value);
}

}  // namespace

Result<StatusRange> StatusRange::from_text(std::string_view text) {
  const size_t dash = text.find('-');
  const auto low = status_from(text.substr(0, dash));
  const auto high = dash == std::string_view::npos ? low : status_from(text.substr(dash + 1));
  if (!low || !high || *low > *high)
    return fail(Code::invalid_argument, "statuses are 100 to 599, the lower one first");
  return StatusRange{*low, *high};
}

std::string StatusRange::to_text() const {
  return low == high ? std::to_string(low) : std::to_string(low) + "-" + std::to_string(high);
}

bool HealthConfig::good_status(int answered) const noexcept {
  return std::ranges::any_of(status, [&](const StatusRange& range) { return range.holds(answered); });
}

std::string HealthConfig::status_text() const {
  std::string text;
  for (const StatusRange& range : status) text += (text.empty() ? "" : ", ") + range.to_text();
  return text;
}

config::Fields<HealthConfig> HealthConfig::fields() {
  return {
      {"kind", "what a host is asked: http, tcp (a connection is good) or grpc (grpc.health.v1 by plain HTTP/2)",
       &HealthConfig::kind, config::one_of<Kind>({{"http", Kind::http}, {"tcp", Kind::tcp}, {"grpc", Kind::grpc}})},
      {"path", "of http: what is asked for, with its query", &HealthConfig::path},
      {"method", "of http", &HealthConfig::method,
       config::one_of<Method>({{"GET", Method::get}, {"HEAD", Method::head}})},
      {"host", "of http and grpc: what stands in Host; not given: the host as it is configured", &HealthConfig::host},
      {"status", "of http: good statuses", &HealthConfig::status},
      {"body", "of http: text that must occur in the first 64KiB of the body; not given: the body is not read",
       &HealthConfig::body},
      {"send", "of tcp: text that is sent first", &HealthConfig::send},
      {"expect", "of tcp: text that must come, in the first 64KiB; not given: a connection is enough",
       &HealthConfig::expect},
      {"service", "of grpc: the service that must be SERVING; not given: the server as a whole",
       &HealthConfig::service},
      {"port", "another port of the host that answers checks; 0: the one that requests go to", &HealthConfig::port,
       config::range(0, 65535)},
      {"interval", "from one check of a host to the next, 10 % more or less by chance", &HealthConfig::interval,
       config::range(100ms, 24h)},
      {"unhealthy_interval", "the same for a host that fails its checks; 0s: as interval",
       &HealthConfig::unhealthy_interval, config::range(0s, 24h)},
      {"timeout", "for all of a check, from the connect to the last byte that it needs", &HealthConfig::timeout,
       config::range(10ms, 5min)},
      {"unhealthy_after", "failed checks in a row after which a host gets no more requests",
       &HealthConfig::unhealthy_after, config::range(1, 1000)},
      {"healthy_after", "good checks in a row after which it gets them again", &HealthConfig::healthy_after,
       config::range(1, 1000)},
      {"initial", "what a host is taken for before its first checks", &HealthConfig::initial,
       config::one_of<Initial>({{"healthy", Initial::healthy}, {"unhealthy", Initial::unhealthy}})}};
}

void HealthConfig::check(config::Checker& at) const {
  const auto only_of = [&](Kind owner, std::string_view kinds, std::initializer_list<std::string_view> children) {
    if (kind == owner) return;
    for (const std::string_view child : children) {
      if (at.given(child)) at.problem(child, "only checks of kind " + std::string(kinds) + " have it");
    }
  };
  only_of(Kind::http, "http", {"path", "method", "status", "body"});
  only_of(Kind::tcp, "tcp", {"send", "expect"});
  only_of(Kind::grpc, "grpc", {"service"});
  if (kind == Kind::tcp && at.given("host")) at.problem("host", "only checks of kind http and grpc have it");

  if (unhealthy_interval > 0s && unhealthy_interval < 100ms)
    at.problem("unhealthy_interval", "shorter than 100ms", "0s is the same as `interval`");

  Arena arena;
  std::string_view only_path;
  std::string_view query;
  if (!path.starts_with('/') || http::normalise_target(path, arena, only_path, query) != http::H1Error::none)
    at.problem("path", "not a path that can be asked for", "it starts with / and has no spaces");
  if (!host.empty() && !http::valid_authority(host)) at.problem("host", "not a host", "such as api.example.com");
  if (status.empty()) at.problem("status", "no status would be good", "leave it out for 200-399");
  if (method == Method::head && !body.empty()) at.problem("body", "an answer to HEAD has none", "method: GET");
  if (body.size() > kMaxText) at.problem("body", "longer than 4096 bytes");
  if (send.size() > kMaxText) at.problem("send", "longer than 4096 bytes");
  if (expect.size() > kMaxText) at.problem("expect", "longer than 4096 bytes");
  if (service.size() > kMaxService) at.problem("service", "longer than 255 bytes");
}

config::Fields<EjectConfig> EjectConfig::fields() {
  return {
      {"consecutive_errors",
       "requests without a good answer in a row (5xx but 501 and 505, no connection, reset, no answer in time) after "
       "which a host is put out at once; or off",
       &EjectConfig::consecutive_errors,
       config::parsed<uint32_t>(
           "number of errors, or off", errors_from,
           [](const uint32_t& value) { return value == 0 ? std::string("off") : std::to_string(value); })},
      {"error_rate",
       "share of such answers of an interval from which a host is put out; then, too, one that is far below its "
       "neighbours, of five or more; or off",
       &EjectConfig::error_rate,
       config::parsed<std::optional<double>>("share such as 50%, or off", rate_from,
                                             [](const std::optional<double>& value) {
                                               return value ? config::format_percent(*value) : std::string("off");
                                             })},
      {"slower_than",
       "how many times the median of its neighbours a host's mean time to answer may be, of three or more; or off",
       &EjectConfig::slower_than,
       config::parsed<std::optional<double>>("factor such as 3, or off", factor_from,
                                             [](const std::optional<double>& value) {
                                               return value ? config::format_number(*value) : std::string("off");
                                             })},
      {"min_requests", "of an interval, for error_rate and slower_than to look at a host", &EjectConfig::min_requests,
       config::range(1, 1'000'000)},
      {"interval", "how often error_rate and slower_than look", &EjectConfig::interval, config::range(1s, 1h)},
      {"base_time", "how long a host is out the first time; each further time in a row twice as long",
       &EjectConfig::base_time, config::range(100ms, 24h)},
      {"max_time", "and never longer than this", &EjectConfig::max_time, config::range(100ms, 24h)},
      {"max_share", "of the hosts that may be out at once; one of several always may", &EjectConfig::max_share,
       config::percent(0.0, 1.0)}};
}

void EjectConfig::check(config::Checker& at) const {
  if (max_time < base_time) at.problem("max_time", "shorter than base_time", "base_time or longer");
}

Result<EjectConfig> EjectConfig::from_text(std::string_view text) {
  if (text != "off") return fail(Code::invalid_argument, "a map of settings, or off");
  EjectConfig config;
  config.consecutive_errors = 0;
  return config;
}

}  // namespace trellis::upstream
