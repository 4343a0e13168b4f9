#include "upstream/host_changes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "upstream/balancer.h"
#include "upstream/hosts.h"
#include "upstream/hosts_file.h"

namespace trellis::upstream {

using nlohmann::json;

namespace {

constexpr size_t kMaxText = 400;  // of a host's name: NAME:PORT@ADDRESS
constexpr int kVersion = 1;

bool means(const std::string& text, const HostFacts& host) {
  return text == host.name || text == host.authority || text == host.address.to_string();
}

template <class Texts>
bool any_means(const Texts& texts, const HostFacts& host) {
  return texts.contains(host.name) || texts.contains(host.authority) || texts.contains(host.address.to_string());
}

bool is_known(const std::string& text, const std::vector<HostFacts>& members) {
  return std::ranges::any_of(members, [&](const HostFacts& host) { return means(text, host); });
}

Error refusal(Code code, std::string text) { return Error(code, std::move(text)).from(Side::client); }

Error unknown(const std::string& host) {
  return refusal(Code::not_found, "the upstream has no host \"" + host + "\"; trellis ctl hosts lists them");
}

Result<> with_room(size_t count) {
  if (count < kMaxChangedHosts) return {};
  return fail(refusal(Code::resource_exhausted, "1,000 hosts of this upstream were changed at run time already"));
}

bool is_host_text(const std::string& text) noexcept {
  return !text.empty() && text.size() <= kMaxText &&
         std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7F; });
}

}  // namespace

// --- Changes ---

bool HostChanges::empty() const noexcept {
  return added.empty() && removed.empty() && draining.empty() && weights.empty();
}

Result<> HostChanges::add(const std::string& host, AddedHost how, const std::vector<HostFacts>& members) {
  if (how.weight > kMaxWeight)
    return fail(refusal(Code::invalid_argument, "a weight is 0 to " + std::to_string(kMaxWeight)));
  if (how.priority > kMaxPriority)
    return fail(refusal(Code::invalid_argument, "a priority is 0 to " + std::to_string(kMaxPriority)));
  if (!how.zone.empty() && !is_zone(how.zone))
    return fail(refusal(Code::invalid_argument, "a zone is 1 to 64 of A-Z a-z 0-9 - _ ."));
  const std::string one_of_it = host + "@";
  const size_t undone =
      std::erase_if(removed, [&](const std::string& each) { return each == host || each.starts_with(one_of_it); });
  if (undone > 0) return {};
  if (is_known(host, members)) return fail(refusal(Code::already_exists, "the upstream has " + host + " already"));
  auto at = config::HostPort::from_text(host);
  if (!at || at->port == 0)
    return fail(refusal(Code::invalid_argument, "a host is HOST:PORT such as 10.0.0.11:8080, got \"" + host + "\""));
  how.at = *std::move(at);
  const auto same = [&](const AddedHost& each) { return each.at == how.at; };
  if (std::ranges::any_of(added, same))
    return fail(refusal(Code::already_exists, host + " was added already; its name was not resolved yet"));
  TRY_VOID(with_room(added.size()));
  added.push_back(std::move(how));
  return {};
}

Result<> HostChanges::remove(const std::string& host, const std::vector<HostFacts>& members) {
  const size_t taken = std::erase_if(added, [&](const AddedHost& each) { return each.at.to_text() == host; });
  if (taken == 0) {
    if (is_known(host, members)) {
      TRY_VOID(with_room(removed.size()));
      removed.insert(host);
    } else if (!draining.contains(host) && !weights.contains(host)) {  // what is left of one that went is taken away
      return fail(unknown(host));
    }
  }
  draining.erase(host);
  weights.erase(host);
  return {};
}

Result<> HostChanges::drain(const std::string& host, bool drained, const std::vector<HostFacts>& members) {
  if (!is_known(host, members)) {
    if (drained || draining.erase(host) == 0) return fail(unknown(host));
    return {};  // one that went
  }
  if (drained) {
    TRY_VOID(with_room(draining.size()));
    draining.insert(host);
    return {};
  }
  // However it was said: by its name, its address, or the name that it is an address of.
  std::erase_if(draining, [&](const std::string& text) {
    return text == host || std::ranges::any_of(members, [&](const HostFacts& each) {
             return means(host, each) && (text == each.name || text == each.address.to_string());
           });
  });
  for (const HostFacts& each : members) {
    if (!means(host, each) || !drains(each)) continue;
    return fail(refusal(Code::failed_precondition,
                        "it drains with all addresses of " + each.authority + "; undrain that, then drain the others"));
  }
  return {};
}

Result<> HostChanges::set_weight(const std::string& host, uint32_t weight, const std::vector<HostFacts>& members) {
  if (weight > kMaxWeight)
    return fail(refusal(Code::invalid_argument, "a weight is 0 to " + std::to_string(kMaxWeight)));
  if (!is_known(host, members)) return fail(unknown(host));
  if (!weights.contains(host)) {
    TRY_VOID(with_room(weights.size()));
  }
  weights[host] = weight;
  return {};
}

bool HostChanges::removes(const HostFacts& host) const { return !removed.empty() && any_means(removed, host); }
bool HostChanges::drains(const HostFacts& host) const { return !draining.empty() && any_means(draining, host); }

std::optional<uint32_t> HostChanges::weight_of(const HostFacts& host) const {
  if (weights.empty()) return std::nullopt;
  // The closest word wins: this host's own before that of all addresses of a name.
  for (const std::string& text : {host.name, host.address.to_string(), host.authority}) {
    if (const auto found = weights.find(text); found != weights.end()) return found->second;
  }
  return std::nullopt;
}

// --- In a file ---

std::string to_json(const HostChangesByUpstream& changes) {
  json upstreams = json::object();
  for (const auto& [name, change] : changes) {
    if (change.empty()) continue;
    json one = json::object();
    json added = json::array();
    for (const AddedHost& host : change.added) {
      json each = {{"host", host.at.to_text()}, {"weight", host.weight}, {"backup", host.backup}};
      if (!host.zone.empty()) each["zone"] = host.zone;
      if (host.priority > 0) each["priority"] = host.priority;
      added.push_back(std::move(each));
    }
    one["added"] = std::move(added);
    one["removed"] = change.removed;
    one["draining"] = change.draining;
    one["weights"] = change.weights;
    upstreams[name] = std::move(one);
  }
  return json{{"version", kVersion}, {"upstreams", std::move(upstreams)}}.dump(2) + "\n";
}

namespace {

std::unexpected<Error> wrong(const std::string& what) { return fail(Error(Code::data_loss, what)); }

Result<uint32_t> read_weight(const json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > kMaxWeight)
    return wrong("a weight is no number from 0 to " + std::to_string(kMaxWeight));
  return value.get<uint32_t>();
}

Result<AddedHost> read_added(const json& value) {
  if (!value.is_object() || !value.contains("host") || !value["host"].is_string())
    return wrong("an added host has no host");
  AddedHost host;
  for (const auto& [key, member] : value.items()) {
    if (key == "host") {
      auto at = config::HostPort::from_text(member.get<std::string>());
      if (!at || at->port == 0) return wrong("an added host is no HOST:PORT");
      host.at = *std::move(at);
    } else if (key == "weight") {
      TRY(host.weight, read_weight(member));
    } else if (key == "zone") {
      if (!member.is_string() || !is_zone(member.get<std::string>())) return wrong("an added host's zone is no name");
      host.zone = member.get<std::string>();
    } else if (key == "priority") {
      if (!member.is_number_unsigned() || member.get<uint64_t>() > kMaxPriority)
        return wrong("an added host's priority is no number from 0 to " + std::to_string(kMaxPriority));
      host.priority = member.get<uint32_t>();
    } else if (key == "backup") {
      if (!member.is_boolean()) return wrong("an added host's backup is neither true nor false");
      host.backup = member.get<bool>();
    } else {
      return wrong("an added host has \"" + key + "\", which is not known");
    }
  }
  return host;
}

Result<std::set<std::string>> read_texts(const json& list) {
  if (!list.is_array() || list.size() > kMaxChangedHosts) return wrong("a list of hosts is none, or too long");
  std::set<std::string> texts;
  for (const json& one : list) {
    if (!one.is_string() || !is_host_text(one.get<std::string>())) return wrong("a list of hosts has what is no host");
    texts.insert(one.get<std::string>());
  }
  return texts;
}

Result<HostChanges> read_one(const json& value) {
  if (!value.is_object()) return wrong("an upstream is no object");
  HostChanges changes;
  for (const auto& [key, member] : value.items()) {
    if (key == "added") {
      if (!member.is_array() || member.size() > kMaxChangedHosts) return wrong("added is no list, or too long");
      for (const json& one : member) {
        TRY(AddedHost host, read_added(one));
        changes.added.push_back(std::move(host));
      }
    } else if (key == "removed") {
      TRY(changes.removed, read_texts(member));
    } else if (key == "draining") {
      TRY(changes.draining, read_texts(member));
    } else if (key == "weights") {
      if (!member.is_object() || member.size() > kMaxChangedHosts) return wrong("weights is no object, or too long");
      for (const auto& [host, weight] : member.items()) {
        if (!is_host_text(host)) return wrong("weights has what is no host");
        TRY(changes.weights[host], read_weight(weight));
      }
    } else {
      return wrong("an upstream has \"" + key + "\", which is not known");
    }
  }
  return changes;
}

}  // namespace

Result<HostChangesByUpstream> read_host_changes(std::string_view text) {
  const json all = json::parse(text, nullptr, false);
  if (!all.is_object()) return wrong("it is no JSON object");
  if (!all.contains("version") || all["version"] != kVersion) return wrong("its version is not 1");
  if (all.size() != 2 || !all.contains("upstreams") || !all["upstreams"].is_object())
    return wrong("it has something else than version and upstreams");
  HostChangesByUpstream changes;
  for (const auto& [name, value] : all["upstreams"].items()) {
    Result<HostChanges> one = read_one(value);
    if (!one) return wrong("upstream \"" + name + "\": " + one.error().what());
    changes.emplace(name, *std::move(one));
  }
  return changes;
}

}  // namespace trellis::upstream
