// Answers of upstreams: what is sound is read, what is ambiguous becomes an error (the client's side makes a 502 of
// it).
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "h1_test_kit.h"

namespace trellis::http {
namespace {

using namespace std::string_literals;

TEST(H1Response, ReadsAnOrdinaryAnswer) {
  ReadResponse read("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nX-A: b\r\n\r\n");
  ASSERT_TRUE(read.accepted());
  EXPECT_EQ(read.response.status, 200);
  EXPECT_EQ(read.response.version_minor, 1);
  EXPECT_EQ(read.response.reason, "OK");
  EXPECT_EQ(read.response.fields.size(), 2U);
  EXPECT_FALSE(read.response.fields.has(FieldId::content_length));
  EXPECT_EQ(read.framing.body, BodyKind::length);
  EXPECT_EQ(read.framing.length, 12U);
  EXPECT_TRUE(read.framing.keep_alive);
  EXPECT_FALSE(read.framing.interim);
  EXPECT_FALSE(read.framing.switched);
}

struct FramingCase {
  const char* head;
  Method method;
  BodyKind body;
  bool keep_alive;
};

TEST(H1Response, FindsTheFramingOfABody) {
  for (const FramingCase& c : std::vector<FramingCase>{
           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", Method::get, BodyKind::chunked, true},
           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n", Method::get, BodyKind::chunked,
            false},
           {"HTTP/1.1 200 OK\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", Method::get,
            BodyKind::chunked, true},
           {"HTTP/1.1 200 OK\r\n", Method::get, BodyKind::until_close, false},
           {"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", Method::get, BodyKind::until_close, false},
           {"HTTP/1.0 200 OK\r\n", Method::get, BodyKind::until_close, false},
           {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", Method::get, BodyKind::length, false},
           {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n", Method::get, BodyKind::length, true},
           {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Method::head, BodyKind::none, true},
           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", Method::head, BodyKind::none, true},
           {"HTTP/1.1 200 OK\r\n", Method::head, BodyKind::none, true},
           {"HTTP/1.1 204 No Content\r\n", Method::get, BodyKind::none, true},
           {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n", Method::get, BodyKind::none, true},
           {"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n", Method::get, BodyKind::none, true},
           {"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n", Method::get, BodyKind::none, true},
           {"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n", Method::get, BodyKind::length, true},
           {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n", Method::connect, BodyKind::length, true},
       }) {
    ReadResponse read(std::string(c.head) + "\r\n", c.method);
    ASSERT_TRUE(read.accepted()) << c.head << to_string(read.error);
    EXPECT_EQ(read.framing.body, c.body) << c.head;
    EXPECT_EQ(read.framing.keep_alive, c.keep_alive) << c.head;
  }
}

TEST(H1Response, KeepsTheLengthThatDescribesAnotherAnswer) {
  ReadResponse head("HTTP/1.1 200 OK\r\nContent-Length: 0500\r\n\r\n", Method::head);
  ASSERT_TRUE(head.accepted());
  EXPECT_EQ(head.response.fields.value(FieldId::content_length), "500");
  ReadResponse not_modified("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n");
  ASSERT_TRUE(not_modified.accepted());
  EXPECT_EQ(not_modified.response.fields.value(FieldId::content_length), "500");
}

TEST(H1Response, TellsInterimAnswersAndSwitches) {
  for (const char* head :
       {"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "HTTP/1.1 102\r\n\r\n"}) {
    ReadResponse read(head);
    ASSERT_TRUE(read.accepted()) << head;
    EXPECT_TRUE(read.framing.interim);
    EXPECT_FALSE(read.framing.switched);
  }
  ReadResponse upgrade("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
  ASSERT_TRUE(upgrade.accepted());
  EXPECT_TRUE(upgrade.framing.switched);
  EXPECT_FALSE(upgrade.framing.interim);
  ReadResponse tunnel("HTTP/1.1 200 OK\r\n\r\n", Method::connect);
  ASSERT_TRUE(tunnel.accepted());
  EXPECT_TRUE(tunnel.framing.switched);
  EXPECT_EQ(tunnel.framing.body, BodyKind::none);
}

TEST(H1Response, TakesAMissingReason) {
  for (const char* line : {"HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 200  ", "HTTP/1.1 299 \xc3\xa4\xff",
                           "HTTP/1.1 200 a\tb", "HTTP/1.0 200 OK"}) {
    ReadResponse read(std::string(line) + "\r\nContent-Length: 0\r\n\r\n");
    EXPECT_TRUE(read.accepted()) << line << to_string(read.error);
  }
}

TEST(H1Response, RefusesEveryOtherStatusLine) {
  for (const std::string& line : std::vector<std::string>{"",
                                                          " ",
                                                          "HTTP/1.1",
                                                          "HTTP/1.1 ",
                                                          "HTTP/1.1 2",
                                                          "HTTP/1.1 20",
                                                          "HTTP/1.1 2000 OK",
                                                          "HTTP/1.1 200OK",
                                                          "HTTP/1.1  200 OK",
                                                          "HTTP/1.1\t200 OK",
                                                          " HTTP/1.1 200 OK",
                                                          "http/1.1 200 OK",
                                                          "HTTP/1.2 200 OK",
                                                          "HTTP/2.0 200 OK",
                                                          "HTTP/2 200",
                                                          "HTTP/0.9 200 OK",
                                                          "HTTP/1.10 200 OK",
                                                          "HTTP/1 200 OK",
                                                          "HTTP/11.1 200 OK",
                                                          "ICY 200 OK",
                                                          "HTTP 200 OK",
                                                          "HTTP/1.1 099 X",
                                                          "HTTP/1.1 000 X",
                                                          "HTTP/1.1 600 X",
                                                          "HTTP/1.1 999 X",
                                                          "HTTP/1.1 -20 X",
                                                          "HTTP/1.1 +20 X",
                                                          "HTTP/1.1 2 0 X",
                                                          "HTTP/1.1 0x2 X",
                                                          "HTTP/1.1 20a X",
                                                          "HTTP/1.1 abc X",
                                                          "HTTP/1.1 200\tOK",
                                                          "HTTP/1.1 200;OK",
                                                          "HTTP/1.1 200 O\x01K",
                                                          "HTTP/1.1 200 O\x7fK",
                                                          "HTTP/1.1 200 O\rK",
                                                          "HTTP/1.1 200 OK\r",
                                                          "HTTP/1.1 200 OK\n",
                                                          "HTTP/1.1: 200 OK",
                                                          "<html>",
                                                          "200 OK",
                                                          "HTTP/1.1 200 OK\x0b",
                                                          "\r\nHTTP/1.1 200 OK",
                                                          "HTTP/1.1 200 O\0K"s,
                                                          "HTTP/1.1\xa0"
                                                          "200 OK",
                                                          "\xef\xbb\xbfHTTP/1.1 200 OK"}) {
    ReadResponse read(line + "\r\nContent-Length: 0\r\n\r\n");
    EXPECT_FALSE(read.accepted()) << shown(line);
    EXPECT_NE(read.error, H1Error::none) << "waits for more: " << shown(line);
  }
}

TEST(H1Response, RefusesAmbiguousFraming) {
  for (const std::string& fields : std::vector<std::string>{"Content-Length: 5\r\nContent-Length: 6",
                                                            "Content-Length: 5\r\nContent-Length: 5",
                                                            "Content-Length: 5, 5",
                                                            "Content-Length: 5,6",
                                                            "Content-Length: ",
                                                            "Content-Length: +5",
                                                            "Content-Length: -5",
                                                            "Content-Length: 0x5",
                                                            "Content-Length: 5x",
                                                            "Content-Length: 5 5",
                                                            "Content-Length: 9223372036854775808",
                                                            "Content-Length: 99999999999999999999",
                                                            "Content-Length: five",
                                                            "Content-Length: 5.0",
                                                            "Content-Length: 5\r\nTransfer-Encoding: chunked",
                                                            "Transfer-Encoding: chunked\r\nContent-Length: 5",
                                                            "Transfer-Encoding: chunked\r\nContent-Length: 0",
                                                            "Transfer-Encoding: chunked, chunked",
                                                            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                                                            "Transfer-Encoding: gzip, chunked",
                                                            "Transfer-Encoding: gzip",
                                                            "Transfer-Encoding: identity",
                                                            "Transfer-Encoding: xchunked",
                                                            "Transfer-Encoding: chunked, identity",
                                                            "Transfer-Encoding:",
                                                            "Transfer-Encoding: chunked;q=1",
                                                            "Transfer-Encoding: \"chunked\"",
                                                            "Transfer-Encoding: \x0b"
                                                            "chunked",
                                                            "Transfer-Encoding : chunked",
                                                            "Content-Length : 5",
                                                            " Content-Length: 5",
                                                            "Content-Length: 5\r\n 6",
                                                            "Content-Length:\r\n 5",
                                                            "X: y\r\n\tz",
                                                            "Content-Length\r\n",
                                                            "no colon",
                                                            ": x",
                                                            "X Y: z",
                                                            "X\0: y"s,
                                                            "X: \0"s,
                                                            "X: a\rb",
                                                            "X: a\nContent-Length: 5",
                                                            "X: a\r\r\nY: b",
                                                            "Content_Length: 5",
                                                            "Transfer_Encoding: chunked",
                                                            "Connection: Content-Length\r\nContent-Length: 5",
                                                            "Connection: \"close\"",
                                                            "X: \x01",
                                                            "X: \x7f",
                                                            "X(): y",
                                                            "\xc3\xa4: b"}) {
    for (const Method method : {Method::get, Method::head}) {
      ReadResponse read("HTTP/1.1 200 OK\r\n" + fields + "\r\n\r\n", method);
      EXPECT_FALSE(read.accepted()) << shown(fields);
      EXPECT_NE(read.error, H1Error::none) << "waits for more: " << shown(fields);
    }
  }
  EXPECT_EQ(ReadResponse("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").error, H1Error::te_in_http10);
}

TEST(H1Response, RefusesBodiesWhereNoneCanBe) {
  for (const char* head : {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
                           "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
                           "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
                           "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
                           "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 5\r\n\r\n"}) {
    EXPECT_EQ(ReadResponse(head).error, H1Error::body_not_allowed) << head;
  }
  EXPECT_EQ(ReadResponse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::connect).error,
            H1Error::body_not_allowed);
}

TEST(H1Response, HoldsItsLimits) {
  H1Limits limits;
  limits.max_head = 256;
  limits.max_start_line = 64;
  limits.max_fields = 2;
  EXPECT_EQ(ReadResponse("HTTP/1.1 200 OK\r\nA: b\r\nB: b\r\nC: c\r\n\r\n", Method::get, limits).error,
            H1Error::too_many_fields);
  EXPECT_EQ(ReadResponse("HTTP/1.1 200 OK\r\nA: " + std::string(300, 'a'), Method::get, limits).error,
            H1Error::head_too_large);
  EXPECT_EQ(ReadResponse("HTTP/1.1 200 " + std::string(100, 'a'), Method::get, limits).error, H1Error::head_too_large);
  EXPECT_EQ(ReadResponse("HTTP/1.1 200 " + std::string(100, 'a') + "\r\n\r\n", Method::get, limits).error,
            H1Error::head_too_large);
}

}  // namespace
}  // namespace trellis::http
