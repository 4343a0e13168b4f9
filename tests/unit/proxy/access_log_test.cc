#include "proxy/access_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "base/arena.h"
#include "base/file_writer.h"
#include "base/rng.h"
#include "http/handler.h"
#include "http/message.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using http::FieldId;

// Nothing here touches the loop; a place for one is enough.
runtime::Loop& no_loop() {
  alignas(64) static char place[64];
  return reinterpret_cast<runtime::Loop&>(place);
}

class AccessLogTest : public ::testing::Test {
 protected:
  AccessLogTest() {
    request_.method = http::Method::get;
    request_.method_text = "GET";
    request_.authority = "api.example.com";
    request_.path = "/v1/links";
    context_.client_address = "192.0.2.7";
    context_.listener = "web";
  }

  AccessRecord record() {
    return {.request = request_,
            .status = 200,
            .context = context_,
            .bytes_in = 3,
            .bytes_out = 4096,
            .first_byte = Time(10s + 1500us),
            .finished = Time(10s + 12345678ns),
            .wall = WallTime(1772368496789ms)};
  }
  std::string line(AccessLogConfig config = {}) {
    return AccessLog(std::move(config), "edge-1", nullptr).line(record());
  }
  nlohmann::json parsed(AccessLogConfig config = {}) {
    return nlohmann::json::parse(line(std::move(config)), nullptr, false);
  }
  std::string query(std::string_view text) {
    request_.query = text;
    return parsed().value("query", "");
  }

  Arena arena_;
  http::Request request_{arena_};
  http::RequestContext context_{.arena = arena_, .loop = no_loop(), .started = Time(10s)};
};

TEST_F(AccessLogTest, LeavesOutWhatIsNotKnown) {
  EXPECT_EQ(
      line(),
      R"({"time":"2026-03-01T12:34:56.789Z","node":"edge-1","listener":"web","client":"192.0.2.7","method":"GET",)"
      R"("host":"api.example.com","path":"/v1/links","version":"1.1","status":200,"bytes_in":3,"bytes_out":4096,)"
      R"("duration_ms":12.345,"first_byte_ms":1.500})"
      "\n");
}

TEST_F(AccessLogTest, WritesEveryField) {
  request_.query = "q=1";
  request_.fields.add(FieldId::user_agent, "curl/8");
  request_.fields.add(FieldId::referer, "https://example.com/a?b=c");
  context_.trace = {.trace_id_high = 0x4bf92f3577b34da6, .trace_id_low = 1};
  context_.request_id = "01ARYZ6S41TSV4RRFFQ69G5FAV";
  context_.route = "/v1/**";
  context_.upstream = "api";
  context_.upstream_host = "10.0.0.11:8080";
  context_.attempts = 2;
  context_.outcome = "upstream_timeout";
  context_.cache_status = "miss";
  context_.failed_side = Side::upstream;
  const std::string text = line();
  EXPECT_EQ(
      text.substr(text.find(",\"first_byte_ms")),
      R"(,"first_byte_ms":1.500,"upstream":"api","upstream_host":"10.0.0.11:8080","attempts":2,"cache":"miss","route":"/v1/**",)"
      R"("request_id":"01ARYZ6S41TSV4RRFFQ69G5FAV","trace_id":"4bf92f3577b34da60000000000000001","user_agent":"curl/8",)"
      R"("referer":"https://example.com/a?b=c","side":"upstream","outcome":"upstream_timeout"})"
      "\n");
}

TEST_F(AccessLogTest, FollowsTheClockBothWays) {
  AccessLog log({}, "", nullptr);
  const auto time_at = [&](WallTime wall) {
    AccessRecord r{.request = request_, .context = context_, .wall = wall};
    return nlohmann::json::parse(log.line(r)).value("time", "");
  };
  EXPECT_EQ(time_at(WallTime(1772368496001ms)), "2026-03-01T12:34:56.001Z");
  EXPECT_EQ(time_at(WallTime(1772368496999ms)), "2026-03-01T12:34:56.999Z");
  EXPECT_EQ(time_at(WallTime(1772368497000ms)), "2026-03-01T12:34:57.000Z");
  EXPECT_EQ(time_at(WallTime(1772368495500ms)), "2026-03-01T12:34:55.500Z");
}

TEST_F(AccessLogTest, ForeignTextCannotForgeALine) {
  request_.method = http::Method::other;
  request_.method_text = "X\"Y";
  request_.path = "/a\"b\nc\\d";
  request_.query = "x=\"}\n{\"status\":1";
  request_.fields.add(FieldId::user_agent, "\x1b[31m\xFF\r\n");
  const std::string text = line();
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const nlohmann::json json = parsed();
  EXPECT_EQ(json["method"], "X\"Y");
  EXPECT_EQ(json["path"], "/a\"b\nc\\d");
  EXPECT_EQ(json["status"], 200);
  EXPECT_EQ(json["user_agent"], "\x1b[31m\xEF\xBF\xBD\r\n");
}

TEST_F(AccessLogTest, CutsLongTextBetweenCharacters) {
  const std::string path = "/" + std::string(1022, 'p') + "€€€";
  const std::string query = "q=" + std::string(5000, 'q');
  const std::string agent(5000, 'a');
  request_.path = path;
  request_.query = query;
  request_.fields.add(FieldId::user_agent, agent);
  const nlohmann::json json = parsed();
  EXPECT_EQ(json["path"].get<std::string>(), path.substr(0, 1023));
  EXPECT_EQ(json["query"].get<std::string>().size(), 1024u);
  EXPECT_EQ(json["user_agent"].get<std::string>().size(), 512u);
}

TEST_F(AccessLogTest, RedactsSecretsInTheQuery) {
  EXPECT_EQ(query("token=abc"), "token=***");
  EXPECT_EQ(query("a=1&token=abc&b=2"), "a=1&token=***&b=2");
  EXPECT_EQ(query("access_token=abc&apiKey=def&X-Amz-Signature=012"),
            "access_token=***&apiKey=***&X-Amz-Signature=***");
  EXPECT_EQ(query("TOKEN=a&Password=b&client_secret=c"), "TOKEN=***&Password=***&client_secret=***");
  EXPECT_EQ(query("to%6Ben=abc&%74oken=d"), "to%6Ben=***&%74oken=***");
  EXPECT_EQ(query("password[]=abc&user[password]=def&password%5B%5D=g"),
            "password[]=***&user[password]=***&password%5B%5D=***");
  EXPECT_EQ(query("a=1;token=abc"), "a=1;token=***");
  EXPECT_EQ(query("token=abc;def&x=1"), "token=***&x=1");
  EXPECT_EQ(query("token=a=b"), "token=***");
  EXPECT_EQ(query("token=%22&&=&key=x"), "token=***&&=&key=***");
}

TEST_F(AccessLogTest, KeepsWhatIsNoSecret) {
  for (const std::string_view text :
       {"token", "token=", "tokens=3", "q=token", "keyword=x", "a=1&b=2", "=", "&", ";", "%=1", "a;b=2"}) {
    EXPECT_EQ(query(text), text);
  }
}

TEST_F(AccessLogTest, RedactsConfiguredNamesOnly) {
  request_.query = "token=a&Session=b";
  EXPECT_EQ(parsed({.redact = {"SESSION", ""}})["query"], "token=a&Session=***");
  EXPECT_EQ(parsed({.redact = {}})["query"], "token=a&Session=b");
}

TEST_F(AccessLogTest, RedactsTheReferer) {
  request_.fields.add(FieldId::referer, "https://example.com/login?token=abc&x=1");
  EXPECT_EQ(parsed()["referer"], "https://example.com/login?token=***&x=1");
  EXPECT_NE(line({.format = AccessLogConfig::Format::combined}).find("login?token=***&x=1\""), std::string::npos);
}

TEST_F(AccessLogTest, WritesTheCombinedFormat) {
  request_.query = "q=1&key=2";
  request_.version_minor = 0;
  EXPECT_EQ(line({.format = AccessLogConfig::Format::combined}),
            "192.0.2.7 - - [01/Mar/2026:12:34:56 +0000] \"GET /v1/links?q=1&key=*** HTTP/1.0\" 200 4096 \"-\" \"-\"\n");
  request_.fields.add(FieldId::user_agent, "a\"b\\c\n\xE9");
  const std::string text = line({.format = AccessLogConfig::Format::combined});
  EXPECT_NE(text.find("\"a\\x22b\\x5Cc\\x0A\\xE9\"\n"), std::string::npos) << text;
}

TEST_F(AccessLogTest, AnExchangeThatEndedEarlyHasNoFirstByte) {
  AccessRecord r{.request = request_, .context = context_, .finished = Time(9s), .wall = WallTime(0s)};
  const nlohmann::json json = nlohmann::json::parse(AccessLog({}, "", nullptr).line(r));
  EXPECT_FALSE(json.contains("first_byte_ms"));
  EXPECT_EQ(json["status"], 0);
  EXPECT_EQ(json["duration_ms"], 0.0);
}

TEST_F(AccessLogTest, AnyBytesFitAndGiveJson) {
  Rng rng(3);
  for (int round = 0; round < 500; ++round) {
    std::string texts[5];
    for (std::string& text : texts) {
      text.resize(rng.below(1500));
      static constexpr std::string_view kPieces = "token=&;%6B?[]\x01\xFF\"\\ ";
      for (char& c : text)
        c = rng.below(2) == 0 ? kPieces[rng.below(kPieces.size())] : static_cast<char>(rng.below(256));
    }
    Arena arena;
    http::Request request(arena);
    request.method_text = texts[0];
    request.path = texts[1];
    request.query = texts[2];
    request.authority = texts[3];
    request.fields.add(FieldId::user_agent, texts[4]);
    request.fields.add(FieldId::referer, texts[2]);
    context_.route = texts[3];
    const AccessRecord r{.request = request, .context = context_};
    const std::string text = AccessLog({}, texts[0], nullptr).line(r);
    ASSERT_TRUE(nlohmann::json::parse(text, nullptr, false).is_object());
    const std::string combined = AccessLog({.format = AccessLogConfig::Format::combined}, "", nullptr).line(r);
    ASSERT_EQ(combined.find('\n'), combined.size() - 1);
  }
}

TEST_F(AccessLogTest, AppendsToItsFile) {
  std::string folder = (std::filesystem::temp_directory_path() / "trellis-access-log-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/access.log";
  {
    Result<std::unique_ptr<AccessLog>> log = AccessLog::open({.path = path}, "edge-1");
    ASSERT_TRUE(log.has_value());
    (*log)->write(record());
    std::filesystem::rename(path, path + ".1");
    (*log)->reopen();
    (*log)->writer().flush();
    (*log)->write(record());
  }
  for (const std::string& name : {path, path + ".1"}) {
    std::ifstream file(name);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), line()) << name;
  }
  std::filesystem::remove_all(folder);
  EXPECT_FALSE(AccessLog::open({.path = path}, "").has_value());
}

}  // namespace
}  // namespace trellis::proxy
