#include "app/import/nginx/upstreams.h"

#include <algorithm>

#include "app/import/numbers.h"
#include "config/values.h"
#include "upstream/balancer.h"

namespace trellis::app {

namespace {

// KEY=NUMBER
std::optional<uint64_t> number_of(std::string_view word, std::string_view key) {
  if (!word.starts_with(key)) return std::nullopt;
  return whole_number(word.substr(key.size()));
}

// HOST[:PORT] with its port; nothing when it is no address.
std::optional<std::string> with_port(std::string_view host, uint16_t port) {
  std::string text(host);
  const bool bare = host.starts_with('[') ? host.ends_with(']') : host.find(':') == std::string_view::npos;
  if (bare) {
    if (port == 0) return std::nullopt;
    text += ":" + std::to_string(port);
  }
  const auto parsed = config::HostPort::from_text(text);
  if (!parsed || parsed->port == 0) return std::nullopt;
  return text;
}

FieldLines options_of(const NginxSettings& settings, size_t hosts) {
  constexpr uint64_t kDay = 86'400'000;
  const uint64_t connect = std::clamp<uint64_t>(settings.connect_ms, 1, 300'000);
  const uint64_t first_byte = std::clamp<uint64_t>(settings.read_ms, 1, kDay);
  const uint64_t idle = std::clamp<uint64_t>(std::max(settings.read_ms, settings.send_ms), 1, kDay);
  const uint64_t tries = settings.tries > 0 ? settings.tries : std::max<uint64_t>(hosts, 1);
  const uint64_t total =
      settings.tries_ms > 0 ? settings.tries_ms : connect + first_byte * std::min<uint64_t>(tries, 3);
  FieldLines out;
  std::vector<std::string> on;
  for (const auto& [when, what] : {std::pair<std::string_view, std::string_view>{"error", "connect"},
                                   {"error", "reset"},
                                   {"timeout", "timeout"},
                                   {"invalid_header", "malformed"},
                                   {"http_500", "500"},
                                   {"http_502", "502"},
                                   {"http_503", "503"},
                                   {"http_504", "504"}}) {
    if (std::ranges::find(settings.next_upstream, when) != settings.next_upstream.end()) on.emplace_back(what);
  }
  if (on.empty()) {
    out.emplace_back("retry", "{ attempts: 1 }");
  } else {
    std::string words;
    for (const std::string& what : on) words += (words.empty() ? "" : ", ") + what;
    out.emplace_back("retry",
                     "{ attempts: " + std::to_string(std::clamp<uint64_t>(tries, 1, 10)) + ", on: [" + words + "] }");
  }
  out.emplace_back("timeouts", "{ connect: " + yaml_seconds(connect) + ", first_byte: " + yaml_seconds(first_byte) +
                                   ", idle: " + yaml_seconds(idle) + ", upgraded: " + yaml_seconds(idle) +
                                   ", total: " + yaml_seconds(std::clamp<uint64_t>(total, 1, kDay)) + " }");
  return out;
}

// What the servers of a block say about failures, which in Trellis belongs to the upstream.
struct Fails {
  std::optional<uint64_t> most;  // max_fails of the last that says it and is not 0
  std::optional<uint64_t> milliseconds;
  size_t never = 0;   // servers with max_fails=0
  size_t others = 0;  // and those without, that can be asked
  bool differ = false;
};

// nginx puts a server out after one failure, counting neither statuses nor failures in a row; Trellis counts answers of
// 5xx, too, and needs more of them to be sure.
void add_eject(const NginxDirective& block, const Fails& fails, UpstreamDraft& out, Remarks& remarks) {
  if (!fails.most && !fails.milliseconds && fails.never == 0) return;
  if (fails.never > 0 && fails.others == 0) {
    out.options.emplace_back("eject", "off");
    return;
  }
  constexpr uint64_t kLeast = 3;
  const uint64_t base = std::clamp<uint64_t>(fails.milliseconds.value_or(10'000), 100, 86'400'000);
  const uint64_t most = std::clamp<uint64_t>(fails.most.value_or(kLeast), kLeast, 1000);
  out.options.emplace_back("eject", "{ consecutive_errors: " + std::to_string(most) +
                                        ", base_time: " + yaml_seconds(base) +
                                        ", max_time: " + yaml_seconds(std::max<uint64_t>(base, 300'000)) + " }");
  remarks.differs(block.at, "max_fails",
                  std::string("failures in a row put a host out, three or more of them; answers of 5xx count, too") +
                      (fails.differ || fails.never > 0 ? "; one number for all hosts of an upstream" : ""));
}

// _http._tcp.NAME of service=http, as nginx makes it.
std::string records_of(std::string_view service, std::string_view name) {
  std::string out(service);
  if (service.find('.') == std::string_view::npos) out = "_" + out + "._tcp";
  return out + "." + std::string(name);
}

// The servers that are asked for names, and how often.
struct Resolver {
  std::vector<std::string> servers;
  uint64_t refresh_ms = 0;
};
Resolver read_resolver(const NginxDirective& one, Remarks& remarks) {
  Resolver out;
  for (const std::string& word : one.words) {
    if (word.starts_with("valid=")) {
      out.refresh_ms = std::min<uint64_t>(nginx_milliseconds(word.substr(6)).value_or(0), 86'400'000);
      continue;
    }
    if (word.find('=') != std::string::npos) continue;  // ipv6=off, status_zone=
    const bool bare = word.starts_with('[') ? word.ends_with(']') : word.find(':') == std::string::npos;
    const std::string address = bare ? word + ":53" : word;
    if (good_bind(address) && address.find_first_not_of("0123456789.:[]abcdefABCDEF") == std::string::npos) {
      out.servers.push_back(address);
    } else {
      remarks.left_out(one.at, "resolver", "a server of names is a numeric address: " + word,
                       "those of /etc/resolv.conf are asked");
    }
  }
  return out;
}

// The lines of one `upstream` block.
class BlockReader {
 public:
  BlockReader(const NginxDirective& block, uint16_t port, Remarks& remarks)
      : block_(block), port_(port), remarks_(remarks) {}

  // Nothing when no host can be reached.
  std::optional<UpstreamDraft> read() {
    out_.at = block_.at;
    for (const NginxDirective& one : block_.block) {
      if (one.name == "server") {
        server(one);
      } else if (!policy(one) && !connections(one) && one.name != "zone" && one.name != "keepalive_requests" &&
                 one.name != "state" && one.name != "resolver" && one.name != "resolver_timeout") {
        auto [why, instead] = why_left_out(one.name);
        remarks_.left_out(one.at, one.name, std::move(why), std::move(instead));
      }
    }
    if (std::ranges::all_of(out_.hosts, &HostDraft::down)) return std::nullopt;
    if (out_.balance.empty() && weighted_) out_.balance = "weighted";
    add_limits();
    add_eject(block_, fails_, out_, remarks_);
    if (slow_start_ms_ > 0)
      out_.options.emplace_back("slow_start", yaml_seconds(std::min<uint64_t>(slow_start_ms_, 3'600'000)));
    return std::move(out_);
  }

 private:
  void server(const NginxDirective& one) {
    const std::string address(one.word(0));
    if (address.starts_with("unix:")) {
      remarks_.left_out(one.at, "server " + address, "hosts are reached over TCP", "let it listen on 127.0.0.1 too");
      return;
    }
    HostDraft host;
    std::string service;
    const size_t never = fails_.never;
    for (size_t i = 1; i < one.words.size(); ++i) {
      const std::string& word = one.words[i];
      if (word == "resolve") {
        if (host.from == HostDraft::From::address) host.from = HostDraft::From::dns;
      } else if (word.starts_with("service=")) {
        service = word.substr(8);
        host.from = HostDraft::From::srv;
      } else if (!server_word(word, host)) {
        remarks_.left_out(one.at, "server ... " + word.substr(0, word.find('=')), "is not a setting of a single host");
      }
      if (number_of(word, "weight=").value_or(0) > upstream::kMaxWeight)
        remarks_.differs(one.at, "server ... weight", "1000 is the largest: divide the weights of all of them");
    }
    if (!host.down && fails_.never == never) ++fails_.others;
    if (host.from == HostDraft::From::srv) {
      host.address = records_of(service, address.substr(0, address.find(':')));
    } else if (const auto with = with_port(address, port_)) {
      host.address = *with;
      const auto parsed = config::HostPort::from_text(host.address);
      if (parsed && parsed->form != config::HostPort::Form::name) host.from = HostDraft::From::address;
    } else {
      remarks_.left_out(one.at, "server " + address, "is no address of a host");
      return;
    }
    out_.hosts.push_back(std::move(host));
  }

  bool server_word(const std::string& word, HostDraft& host) {
    if (const auto weight = number_of(word, "weight=")) {
      host.weight = static_cast<uint32_t>(std::clamp<uint64_t>(*weight, 1, upstream::kMaxWeight));
      weighted_ |= *weight != 1;
    } else if (word == "backup") {
      host.backup = true;
    } else if (word == "down") {
      host.down = true;
    } else if (const auto most = number_of(word, "max_conns=")) {
      if (*most == 0) return true;  // any
      same_connections_ &= most_connections_ == 0 || most_connections_ == *most;
      most_connections_ = std::max(most_connections_, *most);
    } else if (const auto fails = number_of(word, "max_fails=")) {
      if (*fails == 0) {
        ++fails_.never;
        return true;
      }
      fails_.differ |= fails_.most && *fails_.most != *fails;
      fails_.most = fails;
    } else if (word.starts_with("fail_timeout=")) {
      const auto time = nginx_milliseconds(word.substr(13));
      fails_.differ |= fails_.milliseconds && fails_.milliseconds != time;
      fails_.milliseconds = time;
    } else if (word.starts_with("slow_start=")) {
      slow_start_ms_ = std::max(slow_start_ms_, nginx_milliseconds(word.substr(11)).value_or(0));
    } else {
      return false;
    }
    return true;
  }

  bool policy(const NginxDirective& one) {
    if (one.name == "least_conn") {
      out_.balance = "least_connections";
    } else if (one.name == "ip_hash") {
      out_.balance = "ip_hash";
    } else if (one.name == "random") {
      out_.balance = "two_choices";
    } else if (one.name == "least_time") {
      out_.balance = "least_time";
    } else if (one.name != "hash") {
      return false;
    } else if (const auto key = nginx_hash_key(one.word(0))) {
      out_.balance = "hash";
      out_.hash_on = *key;
    } else {
      remarks_.left_out(one.at, "hash " + std::string(one.word(0)),
                        "the key is the client's address, the path, or one header, cookie or parameter",
                        "requests go round the hosts instead");
    }
    return true;
  }

  bool connections(const NginxDirective& one) {
    const auto time = [&](std::string& into, uint64_t least) {
      if (const auto value = nginx_milliseconds(one.word(0)))
        into = yaml_seconds(std::clamp<uint64_t>(*value, least, 86'400'000));
    };
    if (one.name == "keepalive") {
      if (const auto count = whole_number(one.word(0))) keepalive_ = std::to_string(std::min<uint64_t>(*count, 65535));
    } else if (one.name == "keepalive_timeout") {
      time(idle_time_, 100);
    } else if (one.name == "keepalive_time") {
      time(max_age_, 1000);
    } else {
      return false;
    }
    return true;
  }

  void add_limits() {
    std::string limits;
    const auto limit = [&](const char* key, const std::string& value) {
      if (!value.empty()) limits += (limits.empty() ? "" : ", ") + (key + (": " + value));
    };
    if (most_connections_ > 0) {
      limit("connections", std::to_string(std::min<uint64_t>(most_connections_, 65535)));
      remarks_.differs(block_.at, "max_conns",
                       same_connections_
                           ? "each core counts its own connections to a host"
                           : "one number for all hosts of an upstream, the largest, and each core counts its own");
    }
    limit("idle_connections", keepalive_);
    limit("idle_time", idle_time_);
    limit("max_age", max_age_);
    if (!limits.empty()) out_.options.emplace_back("limits", "{ " + limits + " }");
  }

  const NginxDirective& block_;
  const uint16_t port_;  // of servers that name none; 0: they must
  Remarks& remarks_;
  UpstreamDraft out_;
  bool weighted_ = false;
  Fails fails_;
  uint64_t slow_start_ms_ = 0;
  uint64_t most_connections_ = 0;
  bool same_connections_ = true;
  std::string keepalive_;
  std::string idle_time_;
  std::string max_age_;
};

}  // namespace

std::optional<std::string> nginx_hash_key(std::string_view key) {
  if (key == "$remote_addr" || key == "$binary_remote_addr") return "client_address";
  if (key == "$request_uri" || key == "$uri") return "path";
  for (const auto& [from, to] : {std::pair<std::string_view, std::string_view>{"$http_", "header."},
                                 {"$cookie_", "cookie."},
                                 {"$arg_", "query."}}) {
    if (!key.starts_with(from) || key.size() == from.size()) continue;
    std::string name(key.substr(from.size()));
    if (name.find('$') != std::string::npos) return std::nullopt;
    if (from == "$http_") std::ranges::replace(name, '_', '-');
    return std::string(to) + name;
  }
  return std::nullopt;
}

void NginxUpstreams::declare(const NginxDirective& block) {
  if (!block.word(0).empty()) blocks_.try_emplace(std::string(block.word(0)), &block);
}

struct NginxUpstreams::Request {
  std::string_view host;
  FieldLines options;
  uint16_t port;                   // where none is said; 0: it must be
  const NginxDirective* resolver;  // nullptr: the system's
  bool looked_up = false;          // a name that is no block is looked up again
  const NginxDirective& from;
};

std::optional<std::string> NginxUpstreams::use(std::string_view host, const NginxSettings& settings, bool by_variable,
                                               const NginxDirective& from) {
  const auto block = blocks_.find(host);
  size_t hosts = 1;
  if (block != blocks_.end())
    hosts = static_cast<size_t>(std::ranges::count(block->second->block, "server", &NginxDirective::name));
  return add({host, options_of(settings, hosts), 80, settings.resolver, by_variable, from});
}

std::optional<std::string> NginxUpstreams::use_plain(std::string_view host, const NginxDirective* resolver,
                                                     const NginxDirective& from) {
  return add({host, {}, 0, resolver, false, from});
}

std::optional<std::string> NginxUpstreams::add(const Request& request) {
  std::string key(request.host);
  for (const auto& [name, value] : request.options) key += "\n" + name + value;
  if (const auto made = made_.find(key); made != made_.end()) return made->second;

  std::optional<UpstreamDraft> draft = draft_of(request);
  if (!draft) return std::nullopt;
  const std::string wanted = plain_name(request.host);
  draft->name = wanted;
  const auto taken = [&] {
    return std::ranges::find(draft_.upstreams, draft->name, &UpstreamDraft::name) != draft_.upstreams.end();
  };
  for (int i = 2; taken(); ++i) draft->name = wanted + "_" + std::to_string(i);
  for (const auto& option : request.options) draft->options.push_back(option);
  made_[key] = draft->name;
  draft_.upstreams.push_back(*std::move(draft));
  return draft_.upstreams.back().name;
}

std::optional<UpstreamDraft> NginxUpstreams::draft_of(const Request& request) {
  const auto declared = blocks_.find(request.host);
  if (declared != blocks_.end()) {
    const NginxDirective& block = *declared->second;
    std::optional<UpstreamDraft> out = BlockReader(block, request.port, remarks_).read();
    if (!out) {
      remarks_.left_out(block.at, "upstream " + std::string(request.host), "none of its servers can be reached");
      return std::nullopt;
    }
    const NginxDirective* own = block.find("resolver");
    for (HostDraft& host : out->hosts) look_up(own ? own : request.resolver, host);
    return out;
  }
  const std::optional<std::string> address = with_port(request.host, request.port);
  if (!address) {
    remarks_.left_out(request.from.at, request.from.name, "no address of a host: " + std::string(request.host));
    return std::nullopt;
  }
  UpstreamDraft out;
  out.at = request.from.at;
  HostDraft host{.address = *address};
  const auto parsed = config::HostPort::from_text(*address);
  if (request.looked_up && parsed && parsed->form == config::HostPort::Form::name) host.from = HostDraft::From::dns;
  look_up(request.resolver, host);
  out.hosts.push_back(std::move(host));
  return out;
}

// How often, and by whom, a host's name is looked up.
void NginxUpstreams::look_up(const NginxDirective* resolver, HostDraft& host) {
  if (host.from == HostDraft::From::address || !resolver) return;
  const Resolver asked = read_resolver(*resolver, remarks_);
  host.refresh_ms = asked.refresh_ms;
  if (draft_.dns_servers.empty()) {
    draft_.dns_servers = asked.servers;
  } else if (!asked.servers.empty() && draft_.dns_servers != asked.servers) {
    remarks_.differs(resolver->at, "resolver",
                     "the whole node asks one list of servers for names, the first that is used");
  }
}

}  // namespace trellis::app
