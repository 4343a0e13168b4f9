// Requests that two servers could read in two ways. Each must be refused, with the status that belongs to it; beside
// them what looks alike and is sound must pass.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "h1_test_kit.h"

namespace trellis::http {
namespace {

using namespace std::string_literals;

std::string post(const std::string& fields) { return "POST /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"; }

void expect_refused(const std::string& bytes, int status = 400) {
  ReadRequest read(bytes);
  ASSERT_FALSE(read.accepted()) << shown(bytes);
  ASSERT_NE(read.error, H1Error::none) << "waits for more: " << shown(bytes);
  EXPECT_EQ(status_for(read.error), status) << to_string(read.error) << ": " << shown(bytes);
}

void expect_accepted(const std::string& bytes) {
  ReadRequest read(bytes);
  EXPECT_TRUE(read.accepted()) << to_string(read.error) << ": " << shown(bytes);
}

TEST(H1Attack, RefusesLengthBesideTransferEncoding) {
  for (const char* fields : {
           "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
           "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
           "content-length: 4\r\nTRANSFER-ENCODING: chunked\r\n",
           "Content-Length: 4\r\nTransfer-Encoding: identity\r\n",
           "Content-Length: 4\r\nTransfer-Encoding:\r\n",
           "Content-Length: 4\r\nX: y\r\nTransfer-Encoding: chunked\r\nX: z\r\n",
           "Transfer-Encoding: gzip, chunked\r\nContent-Length: 4\r\n",
       }) {
    expect_refused(post(fields));
  }
}

TEST(H1Attack, RefusesEveryOtherContentLength) {
  for (const std::string& value : std::vector<std::string>{"",
                                                           " ",
                                                           "\t",
                                                           "+5",
                                                           "-5",
                                                           "-0",
                                                           "+0",
                                                           "5 5",
                                                           "5, 5",
                                                           "5,5",
                                                           "5,",
                                                           ",5",
                                                           "5,6",
                                                           "5;5",
                                                           "0x5",
                                                           "0x",
                                                           "5a",
                                                           "a5",
                                                           "5.0",
                                                           "5e1",
                                                           "1_0",
                                                           "'5'",
                                                           "\"5\"",
                                                           "(5)",
                                                           "5\x0b",
                                                           "\x0b"
                                                           "5",
                                                           "5\x0c",
                                                           "\x0c"
                                                           "5",
                                                           "5\xa0",
                                                           "\xa0"
                                                           "5",
                                                           "\xc2\xa0"
                                                           "5",
                                                           "5\xc2\x85",
                                                           "\xef\xbc\x95",
                                                           "9223372036854775808",
                                                           "18446744073709551616",
                                                           "18446744073709551621",
                                                           "99999999999999999999",
                                                           "00000000000000000005",
                                                           "5 , 5",
                                                           "5\t5",
                                                           "NaN",
                                                           "inf",
                                                           "5\\r",
                                                           "5%0d",
                                                           "5\x7f",
                                                           "5\x08",
                                                           "5 chunked",
                                                           "chunked",
                                                           "0b1",
                                                           "0o5",
                                                           "5L",
                                                           "5 ;"}) {
    expect_refused(post("Content-Length: " + value + "\r\n"));
  }
  expect_refused(post("Content-Length: 5\0\r\n"s));
  expect_refused(post("Content-Length: \0"s + "5\r\n"));
  for (const char* value : {"0", "5", " 5", "5 ", "\t5\t", "  5  ", "05", "0000000000000000005"}) {
    expect_accepted(post("Content-Length:" + std::string(value) + "\r\n"));
  }
}

TEST(H1Attack, RefusesRepeatedContentLength) {
  for (const char* fields : {
           "Content-Length: 5\r\nContent-Length: 6\r\n",
           "Content-Length: 5\r\nContent-Length: 5\r\n",
           "Content-Length: 0\r\nContent-Length: 5\r\n",
           "Content-Length: 5\r\nContent-Length:\r\n",
           "Content-Length:\r\nContent-Length: 5\r\n",
           "Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n",
           "CONTENT-LENGTH: 5\r\nContent-Length: 05\r\n",
       }) {
    expect_refused(post(fields));
  }
}

TEST(H1Attack, RefusesEveryOtherTransferEncoding) {
  for (const std::string& value : std::vector<std::string>{"",
                                                           " ",
                                                           ",",
                                                           "chunked,",
                                                           ",chunked",
                                                           ", chunked",
                                                           "chunked, ",
                                                           "chunked,chunked",
                                                           "chunked, chunked",
                                                           "chunked, identity",
                                                           "chunked, gzip",
                                                           "identity",
                                                           "xchunked",
                                                           "chunkedx",
                                                           "chunke",
                                                           "chunked;a=b",
                                                           "chunked ;a",
                                                           "chunked; q=1",
                                                           "\"chunked\"",
                                                           "'chunked'",
                                                           "chun ked",
                                                           "chunked chunked",
                                                           "chunked\x0b",
                                                           "\x0b"
                                                           "chunked",
                                                           "\x0c"
                                                           "chunked",
                                                           "chunked\x0c",
                                                           "\x01"
                                                           "chunked",
                                                           "\x7f"
                                                           "chunked",
                                                           "\xa0"
                                                           "chunked",
                                                           "chunked\xa0",
                                                           "\xff"
                                                           "chunked",
                                                           "\xc2\xa0"
                                                           "chunked",
                                                           "ch\xc3\xbcnked",
                                                           "chunked\x08",
                                                           "chunked:",
                                                           ":chunked",
                                                           "=chunked",
                                                           "chunked=",
                                                           "gzip",
                                                           "cow",
                                                           "compress, deflate",
                                                           "chunked,,gzip",
                                                           "gzip,,chunked",
                                                           "gzip chunked",
                                                           "gzip; chunked",
                                                           "chunked/1",
                                                           "[chunked]",
                                                           "{chunked}",
                                                           "chunked\\",
                                                           "x, chunked, chunked",
                                                           "chunked\t,identity",
                                                           "null",
                                                           "0"}) {
    expect_refused(post("Transfer-Encoding: " + value + "\r\n"));
  }
  expect_refused(post("Transfer-Encoding: chunked\0\r\n"s));
  expect_refused(post("Transfer-Encoding: \0chunked\r\n"s));
  for (const char* value :
       {"gzip, chunked", "gzip,chunked", "deflate, gzip , CHUNKED", "identity, chunked", "cow, chunked"}) {
    expect_refused(post("Transfer-Encoding: " + std::string(value) + "\r\n"), 501);
  }
  for (const char* value : {"chunked", " chunked", "Chunked", "CHUNKED\t", "\t chunked "}) {
    expect_accepted(post("Transfer-Encoding:" + std::string(value) + "\r\n"));
  }
}

TEST(H1Attack, RefusesRepeatedTransferEncoding) {
  for (const char* fields : {
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
           "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding: cow\r\ntransfer-encoding: chunked\r\n",
           "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n",
       }) {
    expect_refused(post(fields));
  }
}

TEST(H1Attack, RefusesTransferEncodingInHttp10) {
  expect_refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  expect_refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n");
  expect_refused("POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: identity\r\n\r\n");
}

TEST(H1Attack, RefusesNamesThatOnlyLookLikeFraming) {
  for (const std::string& name : std::vector<std::string>{"Content-Length", "Transfer-Encoding", "Host", "X-Any"}) {
    const std::string value = name == "Content-Length" ? "5" : name == "Host" ? "b" : "chunked";
    for (const std::string& field : std::vector<std::string>{name + " : " + value,
                                                             name + "\t: " + value,
                                                             name + " \t : " + value,
                                                             " " + name + ": " + value,
                                                             "\t" + name + ": " + value,
                                                             name + "\x0b: " + value,
                                                             name + "\x0c: " + value,
                                                             "\x0b" + name + ": " + value,
                                                             "\x0c" + name + ": " + value,
                                                             name + "\x01: " + value,
                                                             name + "\x7f: " + value,
                                                             name + "\xa0: " + value,
                                                             "\xa0" + name + ": " + value,
                                                             name + "\xc2\xa0: " + value,
                                                             "\xef\xbb\xbf" + name + ": " + value,
                                                             name + "\x08: " + value,
                                                             name + "\0: "s + value,
                                                             "\0"s + name + ": " + value,
                                                             name + "\r: " + value,
                                                             name + "\n: " + value,
                                                             "\r" + name + ": " + value,
                                                             "\n" + name + ": " + value,
                                                             name + "\r\n: " + value,
                                                             name + "\r\n : " + value,
                                                             name + "(x): " + value,
                                                             name + ";: " + value,
                                                             name + ",: " + value,
                                                             name + "=: " + value,
                                                             "\"" + name + "\": " + value,
                                                             name + "/: " + value,
                                                             name + "@: " + value,
                                                             name + "[]: " + value,
                                                             name + "{}: " + value,
                                                             name + "\\: " + value,
                                                             name + "?: " + value,
                                                             name + "<: " + value,
                                                             "X: y\n" + name + ": " + value,
                                                             "X: y\r" + name + ": " + value,
                                                             "X: y\r\r\n" + name + ": " + value,
                                                             "X: y\r\n\r" + name + ": " + value,
                                                             "X: y\0\r\n"s + name + ": " + value,
                                                             "X: y\n\r" + name + ": " + value,
                                                             "X: y\r\n " + name + ": " + value,
                                                             "X: y\r\n\t" + name + ": " + value,
                                                             "X:\r\n " + name + ": " + value,
                                                             name + ":\r\n " + value,
                                                             name + ":\r\n\t" + value,
                                                             name + ": " + value + "\r\n ",
                                                             name + ": " + value + "\r\n\t",
                                                             name + ":\n" + value,
                                                             name + ":\r" + value,
                                                             name + ": " + value + "\r",
                                                             name + ": " + value + "\n",
                                                             name + " " + value,
                                                             name,
                                                             ": " + value,
                                                             ":",
                                                             " ",
                                                             "\t",
                                                             name + "\xc4\xb0: " + value}) {
      expect_refused(post(field + "\r\n"));
      // The same as the first field line.
      expect_refused("POST /x HTTP/1.1\r\n" + field + "\r\nHost: a\r\n\r\n");
    }
  }
}

TEST(H1Attack, RefusesUnderscoreTwinsOfDangerousFields) {
  for (const char* name : {"Content_Length", "content_length", "CONTENT_LENGTH", "Transfer_Encoding",
                           "transfer_encoding", "X_Forwarded_For", "X-Forwarded_For", "X_Forwarded_Proto",
                           "X_FORWARDED_HOST", "x_forwarded_port", "X_Real_IP", "Proxy_Connection", "X_Request_Id"}) {
    expect_refused(post(std::string(name) + ": 5\r\n"));
  }
  for (const char* name : {"my_header", "Content_Type_Hint", "_", "a_b-c", "X_Forwarded"})
    expect_accepted(post(std::string(name) + ": 5\r\n"));
}

TEST(H1Attack, PassesNamesThatAreOtherTokens) {
  for (const char* name : {"Content-Length-", "-Content-Length", "Content--Length", "ContentLength", "X-Content-Length",
                           "Transfer-Encoding1", "Hosts", "!#$%&'*+-.^`|~"}) {
    ReadRequest read(post(std::string(name) + ": chunked\r\n"));
    ASSERT_TRUE(read.accepted()) << name;
    EXPECT_EQ(read.framing.body, BodyKind::none) << name;
  }
}

TEST(H1Attack, RefusesControlBytesInValues) {
  for (int c = 0; c < 0x20; ++c) {
    if (c == '\t') continue;
    const std::string byte(1, static_cast<char>(c));
    expect_refused(post("X-Any: a" + byte + "b\r\n"));
    expect_refused(post("X-Any: " + byte + "\r\n"));
    expect_refused(post("X-Any:" + byte + "b\r\n"));
    expect_refused(post("X-Any: a much longer value of more than sixteen bytes" + byte + " and more\r\n"));
  }
  expect_refused(post("X-Any: a\x7f\r\n"));
  expect_accepted(post("X-Any: a\tb \xc3\xa4 \xff ~!\"#$%&\r\n"));
  expect_accepted(post("X-Any:\r\n"));
  expect_accepted(post("X-Any:   \t \r\n"));
}

TEST(H1Attack, RefusesLineEndsThatAreNotCrlf) {
  for (const std::string& bytes : std::vector<std::string>{
           "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\n",
           "GET / HTTP/1.1\r\nHost: a\n\n", "GET / HTTP/1.1\rHost: a\r\r", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
           "GET / HTTP/1.1\n\rHost: a\n\r\n\r", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
           "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
           "\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: y\x0b\r\n\r\n",
           "GET / HTTP/1.1\r\n\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\rHost: a\r\n\r\n"}) {
    expect_refused(bytes);
  }
}

TEST(H1Attack, RefusesEveryOtherRequestLine) {
  const std::string rest = "\r\nHost: a\r\n\r\n";
  for (const std::string& line : std::vector<std::string>{"GET  / HTTP/1.1",
                                                          "GET /  HTTP/1.1",
                                                          " GET / HTTP/1.1",
                                                          "\tGET / HTTP/1.1",
                                                          "GET / HTTP/1.1 ",
                                                          "GET / HTTP/1.1\t",
                                                          "GET\t/ HTTP/1.1",
                                                          "GET /\tHTTP/1.1",
                                                          "GET\t/\tHTTP/1.1",
                                                          "GET\x0b/ HTTP/1.1",
                                                          "GET\x0c/ HTTP/1.1",
                                                          "GET /\x0bHTTP/1.1",
                                                          "GET\xa0/ HTTP/1.1",
                                                          "GET /\xa0HTTP/1.1",
                                                          "GET /",
                                                          "GET / ",
                                                          "GET",
                                                          "GET ",
                                                          "",
                                                          "GET HTTP/1.1",
                                                          "/ HTTP/1.1",
                                                          " / HTTP/1.1",
                                                          "GET / http/1.1",
                                                          "GET / Http/1.1",
                                                          "GET / HTTP/1.1x",
                                                          "GET / HTTP/1",
                                                          "GET / HTTP/1.",
                                                          "GET / HTTP/.1",
                                                          "GET / HTTP/1.10",
                                                          "GET / HTTP/01.1",
                                                          "GET / HTTP/1.01",
                                                          "GET / HTTP/11.1",
                                                          "GET / HTTP/1,1",
                                                          "GET / HTTP/1 .1",
                                                          "GET / HTTP/1.1 HTTP/1.1",
                                                          "GET / HTTP /1.1",
                                                          "GET / HTTPS/1.1",
                                                          "GET / XHTTP/1.1",
                                                          "GET / HTTP1.1",
                                                          "GET / HTTP-1.1",
                                                          "GET / HTTP//1.1",
                                                          "GET / HTTP/+1.1",
                                                          "GET / HTTP/1.-1",
                                                          "GET / HTTP/1.1;",
                                                          "GET / FTP/1.1",
                                                          "GET / HTTP/1.1\x0b",
                                                          "GET / HTTP/1.1\xa0",
                                                          "GET / HTTP/1.x",
                                                          "GET / HTTP/a.b",
                                                          "GET / /index HTTP/1.1",
                                                          "GET /a b HTTP/1.1",
                                                          "G ET / HTTP/1.1",
                                                          "G(T / HTTP/1.1",
                                                          "GET: / HTTP/1.1",
                                                          "\"GET\" / HTTP/1.1",
                                                          "G\xc3\x8bT / HTTP/1.1",
                                                          "G/T / HTTP/1.1",
                                                          "G@T / HTTP/1.1",
                                                          "[GET] / HTTP/1.1",
                                                          "get / HTTP/1.1",
                                                          "Get / HTTP/1.1",
                                                          "pOST / HTTP/1.1",
                                                          "GET index.html HTTP/1.1",
                                                          "GET a/b HTTP/1.1",
                                                          "GET ?a HTTP/1.1",
                                                          "GET * HTTP/1.1",
                                                          "POST * HTTP/1.1",
                                                          "OPTIONS ** HTTP/1.1",
                                                          "GET ** HTTP/1.1",
                                                          "GET \\ HTTP/1.1",
                                                          "GET \\a HTTP/1.1",
                                                          "GET . HTTP/1.1",
                                                          "GET /#f HTTP/1.1",
                                                          "GET /a?b#c HTTP/1.1",
                                                          "GET /a\\b HTTP/1.1",
                                                          "GET /a\x7f HTTP/1.1",
                                                          "GET /\xc3\xa4 HTTP/1.1",
                                                          "GET /a?\xc3\xa4 HTTP/1.1",
                                                          "GET /a\xff HTTP/1.1",
                                                          "GET /<x> HTTP/1.1",
                                                          "GET /?<x> HTTP/1.1",
                                                          "GET /\"x\" HTTP/1.1",
                                                          "GET /`x` HTTP/1.1",
                                                          "GET /{x} HTTP/1.1",
                                                          "GET /a%00 HTTP/1.1",
                                                          "GET /a%0d%0ab HTTP/1.1",
                                                          "GET /a% HTTP/1.1",
                                                          "GET /a%4 HTTP/1.1",
                                                          "GET /a%zz HTTP/1.1",
                                                          "GET /.. HTTP/1.1",
                                                          "GET /../a HTTP/1.1",
                                                          "GET /a/../../b HTTP/1.1",
                                                          "GET /%2e%2e/a HTTP/1.1",
                                                          "GET /a/..%2fb HTTP/1.1",
                                                          "GET /a/..;/b HTTP/1.1",
                                                          "GET a.com:80 HTTP/1.1",
                                                          "GET a:80 HTTP/1.1",
                                                          "GET ftp://a/ HTTP/1.1",
                                                          "GET file:///etc HTTP/1.1",
                                                          "GET http:/a/ HTTP/1.1",
                                                          "GET http:///x HTTP/1.1",
                                                          "GET http:// HTTP/1.1",
                                                          "GET https:// HTTP/1.1",
                                                          "GET http://u@a/ HTTP/1.1",
                                                          "GET http://u:p@a/ HTTP/1.1",
                                                          "GET http://a:b/ HTTP/1.1",
                                                          "GET http://a:/ HTTP/1.1",
                                                          "GET http://a\\b/ HTTP/1.1",
                                                          "GET http://a,b/ HTTP/1.1",
                                                          "GET javascript:alert(1) HTTP/1.1",
                                                          "GET http://a#x HTTP/1.1",
                                                          "GET http://a/#x HTTP/1.1",
                                                          "GET http://b/ HTTP/1.1",
                                                          "GET http://a:81/ HTTP/1.1",
                                                          "GET http://a.b/ HTTP/1.1",
                                                          "GET http%3a//a/ HTTP/1.1",
                                                          "GET @a/ HTTP/1.1",
                                                          "GET http://a@/ HTTP/1.1",
                                                          "CONNECT a HTTP/1.1",
                                                          "CONNECT / HTTP/1.1",
                                                          "CONNECT a:80/ HTTP/1.1",
                                                          "CONNECT http://a:80 HTTP/1.1",
                                                          "CONNECT u@a:80 HTTP/1.1",
                                                          "CONNECT a:0 HTTP/1.1",
                                                          "CONNECT b:80 HTTP/1.1",
                                                          "CONNECT :80 HTTP/1.1",
                                                          "CONNECT * HTTP/1.1",
                                                          "CONNECT a:80?x HTTP/1.1"}) {
    expect_refused(line + rest);
  }
  expect_refused("GET /\0 HTTP/1.1"s + rest);
  expect_refused("G\0T / HTTP/1.1"s + rest);
  expect_refused("GET / HTTP/1.1\0"s + rest);
  for (const char* version :
       {"HTTP/2.0", "HTTP/1.2", "HTTP/1.9", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9", "HTTP/0.0", "HTTP/2.1"}) {
    expect_refused("GET / " + std::string(version) + rest, 505);
  }
  expect_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
}

TEST(H1Attack, RefusesHttp09) {
  expect_refused("GET /\r\n");
  expect_refused("GET /\r\n\r\n");
  expect_refused("GET /\n");
}

TEST(H1Attack, RefusesEveryOtherHost) {
  const auto get = [](const std::string& fields) { return "GET / HTTP/1.1\r\n" + fields + "\r\n"; };
  for (const char* fields : {"",
                             "X: y\r\n",
                             "Host: a\r\nHost: a\r\n",
                             "Host: a\r\nHost: b\r\n",
                             "Host: a\r\nX: y\r\nhost: a\r\n",
                             "Host:\r\n",
                             "Host: \r\n",
                             "Host: a, b\r\n",
                             "Host: a,b\r\n",
                             "Host: a b\r\n",
                             "Host: a\tb\r\n",
                             "Host: u@a\r\n",
                             "Host: a@b\r\n",
                             "Host: a/\r\n",
                             "Host: a/b\r\n",
                             "Host: http://a\r\n",
                             "Host: a?x\r\n",
                             "Host: a#x\r\n",
                             "Host: a:\r\n",
                             "Host: a:x\r\n",
                             "Host: a:-1\r\n",
                             "Host: a:0\r\n",
                             "Host: a:99999\r\n",
                             "Host: a:80:80\r\n",
                             "Host: :80\r\n",
                             "Host: [::1\r\n",
                             "Host: ::1\r\n",
                             "Host: [x]\r\n",
                             "Host: a\\b\r\n",
                             "Host: a%20b\r\n",
                             "Host: a..b\r\n",
                             "Host: .\r\n",
                             "Host: \"a\"\r\n",
                             "Host: a;b\r\n",
                             "Host: <a>\r\n",
                             "Host: \xc3\xa4\r\n",
                             "Host: a\xa0\r\n",
                             "Host : a\r\n",
                             "Host\t: a\r\n",
                             " Host: a\r\n",
                             "Host: a\r\n b\r\n",
                             "Host:\r\n a\r\n",
                             "Host: a\x0b\r\n",
                             "Host: a\r\nHost : b\r\n",
                             "Host: a\r\n Host: b\r\n"}) {
    expect_refused(get(fields));
  }
  expect_refused("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
  expect_refused("GET / HTTP/1.0\r\nHost: a b\r\n\r\n");
  expect_refused("GET http://a/ HTTP/1.1\r\n\r\n");
  expect_refused("OPTIONS * HTTP/1.1\r\n\r\n");
  expect_accepted("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n");
  expect_accepted("GET http://a/ HTTP/1.1\r\nHost: A:80\r\n\r\n");
}

TEST(H1Attack, RefusesConnectionThatNamesWhatIsForEveryHop) {
  for (const char* name : {"Content-Length",
                           "Transfer-Encoding",
                           "Host",
                           "content-length",
                           "Cookie",
                           "Authorization",
                           "X-Forwarded-For",
                           "X-Real-IP",
                           "X-Forwarded-Ssl",
                           "Content-Type",
                           "Cache-Control",
                           "Expect",
                           "Forwarded",
                           "Via",
                           "Date",
                           "Connection",
                           "close, Content-Length",
                           "keep-alive,host",
                           "foo, , Transfer-Encoding",
                           "Set-Cookie",
                           "X-Request-Id"}) {
    expect_refused(post("Connection: "s + name + "\r\n"));
  }
  for (const char* value :
       {"close;x", "\"close\"", "close close", "clo\xc3\xbcse", "close=1", "(x)", "a, \"b, close\""})
    expect_refused(post("Connection: "s + value + "\r\n"));
  for (const char* value :
       {"close", "TE", "Upgrade, HTTP2-Settings", "X-Mine", "keep-alive, Keep-Alive", "close, x-forwarded"})
    expect_accepted(post("Connection: "s + value + "\r\n"));
}

TEST(H1Attack, RefusesExpectationsItCannotMeet) {
  for (const char* value : {"", "x", "100-continue, x", "100-continue,100-continue", "100", "100-continue;a",
                            "y 100-continue", "\t100 continue", "200-ok"}) {
    expect_refused(post("Content-Length: 5\r\nExpect: "s + value + "\r\n"), 417);
  }
  expect_refused(post("Content-Length: 5\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n"), 417);
  expect_refused(post("Content-Length: 5\r\nExpect: x\r\nExpect: 100-continue\r\n"), 417);
  expect_refused(post("Content-Length: 5\r\nExpect:\n 100-continue\r\n"));
}

TEST(H1Attack, RefusesBodiesWhereNoneCanBe) {
  expect_refused("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 0\r\n\r\n");
  expect_refused("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\n");
  expect_refused("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n\r\n");
  expect_refused("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
  expect_refused("TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (const char* method : {"GET", "HEAD", "DELETE", "OPTIONS"}) {
    expect_accepted(std::string(method) + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    expect_accepted(std::string(method) + " / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  }
}

TEST(H1Attack, EverySingleByteChangeIsRefusedOrKeepsTheFraming) {
  // Whatever one byte of the head becomes: a head that is still taken says one length or one chunked, or has lost the
  // name.
  for (const std::string& field : {"Content-Length: 5"s, "Transfer-Encoding: chunked"s}) {
    const std::string good = "POST /x HTTP/1.1\r\nHost: a\r\n" + field + "\r\nX: y\r\n\r\n";
    const size_t from = good.find(field);
    for (size_t at = from; at < from + field.size() + 2; ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string changed = good;
        changed[at] = static_cast<char>(byte);
        ReadRequest read(changed);
        if (!read.accepted() || changed == good) continue;
        const size_t colon = from + field.find(':');
        if (at < colon) {
          const bool same_letter = (changed[at] | 0x20) == (good[at] | 0x20) && changed[at] != good[at];
          if (!same_letter) {
            EXPECT_EQ(read.framing.body, BodyKind::none) << shown(changed);
          }
          for (const Field& f : read.request.fields) EXPECT_TRUE(valid_token(f.name)) << shown(changed);
        } else {
          EXPECT_NE(read.framing.body, BodyKind::none) << shown(changed);
        }
      }
    }
  }
}

}  // namespace
}  // namespace trellis::http
