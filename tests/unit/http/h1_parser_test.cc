#include "http/h1_parser.h"

#include <gtest/gtest.h>

#include <cctype>
#include <string>
#include <vector>

#include "h1_test_kit.h"

namespace trellis::http {
namespace {

using namespace std::string_literals;

TEST(H1Parser, ReadsAnOrdinaryRequest) {
  ReadRequest read(
      "GET /articles/1?page=2 HTTP/1.1\r\nHost: Example.COM:8080\r\nUser-Agent: probe/1\r\nAccept:*/*\r\nX-Odd:  \t "
      "spaced out \t\r\n\r\n");
  ASSERT_EQ(read.error, H1Error::none);
  const Request& request = read.request;
  EXPECT_EQ(request.method, Method::get);
  EXPECT_EQ(request.method_text, "GET");
  EXPECT_EQ(request.version_minor, 1);
  EXPECT_EQ(request.target, "/articles/1?page=2");
  EXPECT_EQ(request.path, "/articles/1");
  EXPECT_EQ(request.query, "page=2");
  EXPECT_EQ(request.authority, "example.com:8080");
  EXPECT_EQ(request.fields.value(FieldId::user_agent), "probe/1");
  EXPECT_EQ(request.fields.value(FieldId::accept), "*/*");
  EXPECT_EQ(request.fields.find("x-odd"), "spaced out");
  EXPECT_EQ(request.fields.size(), 4U);
  EXPECT_EQ(read.framing.body, BodyKind::none);
  EXPECT_TRUE(read.framing.keep_alive);
  EXPECT_FALSE(read.framing.expect_continue);
}

TEST(H1Parser, CopiesNothingWhenNothingChanges) {
  ReadRequest read("GET /a/b.html?x HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(read.accepted());
  const auto inside = [&](std::string_view part) {
    return part.data() >= read.text.data() && part.data() + part.size() <= read.text.data() + read.text.size();
  };
  EXPECT_TRUE(inside(read.request.path));
  EXPECT_TRUE(inside(read.request.query));
  EXPECT_TRUE(inside(read.request.authority));
  EXPECT_TRUE(inside(read.request.fields.value(FieldId::host)));
}

TEST(H1Parser, TakesFramingOutOfTheFields) {
  ReadRequest length("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0042\r\n\r\n");
  ASSERT_TRUE(length.accepted());
  EXPECT_EQ(length.framing.body, BodyKind::length);
  EXPECT_EQ(length.framing.length, 42U);
  EXPECT_FALSE(length.request.fields.has(FieldId::content_length));

  ReadRequest chunked("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED \t\r\n\r\n");
  ASSERT_TRUE(chunked.accepted());
  EXPECT_EQ(chunked.framing.body, BodyKind::chunked);
  EXPECT_FALSE(chunked.request.fields.has(FieldId::transfer_encoding));

  ReadRequest zero("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  ASSERT_TRUE(zero.accepted());
  EXPECT_EQ(zero.framing.body, BodyKind::length);
  EXPECT_EQ(zero.framing.length, 0U);

  ReadRequest largest("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n");
  ASSERT_TRUE(largest.accepted());
  EXPECT_EQ(largest.framing.length, 9223372036854775807U);
}

TEST(H1Parser, ReadsWhatTheClientWishesForItsConnection) {
  struct Case {
    const char* version;
    const char* fields;
    bool keep_alive;
  };
  for (const Case& c : std::vector<Case>{
           {"1.1", "", true},
           {"1.1", "Connection: close\r\n", false},
           {"1.1", "Connection: Close\r\n", false},
           {"1.1", "Connection: keep-alive\r\n", true},
           {"1.1", "Connection: keep-alive, close\r\n", false},
           {"1.1", "Connection: close\r\nConnection: keep-alive\r\n", false},
           {"1.1", "Connection: foo,, ,close\r\n", false},
           {"1.1", "Connection:\r\n", true},
           {"1.0", "", false},
           {"1.0", "Connection: keep-alive\r\n", true},
           {"1.0", "Connection: Keep-Alive, close\r\n", false},
       }) {
    ReadRequest read(std::string("GET / HTTP/") + c.version + "\r\nHost: a\r\n" + c.fields + "\r\n");
    ASSERT_TRUE(read.accepted()) << c.fields;
    EXPECT_EQ(read.framing.keep_alive, c.keep_alive) << c.version << " " << c.fields;
  }
}

TEST(H1Parser, ReadsExpectUpgradeAndTe) {
  ReadRequest expect("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n");
  ASSERT_TRUE(expect.accepted());
  EXPECT_TRUE(expect.framing.expect_continue);
  ReadRequest no_body("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(no_body.accepted());
  EXPECT_FALSE(no_body.framing.expect_continue);
  ReadRequest old("POST / HTTP/1.0\r\nHost: a\r\nExpect: something\r\nContent-Length: 5\r\n\r\n");
  ASSERT_TRUE(old.accepted());
  EXPECT_FALSE(old.framing.expect_continue);

  const auto upgrade = [](const std::string& fields, const char* version = "1.1") {
    ReadRequest read(std::string("GET / HTTP/") + version + "\r\nHost: a\r\n" + fields + "\r\n");
    EXPECT_TRUE(read.accepted()) << fields;
    return read.framing.upgrade_requested;
  };
  EXPECT_TRUE(upgrade("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
  EXPECT_TRUE(upgrade("Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n"));
  EXPECT_FALSE(upgrade("Upgrade: websocket\r\n"));
  EXPECT_FALSE(upgrade("Connection: Upgrade\r\n"));
  EXPECT_FALSE(upgrade("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"));
  for (const char* http : {"h2c, websocket", "websocket, H2C", "h2", "HTTP/2.0", "websocket,http/1.1", "TLS/1.0"})
    EXPECT_FALSE(upgrade("Connection: Upgrade\r\nUpgrade: " + std::string(http) + "\r\n")) << http;
  EXPECT_TRUE(upgrade("Connection: Upgrade\r\nUpgrade: tcp\r\n"));
  EXPECT_FALSE(upgrade("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n"));
  EXPECT_FALSE(upgrade("Connection: Upgrade\r\nUpgrade: websocket\r\n", "1.0"));

  ReadRequest te("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\nConnection: TE\r\n\r\n");
  ASSERT_TRUE(te.accepted());
  EXPECT_TRUE(te.framing.te_trailers);
}

TEST(H1Parser, ReadsEachFormOfATarget) {
  struct Case {
    const char* line;
    const char* host;
    const char* scheme;
    const char* authority;
    const char* path;
    const char* query;
  };
  for (const Case& c : std::vector<Case>{
           {"GET /", "a", "", "a", "/", ""},
           {"GET //double//slash", "a", "", "a", "//double//slash", ""},
           {"GET /a?b?c=/d", "a", "", "a", "/a", "b?c=/d"},
           {"GET /?", "a", "", "a", "/", ""},
           {"GET http://example.com", "example.com", "http", "example.com", "/", ""},
           {"GET HTTP://EXAMPLE.com/x?y", "example.COM", "http", "example.com", "/x", "y"},
           {"GET https://example.com:443/x", "example.com", "https", "example.com:443", "/x", ""},
           {"GET http://example.com?q", "example.com", "http", "example.com", "/", "q"},
           {"GET http://[2001:DB8::1]:81/a/../b", "[2001:db8::1]:81", "http", "[2001:db8::1]:81", "/b", ""},
           {"OPTIONS *", "a", "", "a", "*", ""},
           {"OPTIONS http://example.com", "example.com", "http", "example.com", "*", ""},
           {"OPTIONS http://example.com/", "example.com", "http", "example.com", "/", ""},
           {"OPTIONS /x", "a", "", "a", "/x", ""},
           {"CONNECT example.com:443", "example.com:443", "", "example.com:443", "", ""},
           {"CONNECT Example.com:443", "example.com", "", "example.com:443", "", ""},
           {"CONNECT [::1]:443", "[::1]:443", "", "[::1]:443", "", ""},
       }) {
    ReadRequest read(std::string(c.line) + " HTTP/1.1\r\nHost: " + c.host + "\r\n\r\n");
    ASSERT_EQ(to_string(read.error), "none") << c.line;
    EXPECT_EQ(read.request.scheme, c.scheme) << c.line;
    EXPECT_EQ(read.request.authority, c.authority) << c.line;
    EXPECT_EQ(read.request.path, c.path) << c.line;
    EXPECT_EQ(read.request.query, c.query) << c.line;
  }
}

TEST(H1Parser, TakesHttp10WithoutHost) {
  ReadRequest read("GET / HTTP/1.0\r\n\r\n");
  ASSERT_TRUE(read.accepted());
  EXPECT_EQ(read.request.version_minor, 0);
  EXPECT_EQ(read.request.authority, "");
}

TEST(H1Parser, TakesOtherMethodsByName) {
  ReadRequest read("PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(read.accepted());
  EXPECT_EQ(read.request.method, Method::other);
  EXPECT_EQ(read.request.method_text, "PROPFIND");
}

TEST(H1Parser, IgnoresOneEmptyLineBeforeARequest) {
  ReadRequest one("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(one.accepted());
  EXPECT_EQ(one.size, one.text.size());
  ReadRequest two("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(two.error, H1Error::bad_request_line);
}

TEST(H1Parser, FindsTheFirstOfPipelinedHeads) {
  const std::string first = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
  ReadRequest read(first + "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(read.accepted());
  EXPECT_EQ(read.size, first.size());
  EXPECT_EQ(read.request.path, "/1");
}

TEST(H1Parser, HoldsItsLimits) {
  H1Limits limits;
  limits.max_start_line = 64;
  limits.max_head = 512;
  limits.max_fields = 4;
  const std::string tail = " HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string exact = "GET /" + std::string(64 - 5 - 9, 'a');  // with " HTTP/1.1": 64 bytes
  EXPECT_EQ(ReadRequest(exact + tail, limits).error, H1Error::none);
  EXPECT_EQ(ReadRequest(exact + "a" + tail, limits).error, H1Error::target_too_long);
  EXPECT_EQ(ReadRequest("GET /" + std::string(100, 'a'), limits).error, H1Error::target_too_long);
  EXPECT_EQ(ReadRequest("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(600, 'a'), limits).error,
            H1Error::head_too_large);
  EXPECT_EQ(ReadRequest("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(600, 'a') + "\r\n\r\n", limits).error,
            H1Error::head_too_large);
  EXPECT_EQ(ReadRequest("GET / HTTP/1.1\r\nHost: a\r\nB: b\r\nC: c\r\nD: d\r\n\r\n", limits).error, H1Error::none);
  EXPECT_EQ(ReadRequest("GET / HTTP/1.1\r\nHost: a\r\nB: b\r\nC: c\r\nD: d\r\nE: e\r\n\r\n", limits).error,
            H1Error::too_many_fields);
  EXPECT_EQ(ReadRequest(std::string(33, 'A') + " / HTTP/1.1\r\nHost: a\r\n\r\n").error, H1Error::bad_method);
  EXPECT_EQ(ReadRequest(std::string(32, 'A') + " / HTTP/1.1\r\nHost: a\r\n\r\n").error, H1Error::none);
}

TEST(H1Parser, AnswersFaultsWithTheirStatus) {
  EXPECT_EQ(status_for(H1Error::target_too_long), 414);
  EXPECT_EQ(status_for(H1Error::head_too_large), 431);
  EXPECT_EQ(status_for(H1Error::too_many_fields), 431);
  EXPECT_EQ(status_for(H1Error::unknown_transfer_coding), 501);
  EXPECT_EQ(status_for(H1Error::unsupported_version), 505);
  EXPECT_EQ(status_for(H1Error::expectation_failed), 417);
  EXPECT_EQ(status_for(H1Error::bare_lf), 400);
  const Error error = error_for(H1Error::bad_chunk_size, Side::upstream);
  EXPECT_EQ(error.code(), Code::data_loss);
  EXPECT_EQ(error.side(), Side::upstream);
  EXPECT_EQ(error.what(), "bad_chunk_size");
}

TEST(H1Parser, KnowsEveryFieldNameInAnyCase) {
  // The parser's own lookup of names must agree with field_id(), near the end of a head (short value) and far from it.
  std::vector<std::string> known = {
#define X(id, name) name,
      TRELLIS_HTTP_FIELDS(X)
#undef X
  };
  for (const std::string& name : known) {
    if (field_id(name) == FieldId::content_length || field_id(name) == FieldId::transfer_encoding) continue;
    std::string upper = name;
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    std::string other = name;
    other.back() = 'q';
    for (const std::string& spelling : {name, upper, other, name + "x", "x" + name}) {
      for (const std::string& value : {""s, std::string(100, 'v')}) {
        Arena arena;
        Fields fields(arena);
        const std::string line = spelling + ":" + value + "\r\n";
        ASSERT_EQ(parse_field_lines(line, 1, fields), H1Error::none) << spelling;
        EXPECT_EQ(fields.begin()->id, field_id(spelling)) << spelling;
        EXPECT_EQ(fields.begin()->name, spelling);
        EXPECT_EQ(fields.begin()->value, value);
      }
    }
  }
}

TEST(HeadScanner, FindsTheEndHoweverTheBytesCome) {
  const std::string head =
      "\r\nPOST /a/long/enough/path HTTP/1.1\r\nHost: example.com\r\nX-Long: 0123456789abcdef0123456789\r\n\r\n";
  const std::string bytes = head + "body\r\n\r\n";
  for (size_t step = 1; step <= bytes.size(); ++step) {
    HeadScanner scanner;
    std::optional<size_t> end;
    for (size_t size = 0; !end && size < bytes.size();) {
      size = std::min(size + step, bytes.size());
      end = scanner.find_end(std::string_view(bytes).substr(0, size));
      ASSERT_EQ(scanner.error(), H1Error::none) << step << " " << size;
      if (size < head.size()) {
        ASSERT_FALSE(end);
      }
    }
    ASSERT_TRUE(end);
    EXPECT_EQ(*end, head.size());
  }
}

TEST(HeadScanner, ReportsFaultsBeforeTheHeadIsComplete) {
  struct Case {
    const char* bytes;
    H1Error error;
  };
  for (const Case& c : std::vector<Case>{
           {"GET / HTTP/1.1\n", H1Error::bare_lf},
           {"GET / HTTP/1.1\r\nHost: a\n", H1Error::bare_lf},
           {"GET / HTTP/1.1\rH", H1Error::bare_cr},
           {"GET / HTTP/1.1\r\nA: b\x01", H1Error::bad_field_value},
           {"GET / HTTP/1.1\r\nA: b\r\n\rX", H1Error::bare_cr},
           {"\x16\x03\x01", H1Error::bad_request_line},
           {" GET", H1Error::bad_request_line},
           {"(", H1Error::bad_request_line},
           {"GET\t", H1Error::bad_request_line},
           {"GET /\r\n", H1Error::bad_request_line},
           {"GET / HTTP/1.1 \r\n", H1Error::bad_request_line},
           {"GET / HTTP/3.0\r\n", H1Error::unsupported_version},
           {"GET / http/1.1\r\n", H1Error::bad_version},
           {"PRI * HTTP/2.0\r\n", H1Error::unsupported_version},
       }) {
    HeadScanner scanner;
    EXPECT_FALSE(scanner.find_end(c.bytes));
    EXPECT_EQ(to_string(scanner.error()), to_string(c.error)) << shown(c.bytes);
  }
  HeadScanner nul;
  EXPECT_FALSE(nul.find_end(std::string_view("GET /\0", 6)));
  EXPECT_EQ(nul.error(), H1Error::nul_byte);
  for (const char* bytes : {"X", "HTTP/2", "http", "\r", " HTTP/1.1"}) {
    HeadScanner scanner(HeadKind::response);
    EXPECT_FALSE(scanner.find_end(bytes));
    EXPECT_EQ(scanner.error(), H1Error::bad_status_line) << bytes;
  }
}

TEST(HeadScanner, WaitsForWhatMayStillBecomeAHead) {
  for (const char* bytes : {"", "\r", "\r\n", "\r\nG", "G", "GET ", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n",
                            "GET / HTTP/1.1\r\n\r", "GET / HTTP/1.1\r\nHost"}) {
    HeadScanner scanner;
    EXPECT_FALSE(scanner.find_end(bytes));
    EXPECT_EQ(scanner.error(), H1Error::none) << shown(bytes);
  }
}

TEST(HeadScanner, StartsAgainAfterReset) {
  HeadScanner scanner;
  EXPECT_FALSE(scanner.find_end("x\n"));
  scanner.reset();
  EXPECT_EQ(scanner.error(), H1Error::none);
  EXPECT_TRUE(scanner.find_end("GET / HTTP/1.1\r\n\r\n"));
}

TEST(Authority, AcceptsHostsAndRefusesTheRest) {
  for (const char* good : {"a", "example.com", "example.com.", "EXAMPLE.com:80", "1.2.3.4:65535", "[::1]",
                           "[2001:db8::1]:8080", "[::ffff:1.2.3.4]", "my_host", "a-b~c", "xn--bcher-kva.example"}) {
    EXPECT_TRUE(valid_authority(good)) << good;
  }
  for (const char* bad : {"",
                          ":80",
                          "a:",
                          "a:0",
                          "a:65536",
                          "a:99999999999",
                          "a:8o",
                          "a:+1",
                          "a:-1",
                          "a:80:80",
                          "a b",
                          "a,b",
                          "a/b",
                          "a?b",
                          "a#b",
                          "u@a",
                          "u:p@a",
                          "[",
                          "[]",
                          "[::1",
                          "::1",
                          "[::1]x",
                          "[::1]:",
                          "[1.2.3.4]",
                          "[fe80::1%25eth0]",
                          "[v1.x]",
                          "[::g]",
                          "a%41",
                          ".a",
                          "a..b",
                          ".",
                          "a\\b",
                          "a\"b",
                          "a;b",
                          "a=b",
                          "(a)",
                          "\xc3\xa4",
                          "a\tb",
                          "a\x7f",
                          "a[",
                          "a]"}) {
    EXPECT_FALSE(valid_authority(bad)) << bad;
  }
  EXPECT_FALSE(valid_authority(std::string_view("a\0b", 3)));
  EXPECT_FALSE(valid_authority(std::string_view("[::1\0]", 6)));
  EXPECT_TRUE(valid_authority(std::string(255, 'a')));
  EXPECT_FALSE(valid_authority(std::string(256, 'a')));
}

}  // namespace
}  // namespace trellis::http
