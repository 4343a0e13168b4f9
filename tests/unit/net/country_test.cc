#include "net/country.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace trellis::net {
namespace {

// MaxMind's test databases, where they are: TRELLIS_DATA or ../shared/data beside the project.
std::string folder() {
  const char* named = std::getenv("TRELLIS_DATA");
  return (named ? std::string(named) : std::string(TRELLIS_SOURCE_DIR) + "/../shared/data") + "/mmdb";
}

bool absent() { return !std::filesystem::exists(folder()); }

#define SKIP_WITHOUT_DATABASES() \
  if (absent()) GTEST_SKIP() << "no databases in " << folder() << "; set TRELLIS_DATA to test against them"

CountryDatabase open(const std::string& name) {
  auto database = CountryDatabase::open(folder() + "/test-data/" + name);
  EXPECT_TRUE(database) << name << ": " << (database ? "" : database.error().to_string());
  return std::move(database).value();
}

std::string text_of(const Result<Place>& place) {
  if (!place) return place.error().to_string();
  return std::string(place->country_code()) + " " + std::string(place->region_code()) + " " +
         std::string(place->continent_code());
}

TEST(CountryDatabase, FindsCountriesOfBothKindsOfAddresses) {
  SKIP_WITHOUT_DATABASES();
  for (const char* name : {"GeoIP2-Country-Test.mmdb", "GeoLite2-Country-Test.mmdb"}) {
    const CountryDatabase database = open(name);
    EXPECT_EQ(text_of(database.find("81.2.69.160")), "GB  EU") << name;
    EXPECT_EQ(text_of(database.find("::ffff:81.2.69.160")), "GB  EU") << name;
    EXPECT_EQ(text_of(database.find("2001:218::1")), "JP  AS") << name;
    EXPECT_EQ(database.find("127.0.0.1").value(), Place{}) << name;
    EXPECT_GT(database.built_at(), 1'000'000'000'000) << name;
  }
  EXPECT_EQ(open("GeoIP2-Country-Test.mmdb").type(), "GeoIP2-Country");
}

TEST(CountryDatabase, FindsRegionsInDatabasesOfCities) {
  SKIP_WITHOUT_DATABASES();
  const CountryDatabase database = open("GeoIP2-City-Test.mmdb");
  EXPECT_EQ(text_of(database.find("81.2.69.160")), "GB ENG EU");
  EXPECT_EQ(text_of(database.find("216.160.83.56")), "US WA NA");
}

TEST(CountryDatabase, RefusesWhatIsNoAddress) {
  SKIP_WITHOUT_DATABASES();
  const CountryDatabase database = open("GeoIP2-Country-Test.mmdb");
  for (const std::string& text : {std::string(), std::string("example.com"), std::string("1.2.3"), std::string("[::1]"),
                                  std::string("1.2.3.4:80"), std::string(100, '1')}) {
    const auto place = database.find(text);
    ASSERT_FALSE(place) << text;
    EXPECT_EQ(place.error().code(), Code::invalid_argument);
  }
}

TEST(CountryDatabase, RefusesOtherDatabasesAndMissingFiles) {
  EXPECT_EQ(CountryDatabase::open("/nonexistent/x.mmdb").error().code(), Code::not_found);
  const std::string path = testing::TempDir() + "/country_test_" + std::to_string(::getpid()) + ".mmdb";
  std::ofstream(path) << "this is no database";
  EXPECT_EQ(CountryDatabase::open(path).error().code(), Code::data_loss);
  std::filesystem::remove(path);
  SKIP_WITHOUT_DATABASES();
  const auto database = CountryDatabase::open(folder() + "/test-data/GeoLite2-ASN-Test.mmdb");
  ASSERT_FALSE(database);
  EXPECT_EQ(database.error().code(), Code::failed_precondition);
}

// What is found in a damaged database does not matter, as long as the process lives and answers.
TEST(CountryDatabase, OutlivesDamagedDatabases) {
  SKIP_WITHOUT_DATABASES();
  size_t tried = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder())) {
    if (entry.path().extension() != ".mmdb") continue;
    ++tried;
    const auto database = CountryDatabase::open(entry.path());
    if (!database) continue;
    for (int first = 0; first < 256; first += 3) {
      (void)database->find(std::to_string(first) + ".2.69.160");
      (void)database->find(std::to_string(first) + "01:218::1");
    }
  }
  EXPECT_GT(tried, 20u);
}

TEST(CountryDatabase, OutlivesFilesCutAndChangedAnywhere) {
  SKIP_WITHOUT_DATABASES();
  std::ifstream in(folder() + "/test-data/GeoIP2-Country-Test.mmdb", std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  ASSERT_GT(whole.size(), 1000u);
  const std::string path = testing::TempDir() + "/country_test_" + std::to_string(::getpid()) + "_damaged.mmdb";
  const auto attempt = [&](const std::string& bytes) {
    {
      std::ofstream out(path, std::ios::binary);
      out << bytes;
    }
    const auto database = CountryDatabase::open(path);
    if (database) {
      for (const char* address : {"81.2.69.160", "216.160.83.56", "2001:218::1", "2a02:cf40::1", "10.0.0.1"})
        (void)database->find(address);
    }
    std::filesystem::remove(path);
  };
  for (size_t size = 0; size < whole.size(); size += whole.size() / 97) attempt(whole.substr(0, size));
  for (size_t at = 0; at < whole.size(); at += whole.size() / 211) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(~bytes[at]);
    attempt(bytes);
  }
}

}  // namespace
}  // namespace trellis::net
