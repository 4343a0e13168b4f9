// Links as JSON, in and out. Reading is strict: an unknown member, a member of the wrong type or a value that is not
// allowed is a Fault that names the member and says what is wrong, for the person who sent it. Pure; any core. Input is
// foreign: fuzz/services_links_json_fuzz.cc.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/rows.h"
#include "services/links/url.h"

namespace trellis::services::links {

class DomainTable;

inline constexpr size_t kMaxTitle = 512;
inline constexpr size_t kMaxTags = 20;
inline constexpr size_t kMaxTag = 64;
inline constexpr int64_t kMostVisits = 1'000'000'000;

struct Fault {
  std::string field;  // "" when it is about the whole body
  std::string detail;
  std::string code = "invalid_argument";
  int status = 400;  // of the answer
};

// What somebody says of a link; what is absent is not said. A member of two optionals may be said to be none.
struct LinkPatch {
  std::optional<std::string> url;
  std::optional<std::string> title;
  std::optional<int> status;
  std::optional<std::optional<int64_t>> not_before;
  std::optional<std::optional<int64_t>> expires_at;
  std::optional<std::optional<int64_t>> max_visits;
  std::optional<bool> forward_query;
  std::optional<std::vector<std::string>> tags;
  // As it was given; "": none. Whoever makes or changes a link keeps what Passwords::hash() makes of it.
  std::optional<std::string> password;
  std::optional<std::string> rules;  // as JSON that Rules::read takes; "": none

  bool empty() const noexcept {
    return !url && !title && !status && !not_before && !expires_at && !max_visits && !forward_query && !tags &&
           !rules && !password;
  }
  // All but the password.
  void apply_to(Link& link) const;
};

struct NewLink {
  std::string domain;          // as it was written; "": none was said
  std::string alias;           // "": a code is made
  LinkPatch set;               // with a URL
  bool find_existing = false;  // a link that is the same will do
};

// `own`: where the service itself answers; a link there is refused. `now` in milliseconds since 1970.
std::expected<NewLink, Fault> read_new_link(std::string_view body, const OwnHosts& own, int64_t now);
std::expected<LinkPatch, Fault> read_link_patch(std::string_view body, const OwnHosts& own, int64_t now);

// {"id":1,"code":...}
void append_link(std::string& out, const Link& link, const DomainTable& domains);
std::string etag_of(const Link& link);

bool is_tag(std::string_view text) noexcept;  // 1 to kMaxTag bytes, no control characters, no comma, no blank ends
bool is_redirect_status(int64_t status) noexcept;

// RFC 3339 with any offset, to milliseconds since 1970; nullopt: not such a time.
std::optional<int64_t> parse_time(std::string_view text) noexcept;
// "2026-03-01T12:34:56.789Z"
std::string format_time(int64_t millis);

// The place in a list that a cursor stands for; nullopt: not one of ours.
std::string cursor_of(int64_t id);
std::optional<int64_t> id_of_cursor(std::string_view cursor) noexcept;

}  // namespace trellis::services::links
