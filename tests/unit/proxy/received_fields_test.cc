#include "proxy/received_fields.h"

#include <gtest/gtest.h>

#include "base/arena.h"

namespace trellis::proxy {
namespace {

TEST(ReceivedFields, TakesOffWhatBelongsToTheConnection) {
  Arena arena;
  http::Request request(arena);
  http::Fields& fields = request.fields;
  fields.add("Connection", "close, x-mine");
  fields.add("X-Mine", "1");
  fields.add("Keep-Alive", "timeout=5");
  fields.add("X-Other", "2");
  take_off_received(request);
  EXPECT_EQ(fields.size(), 1u);
  EXPECT_EQ(fields.find("x-other"), "2");
}

TEST(ReceivedFields, TakesOffEveryClaimOfTheWayHere) {
  Arena arena;
  http::Request request(arena);
  http::Fields& fields = request.fields;
  for (const char* name :
       {"X-Forwarded", "x-forwarded-for", "X-Forwarded-Port", "X-FORWARDED-CLIENT-CERT", "Forwarded", "X-Real-IP"})
    fields.add(name, "evil");
  fields.add("X-Forward", "stays");
  take_off_received(request);
  EXPECT_EQ(fields.size(), 1u);
}

TEST(ReceivedFields, UpgradeStaysWhereItIsAskedForAndTheFieldsItNeeds) {
  for (const bool upgrade : {true, false}) {
    Arena arena;
    http::Request request(arena);
    request.upgrade = upgrade;
    request.fields.add("Upgrade", "websocket");
    request.fields.add("Connection", "keep-alive, Upgrade");
    request.fields.add("Sec-WebSocket-Key", "x");
    request.fields.add("Connection", "x-mine");
    request.fields.add("X-Mine", "1");
    take_off_received(request);
    EXPECT_EQ(request.fields.has(http::FieldId::upgrade), upgrade);
    EXPECT_EQ(request.fields.find("sec-websocket-key"), "x");
    EXPECT_EQ(request.fields.size(), upgrade ? 2u : 1u);
  }
}

TEST(ReceivedFields, TakesOffWhatIsForProxiesAndWhatThisNodeWritesItself) {
  Arena arena;
  http::Request request(arena);
  for (const char* name : {"Proxy", "PROXY", "Proxy-Authorization", "Proxy-Authenticate", "Proxy-Connection",
                           "traceparent", "X-Request-Id"})
    request.fields.add(name, "evil");
  request.fields.add("X", "stays");
  request.fields.add("P", "stays");
  request.fields.add("Proxy-Other", "stays");
  request.fields.add("X-Real-IPs", "stays");
  take_off_received(request);
  EXPECT_EQ(request.fields.size(), 4u);
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
