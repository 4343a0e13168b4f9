// The gRPC health call without a network: against a server by nghttp2, and against bytes that are none.
#include "upstream/health/grpc_health.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "tests/unit/upstream/health/grpc_server.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using test::GrpcAnswer;
using test::GrpcServer;

// Lets both talk until neither has anything to say, in pieces of `piece` bytes; what the call found.
std::string talk(GrpcHealth& call, GrpcServer& server, size_t piece = 1 << 20) {
  for (int turn = 0; turn < 100; ++turn) {
    const std::string out = call.take_output();
    if (!out.empty()) server.feed(out);
    const std::string in = server.take_output();
    if (in.empty() && out.empty()) break;
    for (size_t at = 0; at < in.size() && !call.done(); at += piece) {
      const Result<> fed = call.feed(std::string_view(in).substr(at, piece));
      if (!fed) {
        EXPECT_FALSE(call.verdict()) << "whatever was refused is not good afterwards";
        return fed.error().what();
      }
    }
    if (call.done()) break;
  }
  const auto verdict = call.verdict();
  return verdict ? *verdict : verdict.error().what();
}
std::string ask(GrpcAnswer answer, size_t piece = 1 << 20) {
  GrpcServer server(std::move(answer));
  GrpcHealth call("api.internal:50051", "shop.Orders", 2s);
  return talk(call, server, piece);
}

TEST(GrpcHealth, AsksAsTheProtocolSays) {
  GrpcServer server(test::serving(1));
  GrpcHealth call("api.internal:50051", "shop.Orders", 1500ms);
  EXPECT_EQ(talk(call, server), "answered SERVING");
  EXPECT_EQ(server.asked[":method"], "POST");
  EXPECT_EQ(server.asked[":path"], "/grpc.health.v1.Health/Check");
  EXPECT_EQ(server.asked[":scheme"], "http");
  EXPECT_EQ(server.asked[":authority"], "api.internal:50051");
  EXPECT_EQ(server.asked["content-type"], "application/grpc");
  EXPECT_EQ(server.asked["te"], "trailers");
  EXPECT_EQ(server.asked["grpc-timeout"], "1500m");
  EXPECT_EQ(server.asked_body, test::grpc_frame(std::string("\x0a\x0bshop.Orders")));
}

TEST(GrpcHealth, TheServerAsAWholeIsAskedWithAnEmptyMessage) {
  GrpcServer server(test::serving(1));
  GrpcHealth call("h:1", "", 1s);
  EXPECT_EQ(talk(call, server), "answered SERVING");
  EXPECT_EQ(server.asked_body, test::grpc_frame(""));
}

TEST(GrpcHealth, OnlyServingIsGood) {
  EXPECT_EQ(ask(test::serving(1)), "answered SERVING");
  EXPECT_EQ(ask(test::serving(0)), "answered UNKNOWN");
  EXPECT_EQ(ask(test::serving(2)), "answered NOT_SERVING");
  EXPECT_EQ(ask(test::serving(3)), "answered SERVICE_UNKNOWN");
  EXPECT_EQ(ask(test::serving(77)), "answered a status nobody knows");
  EXPECT_EQ(ask({.body = test::grpc_frame("")}), "answered UNKNOWN");
}

TEST(GrpcHealth, ReadsAnAnswerByteByByte) { EXPECT_EQ(ask(test::serving(1), 1), "answered SERVING"); }

TEST(GrpcHealth, SaysWhatTheServerRefusedWith) {
  EXPECT_EQ(ask({.head = {{":status", "200"}, {"content-type", "application/grpc"}, {"grpc-status", "12"}}}),
            "answered grpc-status 12 (UNIMPLEMENTED)");
  EXPECT_EQ(ask({.head = {{":status", "200"}, {"grpc-status", "5"}, {"grpc-message", "no such service"}}}),
            "answered grpc-status 5 (NOT_FOUND): no such service");
  EXPECT_EQ(ask({.body = test::grpc_frame(std::string("\x08\x01")), .trailers = {{"grpc-status", "14"}}}),
            "answered grpc-status 14 (UNAVAILABLE)");
  EXPECT_EQ(ask({.head = {{":status", "404"}}}), "answered 404, expected 200");
  EXPECT_EQ(ask({.reset = NGHTTP2_REFUSED_STREAM}), "the call was reset: REFUSED_STREAM");
}

TEST(GrpcHealth, AServerThatSaysNothingHasNotAnswered) { EXPECT_EQ(ask({.silent = true}), "closed without an answer"); }

TEST(GrpcHealth, RefusesAnswersThatAreNone) {
  EXPECT_EQ(ask({.body = test::grpc_frame(std::string("\x08\x01")), .trailers = {}}),
            "malformed answer: no grpc-status");
  EXPECT_EQ(ask({.body = test::grpc_frame(std::string("\x08\x01")), .trailers = {{"grpc-status", "x"}}}),
            "answered grpc-status 2 (UNKNOWN)");
  const std::string serving = test::grpc_frame(std::string("\x08\x01"));
  EXPECT_EQ(ask({.head = {{":status", "200"}, {"content-type", "text/html"}}, .body = serving}),
            "malformed answer: of the type \"text/html\", not application/grpc");
  EXPECT_EQ(ask({.head = {{":status", "200"}, {"content-type", "application/grpc-web"}}, .body = serving}),
            "malformed answer: of the type \"application/grpc-web\", not application/grpc");
  EXPECT_EQ(ask({.head = {{":status", "200"}}, .body = serving}),
            "malformed answer: of the type \"\", not application/grpc");
  EXPECT_EQ(ask({.head = {{":status", "200"}, {"content-type", "application/grpc"}, {"grpc-status", "0"}},
                 .body = serving,
                 .trailers = {}}),
            "malformed answer: no grpc-status");
  for (const char* type : {"application/grpc+proto", "Application/GRPC; charset=utf-8"})
    EXPECT_EQ(ask({.head = {{":status", "200"}, {"content-type", type}}, .body = serving}), "answered SERVING");
  EXPECT_EQ(ask({.body = "\x01"}), "malformed answer: no message");
  EXPECT_EQ(ask({.body = test::grpc_frame(std::string("\x08\x01"), '\x01')}),
            "malformed answer: a compressed message, which was not asked for");
  EXPECT_EQ(ask({.body = test::grpc_frame(std::string("\x08\x01")) + "more"}),
            "malformed answer: the message is not as long as it says");
  EXPECT_EQ(ask({.body = test::grpc_frame("\x08")}), "malformed answer: no protobuf message");
  EXPECT_EQ(ask({.body = std::string(20'000, 'x')}), "malformed answer: a message of more than 1024 bytes");
}

TEST(GrpcHealth, AServerThatSpeaksHttp1IsNoHttp2) {
  GrpcHealth call("h:1", "", 1s);
  call.take_output();
  const Result<> fed = call.feed("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code(), Code::data_loss);
}

TEST(GrpcHealth, TakesNoMoreThanItsLimit) {
  GrpcHealth call("h:1", "", 1s);
  call.take_output();
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  ASSERT_TRUE(call.feed(settings));
  // PINGs for ever, each of them good HTTP/2.
  const std::string ping = std::string("\0\0\x08\x06\0\0\0\0\0", 9) + "12345678";
  bool refused = false;
  for (int i = 0; i < 10'000 && !refused; ++i) refused = !call.feed(ping);
  EXPECT_TRUE(refused);
}

TEST(GrpcHealth, NoBytesCrashIt) {
  Rng rng(9);
  for (int round = 0; round < 2000; ++round) {
    GrpcServer server(test::serving(1));
    GrpcHealth call("h:1", "x", 1s);
    server.feed(call.take_output());
    std::string bytes = server.take_output();
    for (uint64_t i = 0; i <= rng.below(6); ++i) bytes[rng.below(bytes.size())] = static_cast<char>(rng.next());
    bytes.resize(rng.below(bytes.size() + 1));
    if (call.feed(bytes)) call.take_output();
    (void)call.verdict().has_value();
  }
}

TEST(GrpcHealthMessage, FieldsThatAreNotKnownArePassedOver) {
  EXPECT_EQ(*decode_health_response(std::string("\x12\x03"
                                                "abc\x08\x01\x1d"
                                                "1234\x21"
                                                "12345678\x28\x05")),
            1U);
  EXPECT_EQ(*decode_health_response(std::string_view("\x08\x02\x08\x01", 4)), 1U);  // the last one counts
}

TEST(GrpcHealthMessage, RefusesWhatIsCutOffOrNoMessage) {
  for (const std::string_view bytes : {std::string_view("\x08"),
                                       std::string_view("\x12\x05"
                                                        "ab"),
                                       std::string_view("\x1d"
                                                        "123"),
                                       std::string_view("\0\1", 2), std::string_view("\x0b"),
                                       std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")}) {
    EXPECT_FALSE(decode_health_response(bytes));
  }
}

}  // namespace
}  // namespace trellis::upstream
