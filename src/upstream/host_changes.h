// What was changed at the hosts of an upstream while the node ran (`trellis ctl hosts`, the control API), beside what
// the configuration says: hosts added, taken away, drained, given another weight. Plain values with the rules of each
// change and their form in a file, which outlives the node (app/node/host_state.h). Hosts are meant by what people see
// of them: a host's name, the HOST:PORT it was given by (then all addresses of a name), or its ADDRESS:PORT. Pure; any
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/values.h"

namespace trellis::upstream {

struct HostFacts;

inline constexpr size_t kMaxChangedHosts = 1000;  // of an upstream, in each list

struct AddedHost {
  config::HostPort at;  // a name's addresses are looked up
  uint32_t weight = 1;
  std::string zone;
  uint32_t priority = 0;
  bool backup = false;
  bool operator==(const AddedHost&) const = default;
};

struct HostChanges {
  std::vector<AddedHost> added;
  std::set<std::string> removed;
  std::set<std::string> draining;
  std::map<std::string, uint32_t> weights;

  bool empty() const noexcept;
  bool operator==(const HostChanges&) const = default;

  // Each: `members` are the upstream's hosts as they are now. already_exists, not_found, resource_exhausted,
  // invalid_argument.
  // A host that was removed comes back as it was; else it is HOST:PORT with what is known of it.
  Result<> add(const std::string& host, AddedHost how, const std::vector<HostFacts>& members);
  Result<> remove(const std::string& host, const std::vector<HostFacts>& members);
  Result<> drain(const std::string& host, bool draining, const std::vector<HostFacts>& members);
  Result<> set_weight(const std::string& host, uint32_t weight, const std::vector<HostFacts>& members);

  bool removes(const HostFacts& host) const;
  bool drains(const HostFacts& host) const;
  std::optional<uint32_t> weight_of(const HostFacts& host) const;
};
using HostChangesByUpstream = std::map<std::string, HostChanges>;

// As JSON, made for people to read.
std::string to_json(const HostChangesByUpstream& changes);
// data_loss with what is wrong: never a part of it.
Result<HostChangesByUpstream> read_host_changes(std::string_view json);

}  // namespace trellis::upstream
