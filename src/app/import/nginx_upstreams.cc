#include "app/import/nginx_upstreams.h"

#include <algorithm>

#include "app/import/numbers.h"
#include "config/values.h"

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

// nginx's keys of `hash` that are one thing of the request.
std::optional<std::string> hash_key(std::string_view key) {
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

}  // namespace

void NginxUpstreams::declare(const NginxDirective& block) {
  if (!block.word(0).empty()) blocks_.try_emplace(std::string(block.word(0)), &block);
}

// nginx puts a server out after one failure, counting neither statuses nor failures in a row; Trellis counts answers of
// 5xx, too, and needs more of them to be sure.
void NginxUpstreams::eject(const NginxDirective& block, std::optional<uint64_t> max_fails,
                           std::optional<uint64_t> fail_ms, UpstreamDraft& out) {
  if (!max_fails && !fail_ms) return;
  if (max_fails == uint64_t{0}) {
    out.options.emplace_back("eject", "off");
    return;
  }
  constexpr uint64_t kLeast = 3;
  const uint64_t base = std::clamp<uint64_t>(fail_ms.value_or(10'000), 100, 86'400'000);
  const uint64_t most = std::max<uint64_t>(base, 300'000);
  out.options.emplace_back(
      "eject",
      "{ consecutive_errors: " + std::to_string(std::clamp<uint64_t>(max_fails.value_or(kLeast), kLeast, 1000)) +
          ", base_time: " + yaml_seconds(base) + ", max_time: " + yaml_seconds(most) + " }");
  remarks_.differs(block.at, "max_fails",
                   "failures in a row put a host out, three or more of them; answers of 5xx count, too");
}

std::optional<UpstreamDraft> NginxUpstreams::of_block(const NginxDirective& block, bool needs_port) {
  UpstreamDraft out;
  out.at = block.at;
  bool weighted = false;
  std::optional<uint64_t> max_fails;
  std::optional<uint64_t> fail_ms;
  std::string keepalive;
  std::string idle_time;
  std::string max_age;
  std::optional<uint64_t> connections;
  bool same_connections = true;
  for (const NginxDirective& one : block.block) {
    const std::string_view name = one.name;
    if (name == "server") {
      const std::string_view address = one.word(0);
      if (address.starts_with("unix:")) {
        remarks_.left_out(one.at, "server " + std::string(address), "hosts are reached over TCP",
                          "let it listen on 127.0.0.1 too");
        continue;
      }
      const std::optional<std::string> host = with_port(address, needs_port ? 0 : 80);
      if (!host) {
        remarks_.left_out(one.at, "server " + std::string(address), "is no address of a host");
        continue;
      }
      HostDraft draft{.address = *host};
      for (size_t i = 1; i < one.words.size(); ++i) {
        const std::string_view word = one.words[i];
        if (const auto weight = number_of(word, "weight=")) {
          draft.weight = static_cast<uint32_t>(std::clamp<uint64_t>(*weight, 1, 1000));
          weighted |= *weight != 1;
        } else if (word == "backup") {
          draft.backup = true;
        } else if (word == "down") {
          draft.down = true;
        } else if (const auto most = number_of(word, "max_conns="); most && *most > 0) {
          same_connections &= !connections || *connections == *most;
          connections = std::max<uint64_t>(connections.value_or(0), *most);
        } else if (word.starts_with("max_conns=") || word == "resolve") {
          continue;
        } else if (const auto fails = number_of(word, "max_fails=")) {
          max_fails = fails;
        } else if (word.starts_with("fail_timeout=")) {
          fail_ms = nginx_milliseconds(word.substr(13));
        } else {
          const std::string what(word.substr(0, word.find('=')));
          remarks_.left_out(one.at, "server ... " + what, "is not a setting of a single host");
        }
      }
      out.hosts.push_back(std::move(draft));
    } else if (name == "least_conn") {
      out.balance = "least_connections";
    } else if (name == "ip_hash") {
      out.balance = "ip_hash";
    } else if (name == "hash") {
      if (const auto key = hash_key(one.word(0))) {
        out.balance = "hash";
        out.hash_on = *key;
      } else {
        remarks_.left_out(one.at, "hash " + std::string(one.word(0)),
                          "the key is the client's address, the path, or one header, cookie or "
                          "parameter",
                          "requests go round the hosts instead");
      }
    } else if (name == "random") {
      out.balance = "two_choices";
    } else if (name == "least_time") {
      out.balance = "least_time";
    } else if (name == "keepalive") {
      if (const auto count = whole_number(one.word(0))) keepalive = std::to_string(std::min<uint64_t>(*count, 65535));
    } else if (name == "keepalive_timeout") {
      if (const auto time = nginx_milliseconds(one.word(0)))
        idle_time = yaml_seconds(std::clamp<uint64_t>(*time, 100, 86'400'000));
    } else if (name == "keepalive_time") {
      if (const auto time = nginx_milliseconds(one.word(0)))
        max_age = yaml_seconds(std::clamp<uint64_t>(*time, 1000, 86'400'000));
    } else if (name == "zone" || name == "keepalive_requests" || name == "state") {
      continue;
    } else {
      remarks_.left_out(one.at, one.name, "not known to the import");
    }
  }
  const auto up = [](const HostDraft& host) { return !host.down; };
  if (std::ranges::none_of(out.hosts, up)) return std::nullopt;
  if (out.balance.empty() && weighted) out.balance = "weighted";
  std::string limits;
  const auto limit = [&](const char* key, const std::string& value) {
    if (!value.empty()) limits += (limits.empty() ? "" : ", ") + (key + (": " + value));
  };
  if (connections) {
    limit("connections", std::to_string(std::min<uint64_t>(*connections, 65535)));
    remarks_.differs(block.at, "max_conns",
                     same_connections
                         ? "each core counts its own connections to a host"
                         : "one number for all hosts of an upstream, the largest, and each core counts its own");
  }
  limit("idle_connections", keepalive);
  limit("idle_time", idle_time);
  limit("max_age", max_age);
  if (!limits.empty()) out.options.emplace_back("limits", "{ " + limits + " }");
  eject(block, max_fails, fail_ms, out);
  return out;
}

std::optional<std::string> NginxUpstreams::add(std::string_view host, const FieldLines& options, uint16_t port,
                                               const NginxDirective& from) {
  std::string key(host);
  for (const auto& [name, value] : options) key += "\n" + name + value;
  if (const auto made = made_.find(key); made != made_.end()) return made->second;

  std::optional<UpstreamDraft> draft;
  if (const auto block = blocks_.find(host); block != blocks_.end()) {
    draft = of_block(*block->second, port == 0);
    if (!draft) {
      remarks_.left_out(block->second->at, "upstream " + std::string(host), "none of its servers can be reached");
      return std::nullopt;
    }
  } else {
    const std::optional<std::string> address = with_port(host, port);
    if (!address) {
      remarks_.left_out(from.at, from.name, "no address of a host: " + std::string(host));
      return std::nullopt;
    }
    draft.emplace();
    draft->at = from.at;
    draft->hosts.push_back({.address = *address});
  }
  const std::string wanted = plain_name(host);
  draft->name = wanted;
  const auto taken = [&] {
    return std::ranges::find(draft_.upstreams, draft->name, &UpstreamDraft::name) != draft_.upstreams.end();
  };
  for (int i = 2; taken(); ++i) draft->name = wanted + "_" + std::to_string(i);
  for (const auto& option : options) draft->options.push_back(option);
  made_[key] = draft->name;
  draft_.upstreams.push_back(*std::move(draft));
  return draft_.upstreams.back().name;
}

std::optional<std::string> NginxUpstreams::use(std::string_view host, const NginxSettings& settings,
                                               const NginxDirective& from) {
  const auto block = blocks_.find(host);
  size_t hosts = 1;
  if (block != blocks_.end())
    hosts = static_cast<size_t>(std::ranges::count(block->second->block, "server", &NginxDirective::name));
  return add(host, options_of(settings, hosts), 80, from);
}

std::optional<std::string> NginxUpstreams::use_plain(std::string_view host, const FieldLines& options,
                                                     const NginxDirective& from) {
  return add(host, options, 0, from);
}

}  // namespace trellis::app
