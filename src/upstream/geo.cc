#include "upstream/geo.h"

#include <algorithm>
#include <utility>

namespace trellis::upstream {

Geo::Geo(const GeoConfig& config) : header_(config.header) {
  for (const auto& [name, region] : config.regions) names_.push_back(name);
  other_ = region_named(config.other).value_or(0);
  for (RegionId id = 0; id < names_.size(); ++id) {
    const RegionConfig& region = config.regions.at(names_[id]);
    for (const std::string& code : region.countries) countries_.emplace(code, id);
    for (const std::string& code : region.continents) continents_.emplace(code, id);
    std::vector<RegionId>& order = orders_.emplace_back();
    const auto add = [&order](RegionId next) {
      if (std::ranges::find(order, next) == order.end()) order.push_back(next);
    };
    add(id);
    for (const std::string& near : region.near) add(*region_named(near));
    for (RegionId next = 0; next < names_.size(); ++next) add(next);
  }
}

Result<std::shared_ptr<const Geo>> Geo::open(const GeoConfig& config) {
  std::shared_ptr<Geo> geo(new Geo(config));
  if (!config.database.empty()) {
    TRY(auto database, net::CountryDatabase::open(config.database));
    geo->database_.emplace(std::move(database));
  }
  return geo;
}

std::optional<RegionId> Geo::region_named(std::string_view name) const noexcept {
  const auto found = std::ranges::lower_bound(names_, name);
  if (found == names_.end() || *found != name) return std::nullopt;
  return static_cast<RegionId>(found - names_.begin());
}

std::optional<RegionId> Geo::region_of(std::string_view country, std::string_view continent) const noexcept {
  if (const auto found = countries_.find(country); found != countries_.end()) return found->second;
  if (const auto found = continents_.find(continent); found != continents_.end()) return found->second;
  return std::nullopt;
}

std::span<const RegionId> Geo::order_for(std::string_view client_address, std::string_view header) const noexcept {
  if (!header.empty()) {
    if (const auto named = region_named(header)) return orders_[*named];
    if (const auto region = region_of(header, net::continent_of(header))) return orders_[*region];
  }
  if (database_) {
    // Damage at this place of the database, or an address that is none: as one that it does not know.
    if (const auto place = database_->find(client_address))
      return orders_[region_of(place->country_code(), place->continent_code()).value_or(other_)];
  }
  return orders_[other_];
}

}  // namespace trellis::upstream
