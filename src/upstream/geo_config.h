// What a configuration says of regions: which clients each serves, which stand in for it, and what tells where a client
// is. Plain values; read by field tables. docs/balancing.md says what they mean.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/fields.h"

namespace trellis::upstream {

struct RegionConfig {
  std::vector<std::string> countries;   // ISO 3166-1: DE
  std::vector<std::string> continents;  // AF AN AS EU NA OC SA
  std::vector<std::string> near;        // regions, the nearest first
  static config::Fields<RegionConfig> fields();
  void check(config::Checker& at) const;
};

struct GeoConfig {
  std::string database;
  std::string header;
  std::map<std::string, RegionConfig> regions;
  std::string other;  // region of those that belong to none; "": the first
  static config::Fields<GeoConfig> fields();
  void check(config::Checker& at) const;
};

}  // namespace trellis::upstream
