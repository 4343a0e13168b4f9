// Regions by what a field says and by the database of countries, and the order in which they stand in for each other.
#include "upstream/geo.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "tests/fakes/read_config.h"
#include "upstream/config.h"

namespace trellis::upstream {
namespace {

GeoConfig three() {
  GeoConfig config;
  config.header = "X-Country";
  config.regions["asia"] = {.countries = {"JP", "IN"}, .continents = {"AS", "OC"}, .near = {"us"}};
  config.regions["eu"] = {.countries = {"DE", "GB"}, .continents = {"EU", "AF"}, .near = {"us", "asia"}};
  config.regions["us"] = {.countries = {"US"}, .continents = {"NA", "SA"}, .near = {"eu"}};
  config.other = "us";
  return config;
}

std::string order(const Geo& geo, std::string_view address, std::string_view header) {
  std::string out;
  for (const RegionId region : geo.order_for(address, header)) out += (out.empty() ? "" : " ") + geo.name(region);
  return out;
}

TEST(Geo, TheFieldNamesACountryOrARegion) {
  const auto geo = Geo::open(three());
  ASSERT_TRUE(geo);
  EXPECT_EQ(order(**geo, "192.0.2.1", "DE"), "eu us asia");
  EXPECT_EQ(order(**geo, "192.0.2.1", "IN"), "asia us eu") << "those that it does not call near come last";
  EXPECT_EQ(order(**geo, "192.0.2.1", "asia"), "asia us eu");
  EXPECT_EQ(order(**geo, "192.0.2.1", "SE"), "eu us asia") << "no region names it, its continent is EU";
  EXPECT_EQ(order(**geo, "192.0.2.1", "BR"), "us eu asia");
  EXPECT_EQ(order(**geo, "192.0.2.1", "AU"), "asia us eu");
  for (const char* none : {"T1", "se", "EU", "AS ", "SEX"})
    EXPECT_EQ(order(**geo, "192.0.2.1", none), "us eu asia") << none;
}

TEST(Geo, ARegionThatNamesACountryOutdoesTheOneOfItsContinent) {
  GeoConfig config = three();
  config.regions["us"].countries.emplace_back("SE");
  const auto geo = Geo::open(config);
  ASSERT_TRUE(geo);
  EXPECT_EQ(order(**geo, "192.0.2.1", "SE"), "us eu asia");
}

TEST(Geo, WhoBelongsToNoneGoesToTheOther) {
  const auto geo = Geo::open(three());
  ASSERT_TRUE(geo);
  EXPECT_EQ(order(**geo, "192.0.2.1", ""), "us eu asia");
  EXPECT_EQ(order(**geo, "192.0.2.1", "XX"), "us eu asia");
  EXPECT_EQ(order(**geo, "no address", "\xff"), "us eu asia");
}

TEST(Geo, TheDatabaseTellsTheCountryAndElseTheContinent) {
  const char* named = std::getenv("TRELLIS_DATA");
  const std::string path = (named ? std::string(named) : std::string(TRELLIS_SOURCE_DIR) + "/../shared/data") +
                           "/mmdb/test-data/GeoIP2-Country-Test.mmdb";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path << "; set TRELLIS_DATA";
  GeoConfig config = three();
  config.database = path;
  const auto geo = Geo::open(config);
  ASSERT_TRUE(geo);
  EXPECT_EQ(order(**geo, "81.2.69.160", ""), "eu us asia") << "GB";
  EXPECT_EQ(order(**geo, "89.160.20.112", ""), "eu us asia") << "SE: no region names it, its continent is EU";
  EXPECT_EQ(order(**geo, "216.160.83.56", ""), "us eu asia") << "US";
  EXPECT_EQ(order(**geo, "81.2.69.160", "IN"), "asia us eu") << "the field wins";
  EXPECT_EQ(order(**geo, "10.0.0.1", ""), "us eu asia") << "nobody knows it";
}

constexpr std::string_view kGood = R"(
hosts:
  - { address: "10.0.0.1:80", zone: eu }
  - { file: hosts.txt }
balance: maglev
geo:
  header: CF-IPCountry
  other: us
  regions:
    eu: { countries: [DE, FR], near: [us] }
    us: { countries: [US] }
)";

TEST(Geo, IsReadBesideEveryPolicy) {
  const auto config = fakes::read_config<UpstreamConfig>(kGood);
  ASSERT_TRUE(config.geo);
  EXPECT_EQ(config.geo->header, "CF-IPCountry");
  EXPECT_EQ(config.geo->regions.at("eu").countries, (std::vector<std::string>{"DE", "FR"}));
  EXPECT_EQ(config.balance, Balance::maglev);
  const auto geo = Geo::open(*config.geo);
  ASSERT_TRUE(geo);
  EXPECT_EQ(order(**geo, "192.0.2.1", "FR"), "eu us");
}

TEST(Geo, AMissingDatabaseIsAnError) {
  GeoConfig config = three();
  config.database = "/nonexistent.mmdb";
  const auto geo = Geo::open(config);
  ASSERT_FALSE(geo);
  EXPECT_EQ(geo.error().code(), Code::not_found);
}

}  // namespace
}  // namespace trellis::upstream
