#include "upstream/geo_config.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "upstream/hosts_file.h"

namespace trellis::upstream {

namespace {

constexpr size_t kMostRegions = 256;

bool is_code(std::string_view text) noexcept {
  return text.size() == 2 && std::ranges::all_of(text, [](char c) { return c >= 'A' && c <= 'Z'; });
}

bool is_continent(std::string_view text) noexcept {
  constexpr std::string_view kContinents[] = {"AF", "AN", "AS", "EU", "NA", "OC", "SA"};
  return std::ranges::find(kContinents, text) != std::end(kContinents);
}

bool is_field_name(std::string_view text) noexcept {
  return std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

}  // namespace

config::Fields<RegionConfig> RegionConfig::fields() {
  return {{"countries", "whose clients it serves, by ISO 3166-1 code such as DE", &RegionConfig::countries},
          {"continents", "likewise, where no region names the country: AF, AN, AS, EU, NA, OC or SA",
           &RegionConfig::continents},
          {"near", "regions that take over when none of its hosts is up, the nearest first; then come the others",
           &RegionConfig::near}};
}

void RegionConfig::check(config::Checker& at) const {
  for (size_t i = 0; i < countries.size(); ++i) {
    if (!is_code(countries[i]))
      at.problem(config::path_step("countries", i), "no code of a country", "two capital letters such as DE");
  }
  for (size_t i = 0; i < continents.size(); ++i) {
    if (!is_continent(continents[i]))
      at.problem(config::path_step("continents", i), "no continent", "AF, AN, AS, EU, NA, OC or SA");
  }
}

config::Fields<GeoConfig> GeoConfig::fields() {
  return {
      {"database", "file of a MaxMind database of countries (.mmdb) that tells a client's country by its address",
       &GeoConfig::database},
      {"header",
       "field of the request with the client's country or region, set by whoever stands in front; it wins over "
       "the database",
       &GeoConfig::header},
      {"regions", "by name; the zone of a host says to which it belongs", &GeoConfig::regions, config::kRequired},
      {"other", "region of clients that belong to none", &GeoConfig::other, config::default_is("the first by name")}};
}

void GeoConfig::check(config::Checker& at) const {
  if (database.empty() && header.empty())
    at.problem("", "nothing tells where clients are", "database: GeoLite2-Country.mmdb, or header: CF-IPCountry");
  if (!is_field_name(header)) at.problem("header", "is no header name", "header: CF-IPCountry");
  if (regions.empty()) at.problem("regions", "required, but empty", "eu: { continents: [EU] }");
  if (regions.size() > kMostRegions) at.problem("regions", "more than 256", "fewer, larger regions");
  std::vector<std::string_view> names;
  for (const auto& [name, region] : regions) names.push_back(name);
  if (!other.empty()) at.must_be_known("other", "region", other, names);
  std::map<std::string_view, std::string_view> country_owners;
  std::map<std::string_view, std::string_view> continent_owners;
  for (const auto& [name, region] : regions) {
    const std::string place = config::path_step("regions", name);
    if (!is_zone(name))
      at.problem(place, "no host can have such a zone", "1 to 64 of A-Z a-z 0-9 - _ . such as eu-west");
    for (size_t i = 0; i < region.near.size(); ++i)
      at.must_be_known(config::path_step(place + ".near", i), "region", region.near[i], names);
    for (size_t i = 0; i < region.countries.size(); ++i) {
      const auto [owner, fresh] = country_owners.emplace(region.countries[i], name);
      if (!fresh)
        at.problem(config::path_step(place + ".countries", i), "belongs to " + std::string(owner->second) + " already",
                   "a country has one region");
    }
    for (size_t i = 0; i < region.continents.size(); ++i) {
      const auto [owner, fresh] = continent_owners.emplace(region.continents[i], name);
      if (!fresh)
        at.problem(config::path_step(place + ".continents", i), "belongs to " + std::string(owner->second) + " already",
                   "a continent has one region");
    }
    if (database.empty() && !region.continents.empty())
      at.problem(place + ".continents", "only a database tells a country's continent",
                 "database: GeoLite2-Country.mmdb, or name the countries");
  }
}

}  // namespace trellis::upstream
