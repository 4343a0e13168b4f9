#include "http/h1_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "h1_test_kit.h"

namespace trellis::http {
namespace {

using namespace std::string_literals;

constexpr std::string_view kDate = "Sun, 06 Nov 1994 08:49:37 GMT";

class StreamOfUnknownLength final : public BodyReader {
 public:
  Task<Result<Chunk>> read(Deadline) override { co_return Chunk(); }
  std::optional<uint64_t> length() const noexcept override { return std::nullopt; }
};

std::string written(const Response& response, Method method = Method::get, uint8_t minor = 1, bool keep_alive = true,
                    H1Error* error = nullptr) {
  Arena arena;
  OutBuffer out(arena);
  ResponseHeadOptions options;
  options.framing = framing_for(response, method, minor, keep_alive);
  options.version_minor = minor;
  options.method = method;
  options.date = kDate;
  const H1Error result = write_response_head(out, response, options);
  if (error != nullptr) *error = result;
  return std::string(out.view());
}

TEST(H1Writer, WritesAnOrdinaryAnswer) {
  Arena arena;
  Response response(arena, 200);
  response.fields.add(FieldId::content_type, "text/plain");
  response.fields.add("x-custom", "a b");
  response.body = Body(std::string("hello"));
  EXPECT_EQ(written(response),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nx-custom: a b\r\nContent-Length: 5\r\nDate: Sun, 06 Nov "
            "1994 08:49:37 GMT\r\n\r\n");
}

TEST(H1Writer, FramesByBodyMethodAndVersion) {
  Arena arena;
  const std::string date = "Date: " + std::string(kDate) + "\r\n\r\n";
  const auto answer = [&](int status, Body body, Method method = Method::get, uint8_t minor = 1,
                          bool keep_alive = true) {
    Response response(arena, status);
    response.body = std::move(body);
    const std::string text = written(response, method, minor, keep_alive);
    return text.substr(text.find("\r\n") + 2);
  };
  const auto stream = [] { return Body(std::unique_ptr<BodyReader>(std::make_unique<StreamOfUnknownLength>())); };
  EXPECT_EQ(answer(200, {}), "Content-Length: 0\r\n" + date);
  EXPECT_EQ(answer(404, {}, Method::get, 1, false), "Content-Length: 0\r\nConnection: close\r\n" + date);
  EXPECT_EQ(answer(200, stream()), "Transfer-Encoding: chunked\r\n" + date);
  EXPECT_EQ(answer(200, stream(), Method::get, 0, true), "Connection: close\r\n" + date);
  EXPECT_EQ(answer(200, Body("abc"s), Method::get, 0, true), "Content-Length: 3\r\nConnection: keep-alive\r\n" + date);
  EXPECT_EQ(answer(200, Body("abc"s), Method::head), "Content-Length: 3\r\n" + date);
  EXPECT_EQ(answer(200, stream(), Method::head), date);
  EXPECT_EQ(answer(200, {}, Method::head), date);
  EXPECT_EQ(answer(204, Body("abc"s)), date);
  EXPECT_EQ(answer(304, {}), date);
  EXPECT_EQ(answer(103, {}), "\r\n");
  EXPECT_EQ(answer(101, {}), "Connection: Upgrade\r\n" + date);
  EXPECT_EQ(answer(200, {}, Method::connect), date);
  EXPECT_EQ(answer(299, {}), "Content-Length: 0\r\n" + date);
}

TEST(H1Writer, LetsNoFieldSpeakAboutFraming) {
  Arena arena;
  Response response(arena, 200);
  for (const auto& [name, value] : std::vector<std::pair<const char*, const char*>>{{"Content-Length", "99"},
                                                                                    {"transfer-encoding", "chunked"},
                                                                                    {"Connection", "close"},
                                                                                    {"Keep-Alive", "timeout=5"},
                                                                                    {"Proxy-Connection", "x"},
                                                                                    {"Upgrade", "x"}}) {
    response.fields.add(name, value);
  }
  response.body = Body("abc"s);
  EXPECT_EQ(written(response), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nDate: " + std::string(kDate) + "\r\n\r\n");
}

TEST(H1Writer, KeepsDateAndTheLengthOfAnotherAnswer) {
  Arena arena;
  Response head(arena, 200);
  head.fields.add(FieldId::content_length, "500");
  head.fields.add(FieldId::date, "Mon, 07 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(written(head, Method::head),
            "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nDate: Mon, 07 Nov 1994 08:49:37 GMT\r\n\r\n");
  head.fields.add(FieldId::content_length, "501");
  H1Error error = H1Error::none;
  EXPECT_EQ(written(head, Method::head, 1, true, &error), "");
  EXPECT_EQ(error, H1Error::bad_content_length);
}

TEST(H1Writer, SplitsNoAnswer) {
  Arena arena;
  for (const std::string& value : {"a\r\nX: y"s, "a\nb"s, "a\rb"s, "a\0b"s, "\r\n"s, "a\x7f"s,
                                   "a long value of more than sixteen bytes\r\n\r\nHTTP/1.1 200 OK"s}) {
    Response response(arena, 302);
    response.fields.add(FieldId::location, value);
    H1Error error = H1Error::none;
    EXPECT_EQ(written(response, Method::get, 1, true, &error), "") << shown(value);
    EXPECT_EQ(error, H1Error::bad_field_value);
  }
  for (const std::string& name : {""s, "a b"s, "a:b"s, "a\r\nb"s, "a\0"s, "\xc3\xa4"s}) {
    Response response(arena, 200);
    response.fields.add(name, "x");
    H1Error error = H1Error::none;
    EXPECT_EQ(written(response, Method::get, 1, true, &error), "") << shown(name);
    EXPECT_EQ(error, H1Error::bad_field_name);
  }
  for (const int status : {0, 99, 600, -1, 1000}) {
    H1Error error = H1Error::none;
    EXPECT_EQ(written(Response(arena, status), Method::get, 1, true, &error), "");
    EXPECT_EQ(error, H1Error::bad_status_line);
  }
}

TEST(H1Writer, LeavesTheBufferAsItWasWhenItRefuses) {
  Arena arena;
  OutBuffer out(arena);
  out.append("before");
  Response response(arena, 200);
  response.fields.add("x", "\n");
  EXPECT_NE(write_response_head(out, response, {}), H1Error::none);
  EXPECT_EQ(out.view(), "before");
}

TEST(H1Writer, PutsExtraLinesIn) {
  Arena arena;
  OutBuffer out(arena);
  Response response(arena, 200);
  ResponseHeadOptions options;
  options.framing = framing_for(response, Method::get, 1, true);
  options.extra = "Via: 1.1 edge\r\n";
  ASSERT_EQ(write_response_head(out, response, options), H1Error::none);
  EXPECT_EQ(out.view(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: 1.1 edge\r\n\r\n");
}

std::string forwarded(const std::string& head, const RequestHeadOptions& options, H1Error expected = H1Error::none) {
  ReadRequest read(head);
  EXPECT_TRUE(read.accepted()) << head;
  OutBuffer out(read.arena);
  EXPECT_EQ(write_request_head(out, read.request, options), expected);
  return std::string(out.view());
}

TEST(H1Writer, WritesRequests) {
  EXPECT_EQ(
      forwarded("GET http://A.example/x/../y?z HTTP/1.1\r\nX: 1\r\nhost: a.example\r\nConnection: close\r\n\r\n", {}),
      "GET /y?z HTTP/1.1\r\nHost: a.example\r\nX: 1\r\n\r\n");
  EXPECT_EQ(forwarded("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
                      {.body = BodyKind::length, .length = 5}),
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(forwarded("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                      {.body = BodyKind::chunked, .keep_alive = false}),
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(forwarded("PUT / HTTP/1.1\r\nHost: a\r\n\r\n", {}),
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(forwarded("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n", {.te_trailers = true}),
            "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
  EXPECT_EQ(
      forwarded("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", {.upgrade = true}),
      "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
  EXPECT_EQ(forwarded("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
                      "h2c\r\nHTTP2-Settings: x\r\n\r\n",
                      {}),
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(forwarded("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", {}), "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(forwarded("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", {}),
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
  EXPECT_EQ(forwarded("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", {.host = "b:81"}), "GET /x HTTP/1.1\r\nHost: b:81\r\n\r\n");
  EXPECT_EQ(forwarded("GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n", {.absolute_form = true}),
            "GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(forwarded("PURGE /x HTTP/1.0\r\nHost: a\r\n\r\n", {}), "PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n");
}

TEST(H1Writer, SplitsNoRequest) {
  const std::string head = "GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n";
  const auto refused = [&head](auto change) {
    ReadRequest read(head);
    change(read.request);
    OutBuffer out(read.arena);
    const H1Error error = write_request_head(out, read.request, {});
    EXPECT_TRUE(out.empty());
    return error;
  };
  for (const std::string_view path : {"", "x", "*", "/a b", "/a\r\nX: y", "/a?b", "/a#b", "/\xc3\xa4", "http://b/"}) {
    EXPECT_EQ(refused([path](Request& r) { r.path = path; }), H1Error::bad_target) << path;
  }
  for (const std::string_view query : {"a b", "a\r\n", "a#b", "\xc3\xa4"}) {
    EXPECT_EQ(refused([query](Request& r) { r.query = query; }), H1Error::bad_target) << query;
  }
  EXPECT_EQ(refused([](Request& r) { r.authority = "a\r\nX: y"; }), H1Error::bad_host);
  EXPECT_EQ(refused([](Request& r) {
              r.method = Method::other;
              r.method_text = "GET /evil HTTP/1.1\r\n";
            }),
            H1Error::bad_method);
  EXPECT_EQ(refused([](Request& r) { r.fields.add("x", "a\r\nb"); }), H1Error::bad_field_value);
  EXPECT_EQ(refused([](Request& r) { r.fields.add("x y", "a"); }), H1Error::bad_field_name);
}

TEST(H1Writer, RemovesWhatIsForOneHop) {
  Arena arena;
  Fields fields(arena);
  for (const auto& [name, value] : std::vector<std::pair<const char*, const char*>>{{"Connection", "close, X-Mine"},
                                                                                    {"Keep-Alive", "5"},
                                                                                    {"X-Mine", "1"},
                                                                                    {"x-mine", "2"},
                                                                                    {"X-Other", "3"},
                                                                                    {"connection", "Upgrade"},
                                                                                    {"Upgrade", "websocket"},
                                                                                    {"TE", "trailers"},
                                                                                    {"Proxy-Connection", "x"},
                                                                                    {"Transfer-Encoding", "chunked"}}) {
    fields.add(name, value);
  }
  Fields kept = fields;
  remove_hop_by_hop(kept, true);
  ASSERT_EQ(kept.size(), 2U);
  EXPECT_EQ(kept.value(FieldId::upgrade), "websocket");
}

TEST(H1Writer, RemovesUpgradeUnlessItIsKept) {
  Arena arena;
  Fields fields(arena);
  fields.add("Connection", "Upgrade");
  fields.add("Upgrade", "websocket");
  remove_hop_by_hop(fields, false);
  EXPECT_TRUE(fields.empty());
}

TEST(H1Writer, WritesChunks) {
  Arena arena;
  OutBuffer out(arena);
  write_chunk_line(out, 8000);
  EXPECT_EQ(out.view(), "1f40\r\n");
  out.clear();
  write_chunk_line(out, ~uint64_t{0});
  EXPECT_EQ(out.view(), "ffffffffffffffff\r\n");
  out.clear();
  write_last_chunk(out, nullptr);
  EXPECT_EQ(out.view(), "0\r\n\r\n");
  out.clear();
  Fields trailers(arena);
  trailers.add("X-Sum", "1");
  trailers.add("Content-Length", "5");
  trailers.add("X-Bad", "a\r\nb");
  write_last_chunk(out, &trailers);
  EXPECT_EQ(out.view(), "0\r\nX-Sum: 1\r\n\r\n");
}

TEST(OutBuffer, GrowsFromGivenMemoryIntoTheArena) {
  Arena arena;
  char memory[16];
  OutBuffer out(arena, memory);
  out.append("0123456789");
  EXPECT_EQ(out.view().data(), memory);
  EXPECT_EQ(arena.total(), 0U);
  std::string expected = "0123456789";
  for (int i = 0; i < 1000; ++i) {
    out.append("abcdefg");
    expected += "abcdefg";
  }
  EXPECT_EQ(out.view(), expected);
  out.truncate(4);
  EXPECT_EQ(out.view(), "0123");
  out.append("");
  out.clear();
  EXPECT_TRUE(out.empty());
}

}  // namespace
}  // namespace trellis::http
