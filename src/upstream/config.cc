#include "upstream/config.h"

#include <algorithm>

#include "net/dns_message.h"
#include "upstream/balancer.h"
#include "upstream/hosts_file.h"

namespace trellis::upstream {

using namespace std::chrono_literals;

namespace {

constexpr const char* kNobody = "nobody listens on port 0";

}  // namespace

config::Fields<HostConfig> HostConfig::fields() {
  return {
      {"address", "HOST:PORT of one server", &HostConfig::address},
      {"dns", "NAME:PORT: every address that the name has, looked up again when the answer's time is over",
       &HostConfig::dns},
      {"srv", "name of SRV records such as _http._tcp.api.internal", &HostConfig::srv},
      {"file",
       "a file with a line each, HOST:PORT [weight=N] [zone=NAME] [priority=N] [backup]; read again when it changes",
       &HostConfig::file},
      {"refresh", "how often dns and srv are looked up; 0s: as long as the answer says", &HostConfig::refresh,
       config::range(0s, 24h)},
      {"weight", "its share beside others'; 0: nothing new goes there", &HostConfig::weight,
       config::range(0, kMaxWeight)},
      {"zone", "where it stands, such as eu-west", &HostConfig::zone},
      {"priority", "hosts of a higher number are asked only while none of a lower one can be", &HostConfig::priority,
       config::range(0, kMaxPriority)},
      {"backup", "asked only while no other host can be, of whatever priority", &HostConfig::backup}};
}

void HostConfig::check(config::Checker& at) const {
  at.exactly_one({"address", "dns", "srv", "file"});
  if (address && address->port == 0) at.problem("address", kNobody);
  if (dns && dns->port == 0) at.problem("dns", kNobody);
  if (!srv.empty() && !net::is_dns_name(srv))
    at.problem("srv", "\"" + srv + "\" is no name of services", "srv: _http._tcp.api.internal");
  if (refresh > Duration::zero() && !dns && srv.empty())
    at.problem("refresh", "only dns and srv are looked up again", "leave it out");
}

Result<HostConfig> HostConfig::from_text(std::string_view text) {
  HostConfig host;
  TRY(host.address, config::HostPort::from_text(text));
  if (host.address->port == 0) return fail(Code::invalid_argument, kNobody);
  return host;
}

config::Fields<TimeoutConfig> TimeoutConfig::fields() {
  return {{"connect", "for a new connection", &TimeoutConfig::connect, config::range(1ms, 5min)},
          {"first_byte", "from the end of the request to the head of the answer, at each try",
           &TimeoutConfig::first_byte, config::range(1ms, 24h)},
          {"total", "from the first try to the head of the answer, repeats included; not for requests with a body",
           &TimeoutConfig::total, config::range(1ms, 24h)},
          {"idle", "between two pieces of a body, either way", &TimeoutConfig::idle, config::range(1ms, 24h)},
          {"upgraded", "of a WebSocket or another upgraded connection, with nothing either way; 0s: no limit",
           &TimeoutConfig::upgraded, config::range(0ms, 720h)}};
}

config::Fields<LimitConfig> LimitConfig::fields() {
  return {
      {"connections", "open at once from one core to one host; beyond it requests wait", &LimitConfig::connections,
       config::range(1, 65535)},
      {"idle_connections", "kept for the next request, of one core to one host", &LimitConfig::idle_connections,
       config::range(0, 65535)},
      {"idle_time", "after which an unused connection is closed", &LimitConfig::idle_time, config::range(100ms, 24h)},
      {"max_age", "after which a connection takes no further request; 0s: none", &LimitConfig::max_age,
       config::range(0s, 24h)},
      {"waiting", "requests of one core that wait for a connection; beyond it they get 503", &LimitConfig::waiting,
       config::range(0, 1'000'000)},
      {"wait", "how long a request waits for a connection before it gets 503", &LimitConfig::wait,
       config::range(0s, 5min)},
      {"adaptive",
       "finds out how many requests may be under way without waiting in the upstream; absent: no such limit",
       &LimitConfig::adaptive}};
}

config::Fields<RetryConfig> RetryConfig::fields() {
  return {
      {"attempts", "tries of one request, the first included; 1: no retries", &RetryConfig::attempts,
       config::range(1, 10)},
      {"on",
       "what is tried again: connect (nothing was sent), reset (no byte of an answer came), timeout, malformed (what "
       "came was no HTTP), 500, 502, 503, 504; but for connect only what may be repeated without harm (RFC 9110 "
       "section 9.2.2)",
       &RetryConfig::on,
       config::one_of<RetryOn>({{"connect", RetryOn::connect},
                                {"reset", RetryOn::reset},
                                {"timeout", RetryOn::timeout},
                                {"malformed", RetryOn::malformed},
                                {"500", RetryOn::s500},
                                {"502", RetryOn::s502},
                                {"503", RetryOn::s503},
                                {"504", RetryOn::s504}})},
      {"backoff", "before a host is asked a second time: a time by chance up to the first, doubled with each try",
       &RetryConfig::backoff},
      {"budget", "retries by requests of the last ten seconds; ten a second are always allowed", &RetryConfig::budget,
       config::percent(0.0, 1.0)},
      {"hedge_after", "a safe request without an answer after this time goes to a second host, too; 0s: never",
       &RetryConfig::hedge_after, config::range(0s, 1min)}};
}

bool RetryConfig::covers(RetryOn what) const noexcept { return std::ranges::find(on, what) != on.end(); }

namespace {
bool known_key(std::string_view text) {
  if (text == "client_address" || text == "path") return true;
  for (const std::string_view kind : {"header.", "cookie.", "query."}) {
    if (text.starts_with(kind)) return text.size() > kind.size();
  }
  return false;
}

// What files and the control API say of zones is known later: hosts of no region come last.
void check_zones(const std::vector<HostConfig>& hosts, const GeoConfig& geo, config::Checker& at) {
  std::vector<std::string_view> names;
  for (const auto& [name, region] : geo.regions) names.push_back(name);
  for (size_t i = 0; i < hosts.size(); ++i) {
    const std::string place = config::path_step("hosts", i);
    if (!hosts[i].zone.empty()) {
      at.must_be_known(place + ".zone", "region", hosts[i].zone, names);
    } else if (hosts[i].file.empty()) {
      at.problem(place, "geo must know its region", "zone: " + std::string(names.front()));
    }
  }
}
}  // namespace

config::Fields<UpstreamConfig> UpstreamConfig::fields() {
  return {{"balance", "who gets the next request", &UpstreamConfig::balance,
           config::one_of<Balance>({{"round_robin", Balance::round_robin},
                                    {"weighted", Balance::weighted},
                                    {"least_connections", Balance::least_connections},
                                    {"least_time", Balance::least_time},
                                    {"two_choices", Balance::two_choices},
                                    {"ip_hash", Balance::ip_hash},
                                    {"hash", Balance::hash},
                                    {"maglev", Balance::maglev}})},
          {"hash_on", "the key of hash and maglev: client_address, path, header.NAME, cookie.NAME or query.NAME",
           &UpstreamConfig::hash_on},
          {"geo", "sends clients to the hosts of the nearest region that has one; absent: regions say nothing",
           &UpstreamConfig::geo},
          {"zone", "where this node stands: hosts with this zone serve it as long as enough of them are up",
           &UpstreamConfig::zone},
          {"zone_share", "of the hosts in its zone that must be up, so that they serve without the others",
           &UpstreamConfig::zone_share, config::percent(0.0, 1.0)},
          {"bound",
           "of hash, maglev and ip_hash: how much of its share may be under way at a host before keys go on to the "
           "next, such as 1.25; 0: no bound",
           &UpstreamConfig::bound, config::range(0.0, 10.0)},
          {"slow_start", "how long a host that came, or came back, takes to its whole share",
           &UpstreamConfig::slow_start, config::range(0s, 1h)},
          {"panic", "when fewer of the hosts than this may be asked, all are; 0%: when none is left",
           &UpstreamConfig::panic, config::percent(0.0, 1.0)},
          {"hosts", "the servers", &UpstreamConfig::hosts, config::kRequired},
          {"timeouts", "how long each step may take", &UpstreamConfig::timeouts},
          {"retry", "when a request is tried again", &UpstreamConfig::retry},
          {"health", "what each host is asked again and again to see whether it works; not given: nothing",
           &UpstreamConfig::health},
          {"eject", "when a host's answers to requests put it out for a while", &UpstreamConfig::eject},
          {"limits", "connections, and requests under way", &UpstreamConfig::limits},
          {"breaker", "stops sending to an upstream that fails; absent: never", &UpstreamConfig::breaker},
          {"sticky", "keeps a client at the host that answered it first, by a signed cookie", &UpstreamConfig::sticky}};
}

void UpstreamConfig::check(config::Checker& at) const {
  if (!known_key(hash_on))
    at.problem("hash_on", "unknown key \"" + hash_on + "\"",
               "client_address, path, header.NAME, cookie.NAME or query.NAME");
  const bool keyed = balance == Balance::hash || balance == Balance::maglev || balance == Balance::ip_hash;
  if (!keyed && at.given("hash_on")) at.problem("hash_on", "only hash and maglev have keys", "balance: hash");
  if (!keyed && at.given("bound")) at.problem("bound", "only hash, maglev and ip_hash have a bound", "balance: hash");
  if (bound > 0 && bound <= 1) at.problem("bound", "a bound of 1 or less leaves no room", "1.25 is usual");
  if (keyed && at.given("slow_start"))
    at.problem("slow_start", "keys stay with their host: there is no slow start", "leave it out");
  if (geo && !geo->regions.empty()) check_zones(hosts, *geo, at);
  if (!zone.empty() && !is_zone(zone))
    at.problem("zone", "no host can have such a zone", "1 to 64 of A-Z a-z 0-9 - _ . such as eu-west");
  if (geo && at.given("zone"))
    at.problem("zone", "geo goes by the client's region, not by this node's zone", "leave one of them out");
  if (zone.empty() && at.given("zone_share"))
    at.problem("zone_share", "there is no zone that it is of", "zone: eu-west");
}

}  // namespace trellis::upstream
