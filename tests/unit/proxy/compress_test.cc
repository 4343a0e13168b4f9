#include "proxy/filters/compress.h"

#include <brotli/decode.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/rng.h"
#include "proxy/encoder.h"
#include "tests/unit/proxy/proxy_test_kit.h"

namespace trellis::proxy {
namespace {

using http::FieldId;
using test::body_text;
using test::Exchange;
using test::FunctionTarget;
using test::PiecesBody;
using test::Rig;
using test::run_filter;

// What can be decoded of a beginning of a stream, for all three codings.
std::string decode(std::string_view encoding, std::string_view bytes) {
  std::string out(4 << 20, '\0');
  if (encoding == "gzip") {
    z_stream z{};
    TRELLIS_ASSERT(inflateInit2(&z, 15 + 16) == Z_OK);
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    z.avail_in = static_cast<uInt>(bytes.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    inflate(&z, Z_SYNC_FLUSH);
    out.resize(z.total_out);
    inflateEnd(&z);
  } else if (encoding == "zstd") {
    ZSTD_DStream* stream = ZSTD_createDStream();
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    while (in.pos < in.size && ZSTD_isError(ZSTD_decompressStream(stream, &to, &in)) == 0) {
    }
    out.resize(to.pos);
    ZSTD_freeDStream(stream);
  } else if (encoding == "br") {
    BrotliDecoderState* state = BrotliDecoderCreateInstance(nullptr, nullptr, nullptr);
    size_t left = bytes.size();
    const auto* next = reinterpret_cast<const uint8_t*>(bytes.data());
    size_t room = out.size();
    auto* at = reinterpret_cast<uint8_t*>(out.data());
    BrotliDecoderDecompressStream(state, &left, &next, &room, &at, nullptr);
    out.resize(out.size() - room);
    BrotliDecoderDestroyInstance(state);
  } else {
    return std::string(bytes);
  }
  return out;
}

std::string text_of(size_t size) {
  Rng rng(5);
  std::string out;
  while (out.size() < size) out += "word" + std::to_string(rng.below(1000)) + (rng.below(9) == 0 ? "\n" : " ");
  out.resize(size);
  return out;
}

struct Answer {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> fields = {{"Content-Type", "text/html; charset=utf-8"}};
  std::string body = std::string(5000, 'x');
};
struct Got {
  int status = 0;
  std::string encoding, vary, etag, length, ranges, raw, body;
};

Got run(Rig& rig, const Answer& answer, std::string_view accept, std::string_view method = "GET",
        std::vector<std::pair<std::string, std::string>> request_fields = {}, const CompressConfig& config = {}) {
  Exchange exchange(rig, method);
  if (!accept.empty()) exchange.with("Accept-Encoding", accept);
  for (const auto& [name, value] : request_fields) exchange.with(name, value);
  FunctionTarget target([&](http::Request& request, http::RequestContext& context) {
    http::Response response(context.arena, answer.status);
    for (const auto& [name, value] : answer.fields) response.fields.add_copy(name, value);
    if (request.method == http::Method::head) {
      if (!answer.body.empty()) response.fields.add_copy("Content-Length", std::to_string(answer.body.size()));
    } else {
      response.body = http::Body(answer.body);
    }
    return response;
  });
  Result<http::Response> response = run_filter(rig, std::make_unique<CompressFilter>(config), target, exchange);
  Got got;
  got.status = response->status;
  got.encoding = response->fields.value(FieldId::content_encoding);
  got.vary = response->fields.joined(FieldId::vary);
  got.etag = response->fields.value(FieldId::etag);
  got.length = response->fields.value(FieldId::content_length);
  got.ranges = response->fields.value(FieldId::accept_ranges);
  got.raw = body_text(rig, *response);
  got.body = decode(got.encoding, got.raw);
  return got;
}

TEST(Compress, EncodesByWhatTheClientTakes) {
  Rig rig;
  Answer answer;
  answer.body = text_of(5000);
  for (const char* encoding : {"zstd", "br", "gzip"}) {
    const Got got = run(rig, answer, encoding);
    EXPECT_EQ(got.encoding, encoding);
    EXPECT_EQ(got.vary, "Accept-Encoding");
    EXPECT_LT(got.raw.size(), 3000u);
    EXPECT_EQ(got.body, answer.body);
  }
  EXPECT_EQ(run(rig, answer, "gzip, br, zstd").encoding, "zstd");
  EXPECT_EQ(run(rig, answer, "gzip;q=1, br;q=0.5").encoding, "gzip");
  const Got plain = run(rig, answer, "");
  EXPECT_EQ(plain.encoding, "");
  EXPECT_EQ(plain.vary, "Accept-Encoding") << "caches must know";
  EXPECT_EQ(plain.body, answer.body);
}

TEST(Compress, ChangesTheFieldsThatNoLongerHold) {
  Rig rig;
  Answer answer;
  answer.fields = {{"Content-Type", "application/json"},
                   {"ETag", "\"v1\""},
                   {"Accept-Ranges", "bytes"},
                   {"Vary", "Origin"},
                   {"Content-Length", "5000"}};
  const Got got = run(rig, answer, "gzip");
  EXPECT_EQ(got.etag, "W/\"v1\"");
  EXPECT_EQ(got.ranges, "");
  EXPECT_EQ(got.length, "");
  EXPECT_EQ(got.vary, "Origin, Accept-Encoding");
  answer.fields = {{"Content-Type", "application/json"}, {"ETag", "W/\"v1\""}, {"Vary", "accept-encoding, Origin"}};
  const Got weak = run(rig, answer, "gzip");
  EXPECT_EQ(weak.etag, "W/\"v1\"");
  EXPECT_EQ(weak.vary, "accept-encoding, Origin");
}

TEST(Compress, LeavesAloneWhatGainsNothing) {
  Rig rig;
  const auto untouched = [&](const Answer& answer, const char* what) {
    const Got got = run(rig, answer, "gzip");
    EXPECT_EQ(got.vary, "") << what;
    EXPECT_EQ(got.raw, answer.body) << what;
  };
  const std::pair<std::string, std::string> html{"Content-Type", "text/html"};
  const std::string body(5000, 'x');
  untouched({200, {html}, std::string(1023, 'x')}, "small");
  untouched({200, {html}, ""}, "empty");
  untouched({200, {{"Content-Type", "image/png"}}, body}, "image");
  untouched({200, {}, body}, "no type");
  untouched({200, {{"Content-Type", "text/event-stream"}}, body}, "events");
  untouched({200, {html, {"Content-Encoding", "br"}}, body}, "encoded");
  untouched({200, {html, {"Cache-Control", "public, No-Transform"}}, body}, "no-transform");
  untouched({206, {{"Content-Type", "image/png"}, {"Content-Range", "bytes 0-4999/9999"}}, body}, "part of an image");
  untouched({204, {html}, ""}, "204");
  EXPECT_EQ(run(rig, {404, {html}, body}, "gzip").encoding, "gzip") << "errors are pages too";
  const Got asked = run(rig, {200, {html}, body}, "gzip", "GET", {{"Cache-Control", "max-age=0, no-transform"}});
  EXPECT_EQ(asked.encoding, "") << "the client asks for it as it is";
}

TEST(Compress, TakesTypesFromTheConfiguration) {
  Rig rig;
  const auto config = test::read_config<CompressConfig>(
      "{types: [text/*, application/x-foo], encodings: [br], min_size: 0, levels: {br: 11}}");
  const auto encoding = [&](const char* type) {
    return run(rig, {200, {{"Content-Type", type}}, "hello hello hello"}, "gzip, br", "GET", {}, config).encoding;
  };
  EXPECT_EQ(encoding("Text/Weird;charset=x"), "br");
  EXPECT_EQ(encoding("application/x-foo"), "br");
  EXPECT_EQ(encoding("application/json"), "");
  EXPECT_EQ(encoding("text/event-stream"), "") << "a family does not mean it";
  for (const char* bad :
       {"encodings: []", "types: [html]", "types: [\"*/*\"]", "levels: {br: 12}", "encodings: [deflate]"})
    EXPECT_NE(test::config_problems<CompressConfig>(bad), "") << bad;
}

TEST(Compress, GivesHeadTheFieldsOfGet) {
  Rig rig;
  Answer answer;
  answer.fields.emplace_back("ETag", "\"v\"");
  const Got get = run(rig, answer, "br");
  const Got head = run(rig, answer, "br", "HEAD");
  EXPECT_EQ(head.encoding, get.encoding);
  EXPECT_EQ(head.etag, get.etag);
  EXPECT_EQ(head.vary, get.vary);
  EXPECT_EQ(head.length, "");
  EXPECT_EQ(head.raw, "");
  answer.body = "small";
  EXPECT_EQ(run(rig, answer, "br", "HEAD").encoding, "");
  EXPECT_EQ(run(rig, answer, "br", "HEAD").length, "5");
}

TEST(Compress, AnswersARevalidationUnderTheTagItGave) {
  Rig rig;
  const Answer answer{304, {{"ETag", "\"v1\""}}, ""};
  EXPECT_EQ(run(rig, answer, "gzip", "GET", {{"If-None-Match", "W/\"v1\""}}).etag, "W/\"v1\"");
  EXPECT_EQ(run(rig, answer, "gzip", "GET", {{"If-None-Match", "\"v1\""}}).etag, "\"v1\"");
  EXPECT_EQ(run(rig, answer, "", "GET", {{"If-None-Match", "W/\"v1\""}}).etag, "\"v1\"");
}

TEST(Compress, PartsAndConfirmationsVaryLikeTheWhole) {
  Rig rig;
  const std::pair<std::string, std::string> html{"Content-Type", "text/html"};
  const Answer part{206, {html, {"Content-Range", "bytes 0-4999/9999"}}, std::string(5000, 'x')};
  const Answer confirmed{304, {html, {"ETag", "\"v1\""}}, ""};
  for (const char* accept : {"gzip", "identity"}) {
    const Got got = run(rig, part, accept);
    EXPECT_EQ(got.vary, "Accept-Encoding");
    EXPECT_EQ(got.encoding, "");
    EXPECT_EQ(got.raw, part.body);
    EXPECT_EQ(run(rig, confirmed, accept, "GET", {{"If-None-Match", "\"v1\""}}).vary, "Accept-Encoding");
  }
  const Answer image{304, {{"Content-Type", "image/png"}, {"ETag", "\"v1\""}}, ""};
  EXPECT_EQ(run(rig, image, "gzip", "GET", {{"If-None-Match", "\"v1\""}}).vary, "");
}

TEST(Compress, FlushesAStreamBehindEveryPiece) {
  Rig rig;
  for (const char* encoding : {"zstd", "br", "gzip"}) {
    Exchange exchange(rig);
    exchange.with("Accept-Encoding", encoding);
    FunctionTarget target([&](http::Request&, http::RequestContext& context) {
      http::Response response(context.arena, 200);
      response.fields.add(FieldId::content_type, "text/plain");
      response.body = http::Body(std::make_unique<PiecesBody>(std::vector<std::string>{"first ", "second ", "third"}));
      return response;
    });
    Result<http::Response> response =
        run_filter(rig, std::make_unique<CompressFilter>(CompressConfig{}), target, exchange);
    ASSERT_EQ(response->fields.value(FieldId::content_encoding), encoding);
    EXPECT_EQ(response->body.length(), std::nullopt);
    std::string so_far;
    for (const char* want : {"first ", "first second ", "first second third"}) {
      Result<Chunk> chunk = fakes::run_task(*rig.loop, response->body.stream().read(kNever));
      ASSERT_TRUE(chunk);
      so_far += chunk->view();
      EXPECT_EQ(decode(encoding, so_far), want) << encoding;
    }
    so_far += body_text(rig, *response);
    EXPECT_EQ(decode(encoding, so_far), "first second third");
  }
}

TEST(Compress, TakesLargeBodiesInSlices) {
  Rig rig;
  Answer answer;
  answer.body = text_of(1'000'000);
  for (const char* encoding : {"zstd", "br", "gzip"}) {
    const Got got = run(rig, answer, encoding);
    EXPECT_EQ(got.body, answer.body) << encoding;
    EXPECT_LT(got.raw.size(), answer.body.size() / 2);
  }
}

TEST(Compress, EncodesFiles) {
  Rig rig;
  char name[] = "/tmp/trellis-compress-XXXXXX";
  const int fd = ::mkstemp(name);
  ASSERT_GE(fd, 0);
  ::unlink(name);
  const std::string text = text_of(150'000);
  ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  auto handle = std::make_shared<http::FileHandle>(fd);
  Exchange exchange(rig);
  exchange.with("Accept-Encoding", "zstd");
  FunctionTarget target([&](http::Request&, http::RequestContext& context) {
    http::Response response(context.arena, 200);
    response.fields.add(FieldId::content_type, "text/csv");
    response.body = http::Body(http::FileSlice{handle, 1000, 100'000});
    return response;
  });
  Result<http::Response> response =
      run_filter(rig, std::make_unique<CompressFilter>(CompressConfig{}), target, exchange);
  EXPECT_EQ(decode("zstd", body_text(rig, *response)), text.substr(1000, 100'000));
}

TEST(Encoder, HasALimitOfOpenStreams) {
  std::vector<std::unique_ptr<Encoder>> open;
  for (size_t i = 0; i < Encoder::kMaxOpen; ++i) {
    open.push_back(make_encoder(i % 2 == 0 ? Encoding::zstd : Encoding::br, 1, std::nullopt));
    ASSERT_TRUE(open.back());
  }
  EXPECT_FALSE(make_encoder(Encoding::gzip, 5, std::nullopt));
  open.pop_back();
  EXPECT_TRUE(make_encoder(Encoding::gzip, 5, std::nullopt));
}

TEST(Encoder, IsCleanWhenUsedAgain) {
  for (int round = 0; round < 3; ++round) {
    for (const Encoding encoding : {Encoding::gzip, Encoding::br, Encoding::zstd}) {
      // Left in the middle, with bytes inside.
      std::unique_ptr<Encoder> dropped = make_encoder(encoding, 4, std::nullopt);
      std::string ignored;
      ASSERT_TRUE(dropped->run("some secret of another answer", Encoder::Op::process, ignored));
      dropped.reset();
      std::unique_ptr<Encoder> next = make_encoder(encoding, 4, 5);
      std::string out;
      ASSERT_TRUE(next->run("hello", Encoder::Op::finish, out));
      EXPECT_EQ(decode(to_string(encoding), out), "hello");
    }
  }
}

}  // namespace
}  // namespace trellis::proxy
