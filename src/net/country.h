// The country of an address, from a MaxMind database (GeoLite2 or GeoIP2 Country, City or Enterprise) that lies in a
// file and is mapped into memory. For rules, statistics and the choice of a region; a database is opened where waiting
// for the disk is allowed and then read on every core. It is replaced by a new file under the same name (rename), never
// by writing into it: a mapped file that shrinks would end the process. Damage inside the file gives data_loss, not a
// crash.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

struct MMDB_s;

namespace trellis::net {

// Codes as the database has them; '\0' in front when it has none.
struct Place {
  std::array<char, 2> country{};    // ISO 3166-1, "DE"
  std::array<char, 2> continent{};  // "EU"
  std::array<char, 3> region{};     // the part of ISO 3166-2 behind the country: "BE", "ENG"; City databases only

  std::string_view country_code() const noexcept { return {country.data(), country[0] ? country.size() : 0}; }
  std::string_view continent_code() const noexcept { return {continent.data(), continent[0] ? continent.size() : 0}; }
  std::string_view region_code() const noexcept;

  friend bool operator==(const Place&, const Place&) = default;
};

// "EU" for "DE": of each code of ISO 3166-1 and of XK, as MaxMind's databases have them. "" for what is no such code.
std::string_view continent_of(std::string_view country) noexcept;

class CountryDatabase {
 public:
  // not_found, data_loss, or failed_precondition when it is a database of something else. Reads the file: may block.
  static Result<CountryDatabase> open(const std::string& path);

  // An empty Place for an address that the database does not know. invalid_argument when the text is no numeric address
  // (without brackets), data_loss when the database is damaged at this place. May wait for the disk once a page.
  Result<Place> find(std::string_view address) const;

  // For the log and a page about the node.
  std::string type() const;           // "GeoLite2-Country"
  int64_t built_at() const noexcept;  // milliseconds since 1970

 private:
  struct Close {
    void operator()(MMDB_s* database) const noexcept;
  };
  explicit CountryDatabase(std::unique_ptr<MMDB_s, Close> database) : database_(std::move(database)) {}

  std::unique_ptr<MMDB_s, Close> database_;
};

}  // namespace trellis::net
