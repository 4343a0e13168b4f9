#include "http/h1_chunked.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "h1_test_kit.h"

namespace trellis::http {
namespace {

using namespace std::string_literals;
using Step = ChunkedDecoder::Step;

struct Decoded {
  Step last = Step::need_more;
  H1Error error = H1Error::none;
  std::string data;
  std::string trailers;
  size_t used = 0;
  bool operator==(const Decoded&) const = default;
};

// Feeds `bytes` cut at each multiple of `step`, or once at `cut`.
Decoded decode(std::string_view bytes, size_t step, size_t cut = 0, ChunkedLimits limits = {}) {
  Arena arena;
  ChunkedDecoder decoder(arena, limits);
  Decoded out;
  size_t from = 0;
  while (from < bytes.size() && out.last != Step::end && out.last != Step::error) {
    size_t to = std::min(from + step, bytes.size());
    if (cut > 0) to = from == 0 ? std::min(cut, bytes.size()) : bytes.size();
    // A copy of exactly this piece, so that reading beyond it would be noticed.
    const std::string piece(bytes.substr(from, to - from));
    std::string_view rest = piece;
    do {
      size_t consumed = 0;
      out.last = decoder.next(rest, consumed);
      if (out.last == Step::data) out.data += decoder.data();
      rest.remove_prefix(consumed);
      out.used += consumed;
    } while (out.last == Step::data);
    EXPECT_TRUE(out.last != Step::need_more || rest.empty());
    from = to;
  }
  out.error = decoder.error();
  if (out.last == Step::error) out.used = 0;
  if (const Fields* trailers = decoder.trailers()) {
    for (const Field& field : *trailers) out.trailers += std::string(field.name) + "=" + std::string(field.value) + ";";
  }
  return out;
}

Decoded decode_all_ways(const std::string& bytes) {
  const Decoded whole = decode(bytes, bytes.size());
  EXPECT_EQ(decode(bytes, 1), whole) << shown(bytes);
  EXPECT_EQ(decode(bytes, 3), whole) << shown(bytes);
  for (size_t cut = 1; cut < bytes.size(); ++cut)
    EXPECT_EQ(decode(bytes, 0, cut), whole) << shown(bytes) << " at " << cut;
  return whole;
}

TEST(ChunkedDecoder, DecodesHoweverTheBytesCome) {
  struct Case {
    const char* bytes;
    const char* data;
  };
  for (const Case& c : std::vector<Case>{
           {"0\r\n\r\n", ""},
           {"5\r\nhello\r\n0\r\n\r\n", "hello"},
           {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"},
           {"0000000000000005\r\nhello\r\n0000\r\n\r\n", "hello"},
           {"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"},
           {"2\r\n\r\n\r\n0\r\n\r\n", "\r\n"},
           {"5;a\r\nhello\r\n0;b=c\r\n\r\n", "hello"},
           {"5;a=b;c;d=\"q; \\\"\t\xc3\xa4\"\r\nhello\r\n0\r\n\r\n", "hello"},
           {"5;a=\"\"\r\nhello\r\n0\r\n\r\n", "hello"},
       }) {
    const Decoded out = decode_all_ways(c.bytes);
    EXPECT_EQ(out.last, Step::end) << c.bytes << to_string(out.error);
    EXPECT_EQ(out.data, c.data);
    EXPECT_EQ(out.used, std::string_view(c.bytes).size());
  }
}

TEST(ChunkedDecoder, LeavesWhatBelongsToTheNextMessage) {
  const std::string body = "3\r\nabc\r\n0\r\nX: y\r\n\r\n";
  const Decoded out = decode_all_ways(body + "GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(out.last, Step::end);
  EXPECT_EQ(out.used, body.size());
}

TEST(ChunkedDecoder, DataIsAPartOfTheInput) {
  Arena arena;
  ChunkedDecoder decoder(arena);
  const std::string bytes = "5\r\nhello\r\n";
  size_t consumed = 0;
  ASSERT_EQ(decoder.next(bytes, consumed), Step::data);
  EXPECT_EQ(decoder.data().data(), bytes.data() + 3);
  EXPECT_EQ(consumed, 8U);
}

TEST(ChunkedDecoder, RefusesEveryOtherChunkLine) {
  for (const std::string& line : std::vector<std::string>{"\r\n",
                                                          " 5\r\n",
                                                          "\t5\r\n",
                                                          "5 \r\n",
                                                          "5\t\r\n",
                                                          "5 ;a\r\n",
                                                          "5; a\r\n",
                                                          "5;a \r\n",
                                                          "5;a =b\r\n",
                                                          "5;a= b\r\n",
                                                          "+5\r\n",
                                                          "-5\r\n",
                                                          "-1\r\n",
                                                          "0x5\r\n",
                                                          "0X5\r\n",
                                                          "x5\r\n",
                                                          "5x\r\n",
                                                          "5g\r\n",
                                                          "g\r\n",
                                                          "5h\r\n",
                                                          "$5\r\n",
                                                          "5,\r\n",
                                                          "5,5\r\n",
                                                          "5.\r\n",
                                                          "5_0\r\n",
                                                          "'5'\r\n",
                                                          "\"5\"\r\n",
                                                          "5\n",
                                                          "\n",
                                                          "5\r",
                                                          "5\r\r\n",
                                                          "5\r5",
                                                          "5\rx\n",
                                                          "5\n\r",
                                                          "5;\r\n",
                                                          "5;;\r\n",
                                                          "5;;a\r\n",
                                                          "5;a;\r\n",
                                                          "5;=b\r\n",
                                                          "5;a=\r\n",
                                                          "5;a=;b\r\n",
                                                          "5;a=\"b\r\n",
                                                          "5;a=\"b\"c\r\n",
                                                          "5;a=\"b\nc\"\r\n",
                                                          "5;a=\"b\rc\"\r\n",
                                                          "5;a=\"b\r\nc\"\r\n",
                                                          "5;a=\"\\\n\"\r\n",
                                                          "5;a=b=c\r\n",
                                                          "5;a\n",
                                                          "5;a=b\n",
                                                          "5;a\rb\r\n",
                                                          "5;a\x01\r\n",
                                                          "5;a\x7f\r\n",
                                                          "5;\xc3\xa4\r\n",
                                                          "5;a=\xc3\xa4\r\n",
                                                          "5;a=\"\x01\"\r\n",
                                                          "5\x0b\r\n",
                                                          "5\x0c\r\n",
                                                          "\x0b"
                                                          "5\r\n",
                                                          "5\xa0\r\n",
                                                          "\xa0"
                                                          "5\r\n",
                                                          "00000000000000005\r\n",
                                                          "10000000000000000\r\n",
                                                          "ffffffffffffffff\r\n",
                                                          "7fffffffffffffff\r\n",
                                                          "4000000000000001\r\n",
                                                          "fffffffffffffffffffff\r\n",
                                                          "8000000000000005\r\n",
                                                          "5\\\r\n",
                                                          "%35\r\n",
                                                          "\xef\xbc\x95\r\n",
                                                          "5{\r\n",
                                                          "5:\r\n",
                                                          "5=a\r\n",
                                                          "5\"a\"\r\n",
                                                          "\0"s + "5\r\n",
                                                          "5\0\r\n"s,
                                                          "5;a\0\r\n"s,
                                                          "5;a=\"\0\"\r\n"s}) {
    const Decoded out = decode_all_ways(line + "hello\r\n0\r\n\r\n");
    EXPECT_EQ(out.last, Step::error) << shown(line);
    EXPECT_NE(out.error, H1Error::none);
    EXPECT_EQ(out.data, "") << shown(line);
  }
}

TEST(ChunkedDecoder, RefusesAnythingButCrlfAfterTheData) {
  for (const std::string& tail : std::vector<std::string>{"0\r\n\r\n", "\n0\r\n\r\n", "\r0\r\n\r\n", " \r\n0\r\n\r\n",
                                                          "x\r\n0\r\n\r\n", "\r\r\n0\r\n\r\n", "\n\r0\r\n\r\n",
                                                          "\0\r\n0\r\n\r\n"s, "helloX\r\n", "\x0b\r\n0\r\n\r\n"}) {
    const Decoded out = decode_all_ways("5\r\nhello" + tail);
    EXPECT_EQ(out.last, Step::error) << shown(tail);
    EXPECT_EQ(out.data, "hello");
  }
}

TEST(ChunkedDecoder, WaitsForTheLastCrlf) {
  for (const char* bytes : {"", "5", "5\r", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r", "5\r\nhello\r\n", "0",
                            "0\r", "0\r\n", "0\r\n\r", "0\r\nX: y\r\n", "0\r\nX: y\r\n\r"}) {
    EXPECT_EQ(decode_all_ways(bytes).last, Step::need_more) << shown(bytes);
  }
}

TEST(ChunkedDecoder, KeepsTrailersThatMayBeThere) {
  const Decoded out = decode_all_ways(
      "0\r\nX-Checksum:  abc \r\nServer-Timing: a;dur=1\r\nETag: \"x\"\r\ngrpc-status: 0\r\nContent-Digest: x\r\n\r\n");
  EXPECT_EQ(out.last, Step::end);
  EXPECT_EQ(out.trailers, "X-Checksum=abc;Server-Timing=a;dur=1;ETag=\"x\";grpc-status=0;Content-Digest=x;");
}

TEST(ChunkedDecoder, DropsTrailersThatMustNotBeThere) {
  const Decoded out = decode_all_ways(
      "0\r\nAuthorization: x\r\nCookie: a=b\r\nSet-Cookie: a=b\r\nContent-Type: x\r\nContent-Encoding: "
      "gzip\r\nContent-Foo: x\r\nCache-Control: no-store\r\nIf-Match: x\r\nX-Forwarded-For: x\r\nX-Real-IP: y\r\nX-Ok: "
      "1\r\n\r\n");
  EXPECT_EQ(out.last, Step::end);
  EXPECT_EQ(out.trailers, "X-Ok=1;");
  EXPECT_EQ(decode_all_ways("0\r\nCookie: a=b\r\n\r\n").trailers, "");
}

TEST(ChunkedDecoder, RefusesTrailersThatFrameRouteOrAreMalformed) {
  for (const std::string& lines : std::vector<std::string>{"Content-Length: 5\r\n",
                                                           "Transfer-Encoding: chunked\r\n",
                                                           "Host: a\r\n",
                                                           "Connection: close\r\n",
                                                           "Upgrade: x\r\n",
                                                           "TE: trailers\r\n",
                                                           "Trailer: X\r\n",
                                                           "Expect: 100-continue\r\n",
                                                           "Keep-Alive: x\r\n",
                                                           "content-length: 5\r\nX: y\r\n",
                                                           "X: y\r\nHost: b\r\n",
                                                           "Content_Length: 5\r\n",
                                                           "X : y\r\n",
                                                           " X: y\r\n",
                                                           "\tX: y\r\n",
                                                           "X: y\r\n z\r\n",
                                                           "X\r\n",
                                                           ": y\r\n",
                                                           "X: y\n",
                                                           "\nX: y\r\n",
                                                           "X: a\rb\r\n",
                                                           "X: y\r\r\n",
                                                           "X: \x01\r\n",
                                                           "X: \0\r\n"s,
                                                           "X\0: y\r\n"s,
                                                           "X Y: z\r\n",
                                                           "GET / HTTP/1.1\r\nX: y\r\n",
                                                           "\n",
                                                           "\r\r\n",
                                                           "X: y\r\n\n"}) {
    const Decoded out = decode_all_ways("0\r\n" + lines + "\r\n");
    EXPECT_EQ(out.last, Step::error) << shown(lines);
    EXPECT_EQ(out.trailers, "");
  }
}

TEST(ChunkedDecoder, HoldsItsLimits) {
  const std::string end = "\r\nhello\r\n0\r\n\r\n";
  EXPECT_EQ(decode_all_ways("5;" + std::string(253, 'a') + end).last, Step::end);  // 255 bytes and CR: 256
  EXPECT_EQ(decode_all_ways("5;" + std::string(254, 'a') + end).error, H1Error::bad_chunk_extension);
  EXPECT_EQ(decode_all_ways("5;" + std::string(1000, 'a')).error, H1Error::bad_chunk_extension);

  std::string flood;
  for (int i = 0; i < 1000; ++i) flood += "1;" + std::string(200, 'a') + "\r\nx\r\n";
  EXPECT_EQ(decode(flood, 777).error, H1Error::chunk_overhead);
  std::string small;
  for (int i = 0; i < 100'000; ++i) small += "1\r\nx\r\n";
  EXPECT_EQ(decode(small + "0\r\n\r\n", 777).last, Step::end);
  std::string large;
  for (int i = 0; i < 1000; ++i) large += "80;" + std::string(200, 'a') + "\r\n" + std::string(128, 'x') + "\r\n";
  EXPECT_EQ(decode(large + "0\r\n\r\n", 777).last, Step::end);

  std::string fields = "0\r\n";
  for (int i = 0; i < 32; ++i) fields += "X: y\r\n";
  EXPECT_EQ(decode(fields + "\r\n", 7).last, Step::end);
  EXPECT_EQ(decode(fields + "X: y\r\n\r\n", 7).error, H1Error::trailers_too_large);
  EXPECT_EQ(decode("0\r\nX: " + std::string(9000, 'a'), 100).error, H1Error::trailers_too_large);
  EXPECT_EQ(decode("0\r\nX: " + std::string(8000, 'a') + "\r\n\r\n", 100).last, Step::end);
}

TEST(ChunkedDecoder, StaysWrongAndStaysDone) {
  Arena arena;
  ChunkedDecoder wrong(arena);
  size_t consumed = 0;
  EXPECT_EQ(wrong.next("x", consumed), Step::error);
  EXPECT_EQ(wrong.next("5\r\n", consumed), Step::error);
  EXPECT_EQ(wrong.next("", consumed), Step::error);
  ChunkedDecoder done(arena);
  EXPECT_EQ(done.next("0\r\n\r\nrest", consumed), Step::end);
  EXPECT_EQ(consumed, 5U);
  EXPECT_EQ(done.next("rest", consumed), Step::end);
  EXPECT_EQ(consumed, 0U);
  EXPECT_EQ(done.next("", consumed), Step::end);
}

}  // namespace
}  // namespace trellis::http
