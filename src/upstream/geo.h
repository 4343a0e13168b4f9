// Which regions a client's request goes to, in what order: the one that its country (or continent) belongs to, then
// the others by how near they are to that one. A region is the zone of hosts. The country comes from a MaxMind database
// by the client's address, or from a field that whoever stands in front sets. Immutable; shared by all cores.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "net/country.h"
#include "upstream/balancer.h"
#include "upstream/geo_config.h"

namespace trellis::upstream {

class Geo {
 public:
  // Opens the database: may block. Errors: as net::CountryDatabase::open.
  static Result<std::shared_ptr<const Geo>> open(const GeoConfig& config);

  size_t regions() const noexcept { return names_.size(); }
  // None: no such region.
  std::optional<RegionId> region_named(std::string_view name) const noexcept;
  const std::string& name(RegionId region) const noexcept { return names_[region]; }
  // Of the request; "": none.
  const std::string& header() const noexcept { return header_; }
  // Of the database, as net::CountryDatabase gives them; "" and 0 without one.
  std::string database_type() const { return database_ ? database_->type() : ""; }
  int64_t database_built_at() const noexcept { return database_ ? database_->built_at() : 0; }

  // All regions, the best first. `header`: what the request's field says, a country or a region; where it says nothing
  // that is configured, the database is asked. May wait for the disk once a page of the database.
  std::span<const RegionId> order_for(std::string_view client_address, std::string_view header) const noexcept;

 private:
  explicit Geo(const GeoConfig& config);
  // That names the country, else the one that names the continent.
  std::optional<RegionId> region_of(std::string_view country, std::string_view continent) const noexcept;

  using RegionByCode = std::unordered_map<std::string, RegionId, StringHash, std::equal_to<>>;
  std::string header_;
  std::vector<std::string> names_;             // sorted
  std::vector<std::vector<RegionId>> orders_;  // by region
  RegionByCode countries_;
  RegionByCode continents_;
  RegionId other_ = 0;
  std::optional<net::CountryDatabase> database_;
};

}  // namespace trellis::upstream
