#include "net/country.h"

#include <arpa/inet.h>
#include <maxminddb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace trellis::net {

namespace {

constexpr int64_t kLatestSecond = 9'000'000'000;

Error error_of(const std::string& what, int status) {
  const Code code = status == MMDB_FILE_OPEN_ERROR ? Code::not_found : Code::data_loss;
  return Error(code, what + ": " + MMDB_strerror(status));
}

// The letters or digits at `path` into `out`; left alone when they are not there or not of its size.
template <size_t N>
Result<> read_code(MMDB_entry_s& entry, const char* const* path, size_t least, std::array<char, N>& out) {
  MMDB_entry_data_s data{};
  const int status = MMDB_aget_value(&entry, &data, path);
  if (status == MMDB_LOOKUP_PATH_DOES_NOT_MATCH_DATA_ERROR) return {};
  if (status != MMDB_SUCCESS) return fail(error_of("the country database", status));
  if (!data.has_data || data.type != MMDB_DATA_TYPE_UTF8_STRING) return {};
  if (data.data_size < least || data.data_size > N) return {};
  const std::string_view text(data.utf8_string, data.data_size);
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); });
  if (plain) std::copy(text.begin(), text.end(), out.begin());
  return {};
}

// The countries of a continent, by their codes. Sources: ISO 3166-1; GeoNames, from which MaxMind has its continents.
struct Continent {
  std::string_view code;
  std::string_view countries;
};
constexpr std::array<Continent, 7> kContinents{{
    {"AF",
     "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU "
     "MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW"},
    {"AN", "AQ BV GS HM TF"},
    {"AS",
     "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO "
     "MV MY NP OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE"},
    {"EU",
     "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV "
     "MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK"},
    {"NA",
     "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR "
     "SV SX TC TT US VC VG VI"},
    {"OC", "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS"},
    {"SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"},
}};

}  // namespace

std::string_view continent_of(std::string_view country) noexcept {
  if (country.size() != 2) return {};
  for (const Continent& continent : kContinents) {
    for (size_t at = 0; at < continent.countries.size(); at += 3) {
      if (continent.countries.substr(at, 2) == country) return continent.code;
    }
  }
  return {};
}

std::string_view Place::region_code() const noexcept {
  return {region.data(), ::strnlen(region.data(), region.size())};
}

void CountryDatabase::Close::operator()(MMDB_s* database) const noexcept {
  ::MMDB_close(database);
  delete database;
}

Result<CountryDatabase> CountryDatabase::open(const std::string& path) {
  auto opened = std::make_unique<MMDB_s>();
  const int status = ::MMDB_open(path.c_str(), MMDB_MODE_MMAP, opened.get());
  if (status != MMDB_SUCCESS) return fail(error_of(path, status));
  CountryDatabase database{std::unique_ptr<MMDB_s, Close>(opened.release())};
  const std::string type = database.type();
  for (const std::string_view kind : {"Country", "City", "Enterprise"})
    if (type.find(kind) != std::string::npos) return database;
  return fail(Code::failed_precondition, path + ": a database of \"" + type.substr(0, 64) + "\", not of countries");
}

Result<Place> CountryDatabase::find(std::string_view address) const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.empty() || address.size() >= text.size()) return fail(Code::invalid_argument, "not a numeric address");
  std::copy(address.begin(), address.end(), text.begin());
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  const sockaddr* where = nullptr;
  if (::inet_pton(AF_INET, text.data(), &v4.sin_addr) == 1) {
    where = reinterpret_cast<const sockaddr*>(&v4);
  } else if (::inet_pton(AF_INET6, text.data(), &v6.sin6_addr) == 1) {
    where = reinterpret_cast<const sockaddr*>(&v6);
    if (database_->metadata.ip_version == 4 || IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      // A database of IPv4 only knows no other; a mapped address is looked up as what it is.
      if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return Place{};
      std::memcpy(&v4.sin_addr, v6.sin6_addr.s6_addr + 12, 4);
      where = reinterpret_cast<const sockaddr*>(&v4);
    }
  } else {
    return fail(Code::invalid_argument, "not a numeric address");
  }
  int status = MMDB_SUCCESS;
  MMDB_lookup_result_s found = ::MMDB_lookup_sockaddr(database_.get(), where, &status);
  if (status != MMDB_SUCCESS) return fail(error_of("the country database", status));
  Place place;
  if (!found.found_entry) return place;
  static constexpr const char* kCountry[] = {"country", "iso_code", nullptr};
  static constexpr const char* kRegistered[] = {"registered_country", "iso_code", nullptr};
  static constexpr const char* kContinent[] = {"continent", "code", nullptr};
  static constexpr const char* kRegion[] = {"subdivisions", "0", "iso_code", nullptr};
  TRY_VOID(read_code(found.entry, kCountry, 2, place.country));
  // Satellites and anycast have no country of their own, but somebody who registered them.
  if (!place.country[0]) {
    TRY_VOID(read_code(found.entry, kRegistered, 2, place.country));
  }
  TRY_VOID(read_code(found.entry, kContinent, 2, place.continent));
  TRY_VOID(read_code(found.entry, kRegion, 1, place.region));
  return place;
}

std::string CountryDatabase::type() const {
  const char* type = database_->metadata.database_type;
  return type ? type : "";
}

int64_t CountryDatabase::built_at() const noexcept {
  return static_cast<int64_t>(std::min<uint64_t>(database_->metadata.build_epoch, kLatestSecond)) * 1000;
}

}  // namespace trellis::net
