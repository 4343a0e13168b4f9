// What a filter may need when it is made, beside its own settings: its route's name for metrics, a way to other targets
// than the route's own, and what a core keeps for all its filters. Borrowed for the making alone; what a filter keeps
// of it is said at each member. Made by whoever builds a node's chains, on the core that will run them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/error.h"

namespace trellis {
inline namespace base {
class Metrics;
}
inline namespace runtime {
class TaskGroup;
}
}  // namespace trellis
namespace trellis::cache {
class EdgeCache;
}
namespace trellis::http {
class Handler;
}

namespace trellis::proxy {

struct TargetConfig;
class HeldMemory;
class Members;

// The edge cache of that name, shared by all cores.
using CacheFinder = std::function<Result<std::shared_ptr<cache::EdgeCache>>(const std::string&)>;

// The other edges that share the objects of that cache, on this core; null: there are none.
using MembersFinder = std::function<std::shared_ptr<Members>(const std::string&)>;

// A target for one core. Shared, because work that a filter began may outlive the filter.
using TargetMaker = std::function<Result<std::shared_ptr<http::Handler>>(const TargetConfig&)>;

struct FilterParts {
  std::string route;  // its name, copied
  Metrics& metrics;   // outlives every filter
  TargetMaker make_target;
  TaskGroup& background;               // of the core, outlives every filter: what goes on beside requests
  std::shared_ptr<HeldMemory> memory;  // of the core: what its filters hold of bodies
  std::string node = {};               // its name, copied
  CacheFinder edge_cache = {};         // of who has caches
  bool encoded = false;                // the route compresses answers
  std::string conditions = {};         // of the route, beside host, path and methods; copied
  std::string hosts = {};              // the pattern of those that the route takes; copied
  bool many_conditions = false;        // some route with a cache has such
  MembersFinder members = {};          // of who has them in clusters
  // What a key file of the configuration holds, as it was read when that was loaded.
  std::function<std::string(const std::string& path)> key_in = {};
};

}  // namespace trellis::proxy
