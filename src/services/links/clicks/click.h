// A click as it is kept and counted: what is left of a visitor once his address, his User-Agent and the page he came
// from have been read and dropped. A batch of clicks has a compact form for the event log: texts once a batch, numbers
// as differences. Reading a batch is strict: fuzz/services_links_click_fuzz.cc. Pure; any core.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "net/country.h"
#include "services/links/clicks/click_ring.h"
#include "services/links/clicks/referrer.h"
#include "services/links/clicks/unique_visitors.h"
#include "services/links/clicks/user_agent.h"

namespace trellis::services::links {

struct Click {
  int64_t link = 0;
  int64_t at = 0;  // milliseconds since 1970
  TakenRule rule;
  bool scan = false;  // of the QR code
  UserAgent agent;
  std::array<char, 2> country{};  // '\0' in front: unknown
  std::string language;           // "de"; "": unknown
  std::string referrer;           // a host; "": none
  Utm utm;
  uint64_t visitor = 0;  // a keyed hash whose salt is forgotten after a day
  uint32_t domain = 0;   // its id and one; 0: there was but the default one

  std::string_view country_code() const noexcept { return {country.data(), country[0] ? country.size() : 0}; }
  friend bool operator==(const Click&, const Click&) = default;
};

// The first language of an Accept-Language field, without its region, in lower case; "" when there is none.
std::string first_language(std::string_view accept_language);

// Makes clicks of what redirects noted. Of one worker.
class ClickReader {
 public:
  // `countries` may be null and outlives it.
  explicit ClickReader(const net::CountryDatabase* countries) noexcept : countries_(countries) {}

  // Days since 1970; clicks of another day are hashed with the salt that there is.
  void set_salt(int64_t day, const DaySalt& salt) noexcept {
    day_ = day;
    salt_ = salt;
  }
  int64_t day() const noexcept { return day_; }

  Click read(const RawClick& raw);

 private:
  const net::CountryDatabase* countries_;
  int64_t day_ = -1;
  DaySalt salt_{};
  // Visitors share a few agents; bounded, and begun anew when full.
  std::unordered_map<std::string, UserAgent, StringHash, std::equal_to<>> agents_;
};

inline constexpr size_t kMaxClicksABatch = 16'384;

// At most kMaxClicksABatch clicks.
std::string write_clicks(std::span<const Click> clicks);
// data_loss unless write_clicks() could have written it.
Result<std::vector<Click>> read_clicks(std::string_view bytes);

}  // namespace trellis::services::links
