// How the nodes of a cluster know each other: a field that only who has the cluster's key can make for this request.
// It names the sender and says something more that depends on the purpose. A mark is good for five minutes, by the
// clocks of both; one that is seen again within that time does no harm: what it lets through is a question, or rules
// that are known by then. Pure; any thread.
//
//   1 SENDER SECONDS EXTRA SIGNATURE      one blank between each; SENDER: 16 hexadecimal digits
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "cache/edge/purge_file.h"
#include "http/message.h"

namespace trellis::proxy {

inline constexpr std::string_view kMemberField = "X-Trellis-Member";

enum class MemberPurpose : uint8_t {
  fetch,    // a request for an object that the other owns; extra: hop_extra()
  message,  // to the cluster's own paths; extra: digest() of the body
};

struct MemberMark {
  uint64_t sender = 0;
  std::string_view extra;
};

// The value of the field. `extra` has no blank and is not empty.
std::string make_member_mark(std::string_view key, MemberPurpose purpose, const http::Request& request, uint64_t sender,
                             std::string_view extra, WallTime now);
// None: there is no such field, or it is not good for this request. `extra` is a view into the field.
std::optional<MemberMark> member_mark_of(const http::Request& request, std::string_view key, MemberPurpose purpose,
                                         WallTime now);

// What a request for an object says beside itself: the scheme that the client used, and which purges its node knows.
std::string hop_extra(std::string_view scheme, std::vector<cache::PurgeMark> marks);
struct Hop {
  std::string_view scheme;  // "http" or "https"
  std::vector<cache::PurgeMark> marks;
};
std::optional<Hop> parse_hop_extra(std::string_view extra);

}  // namespace trellis::proxy
