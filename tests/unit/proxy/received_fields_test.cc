#include "proxy/received_fields.h"

#include <gtest/gtest.h>

#include "base/arena.h"

namespace trellis::proxy {
namespace {

TEST(ReceivedFields, TakesOffWhatBelongsToTheConnection) {
  Arena arena;
  http::Fields fields(arena);
  fields.add("Connection", "close, x-mine");
  fields.add("X-Mine", "1");
  fields.add("Keep-Alive", "timeout=5");
  fields.add("X-Other", "2");
  take_off_received(fields);
  EXPECT_EQ(fields.size(), 1u);
  EXPECT_EQ(fields.find("x-other"), "2");
}

TEST(ReceivedFields, TakesOffEveryClaimOfTheWayHere) {
  Arena arena;
  http::Fields fields(arena);
  for (const char* name :
       {"X-Forwarded", "x-forwarded-for", "X-Forwarded-Port", "X-FORWARDED-CLIENT-CERT", "Forwarded", "X-Real-IP"})
    fields.add(name, "evil");
  fields.add("X-Forward", "stays");
  take_off_received(fields);
  EXPECT_EQ(fields.size(), 1u);
}

TEST(ReceivedFields, CountsHopsAndNotTheCommasOfComments) {
  EXPECT_EQ(via_hops(""), 0u);
  EXPECT_EQ(via_hops("1.1 a"), 1u);
  EXPECT_EQ(via_hops("1.1 a, 1.0 b ,, 1.1 c,"), 3u);
  EXPECT_EQ(via_hops("1.1 a (x, (y, z), \\), w), 1.1 b"), 2u);
  EXPECT_EQ(via_hops("1.1 a (never closed, 1.1 b"), 2u);
  EXPECT_EQ(via_hops("1.1 \"never closed, 1.1 b"), 2u);
  EXPECT_EQ(via_hops("1.1 \"q, r\", 1.1 b"), 2u);
}

}  // namespace
}  // namespace trellis::proxy
