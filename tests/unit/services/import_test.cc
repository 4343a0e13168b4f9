#include "services/links/bulk/import.h"

#include <gtest/gtest.h>

#include <future>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

using nlohmann::json;

// A body that comes in pieces of a size.
class PiecesBody final : public http::BodyReader {
 public:
  PiecesBody(std::string text, size_t size) : text_(std::move(text)), size_(size) {}
  Task<Result<Chunk>> read(Deadline) override {
    co_await yield();
    const std::string piece = text_.substr(at_, size_);
    at_ += piece.size();
    co_return piece.empty() ? Chunk() : Chunk::copy_of(piece);
  }
  std::optional<uint64_t> length() const noexcept override { return std::nullopt; }

 private:
  std::string text_;
  size_t size_;
  size_t at_ = 0;
};

class Import : public ServiceTest {
 protected:
  void SetUp() override { start(); }

  std::vector<json> import(const std::string& text, const std::string& query = {}) {
    const Answer answer = request("POST", "/v1/imports" + query, text, {{"Content-Type", "text/csv"}});
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.field("Content-Type"), "application/x-ndjson");
    std::vector<json> lines;
    std::istringstream in(answer.body);
    for (std::string line; std::getline(in, line);) {
      json each = json::parse(line, nullptr, false);
      EXPECT_TRUE(each.is_object()) << line;
      if (!each.contains("progress")) lines.push_back(std::move(each));
    }
    EXPECT_TRUE(!lines.empty() && lines.back().contains("total")) << answer.body;
    return lines;
  }
  std::string exported(const std::string& format) { return request("GET", "/v1/exports?format=" + format).body; }
  size_t count() { return request("GET", "/v1/links?limit=100").json()["items"].size(); }
};

TEST_F(Import, EachRowIsToldWithWhatBecameOfIt) {
  create("https://other.example/", {{"alias", "taken"}});
  const auto lines = import(
      "url,code,title,tags,clicks,created_at\n"
      "https://a.example/,aaa,A,\"x,y\",7,2020-01-02T03:04:05Z\n"
      "ftp://b.example/,,,,,\n"
      "https://c.example/,taken,,,,\n"
      "https://go.example.com/x,,,,,\n"
      "https://d.example/,,,,,\n");
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[0], (json{{"line", 2}, {"result", "made"}, {"code", "aaa"}}));
  EXPECT_EQ(lines[1]["line"], 3);
  EXPECT_EQ(lines[1]["result"], "problem");
  EXPECT_EQ(lines[1]["field"], "url");
  EXPECT_EQ(lines[2]["code"], "already_exists");
  EXPECT_EQ(lines[3]["field"], "url");
  EXPECT_EQ(lines[4]["result"], "made");
  const json total = lines[5]["total"];
  EXPECT_EQ(total["rows"], 5);
  EXPECT_EQ(total["made"], 2);
  EXPECT_EQ(total["failed"], 3);
  EXPECT_EQ(total["complete"], true);
  EXPECT_EQ(total["format"], "trellis");
  const json made = request("GET", "/v1/links/aaa").json();
  EXPECT_EQ(made["clicks"], 7);
  EXPECT_EQ(made["created_at"], "2020-01-02T03:04:05.000Z");
  EXPECT_EQ(made["tags"], (json{"x", "y"}));
  EXPECT_EQ(request("GET", "/v1/links?tag=y").json()["items"].size(), 1u);
}

TEST_F(Import, ADryRunChecksEverythingAndWritesNothing) {
  create("https://other.example/", {{"alias", "taken"}});
  const auto lines = import(
      "url,code\nhttps://a.example/,aaa\nhttps://b.example/,aaa\nhttps://c.example/,taken\n,\nhttps://d.example/,\n",
      "?dry_run=true");
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[0]["result"], "made");
  EXPECT_EQ(lines[1]["code"], "already_exists");
  EXPECT_EQ(lines[2]["code"], "already_exists");
  EXPECT_EQ(lines[3]["result"], "problem");
  EXPECT_EQ(lines[4]["result"], "made");
  EXPECT_EQ(lines[5]["total"]["dry_run"], true);
  EXPECT_EQ(count(), 1u);
}

TEST_F(Import, AConflictCanBeSkippedAndTheSameLinkIsNone) {
  create("https://other.example/", {{"alias", "taken"}});
  const std::string text = "url,code\nhttps://c.example/,taken\nhttps://other.example/,taken\n";
  const auto lines = import(text, "?on_conflict=skip");
  EXPECT_EQ(lines[0]["result"], "skipped");
  EXPECT_EQ(lines[1]["result"], "exists");
  EXPECT_EQ(import(text, "?report=problems&on_conflict=skip").size(), 1u);
  EXPECT_EQ(import(text).back()["total"]["failed"], 1);
}

TEST_F(Import, ExistingLinksAreFoundByTheirUrl) {
  const std::string code = code_of("https://a.example/");
  const auto lines = import("url\nhttps://a.example/\nhttps://b.example/\nhttps://b.example/\n", "?find_existing=true");
  EXPECT_EQ(lines[0]["result"], "exists");
  EXPECT_EQ(lines[0]["code"], code);
  EXPECT_EQ(lines[1]["result"], "made");
  EXPECT_EQ(lines[2]["result"], "exists");
}

TEST_F(Import, AHeaderThatNobodyKnowsEndsItWithoutALink) {
  const auto lines = import("a,b\nc,d\n");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["line"], 1);
  EXPECT_EQ(lines[1]["total"]["complete"], false);
  EXPECT_EQ(import("")[0]["total"]["rows"], 0);
}

TEST_F(Import, ParametersThatAreNoneAreRefused) {
  for (const char* query : {"?format=xml", "?dry_run=1", "?on_conflict=stop", "?report=none", "?nonsense=1"})
    EXPECT_EQ(request("POST", std::string("/v1/imports") + query, "url\n").status, 400) << query;
  EXPECT_EQ(request("GET", "/v1/exports?format=xml").status, 400);
}

TEST_F(Import, ManyRowsInSmallPiecesComeThroughInOrder) {
  std::string text = "{\"url\":\"https://a.example/0\"}\n";
  for (int i = 1; i < 20'000; ++i) text += "{\"url\":\"https://a.example/" + std::to_string(i) + "\"}\n";
  auto book = std::make_unique<LinkBook>(
      LinkBook::Options{.base_url = "https://go.example.com"}, *store_,
      std::make_shared<cache::CacheSpace<Target>>(*cache_, cache::CacheSpace<Target>::Options{.name = "other"}));
  auto starting = book->start(*loop_, system_clock());
  ASSERT_TRUE(fakes::run_task(*loop_, std::move(starting)));
  ImportBody body(*book, *loop_, std::make_unique<PiecesBody>(text, 1021), {});
  auto reading = http::read_all(&body, uint64_t{1} << 30, kNever);
  const Result<std::string> answer = fakes::run_task(*loop_, std::move(reading));
  ASSERT_TRUE(answer) << answer.error().to_string();
  std::istringstream lines(*answer);
  uint64_t next = 1;
  for (std::string line; std::getline(lines, line);) {
    const json each = json::parse(line);
    if (each.contains("line")) {
      EXPECT_EQ(each["line"], next++);
    }
    if (each.contains("total")) {
      EXPECT_EQ(each["total"]["made"], 20'000);
      EXPECT_EQ(each["total"]["bytes"], text.size());
    }
  }
  EXPECT_EQ(next, 20'001u);
  auto stopping = book->stop(kNever);
  (void)fakes::run_task(*loop_, std::move(stopping));
}

TEST_F(Import, WhatIsExportedReadsBackToTheSameLinks) {
  import(
      "url,code,title,tags,clicks,created_at,status,max_visits,visits,forward_query,not_before,expires_at\n"
      "https://a.example/,aaa,\" A, \"\"quoted\"\" \",\"x,y\",7,2020-01-02T03:04:05.678Z,301,,,,,\n"
      "https://b.example/ü?q={},bbb,,,0,,,10,3,true,2031-01-01T00:00:00Z,2032-01-01T00:00:00Z\n"
      "https://c.example/,,\"=1+1\",,12,,308,5,,,,2021-01-01T00:00:00Z\n");
  create("https://gone.example/", {{"alias", "gone"}});
  request("DELETE", "/v1/links/gone");
  const std::string csv = exported("csv");
  const std::string ndjson = exported("ndjson");
  EXPECT_EQ(csv.find("gone"), std::string::npos);
  EXPECT_EQ(request("GET", "/v1/links/bbb").json()["visits_left"], 7);
  for (const std::string& text : {csv, ndjson}) {
    stop();
    store_.reset();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
    start();
    EXPECT_EQ(import(text).back()["total"]["made"], 3);
    EXPECT_EQ(exported("csv"), csv);
    EXPECT_EQ(exported("ndjson"), ndjson);
    EXPECT_EQ(request("GET", "/v1/links/bbb").json()["visits_left"], 7);
    EXPECT_EQ(import(text).back()["total"]["exists"], 3);
  }
}

TEST_F(Import, GrantedVisitsComeAlongWhateverTheMaximumIs) {
  import("url,code,max_visits,visits\nhttps://a.example/,less,10,7\nhttps://b.example/,none,10,6\n");
  EXPECT_EQ(request("PATCH", "/v1/links/less", R"({"max_visits":5})").status, 200);
  EXPECT_EQ(request("PATCH", "/v1/links/none", R"({"max_visits":null})").status, 200);
  const std::string csv = exported("csv");
  const std::string ndjson = exported("ndjson");
  for (const std::string& text : {csv, ndjson}) {
    stop();
    store_.reset();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
    start();
    EXPECT_EQ(import(text).back()["total"]["made"], 2);
    EXPECT_EQ(exported("csv"), csv);
    EXPECT_EQ(exported("ndjson"), ndjson);
    for (const char* code : {"less", "none"})
      EXPECT_EQ(request("PATCH", std::string("/v1/links/") + code, R"({"max_visits":8})").status, 200);
    EXPECT_EQ(request("GET", "/v1/links/less").json()["visits_left"], 1);
    EXPECT_EQ(request("GET", "/v1/links/none").json()["visits_left"], 2);
  }
}

TEST_F(Import, TheExportForShlinkIsReadAsShlinks) {
  import("url,code,tags,clicks\nhttps://a.example/,aaa,\"x,y\",7\n");
  const std::string text = exported("shlink");
  stop();
  store_.reset();
  std::filesystem::remove_all(folder_);
  std::filesystem::create_directory(folder_);
  start();
  const auto lines = import(text);
  EXPECT_EQ(lines.back()["total"]["format"], "shlink");
  const json made = request("GET", "/v1/links/aaa").json();
  EXPECT_EQ(made["clicks"], 7);
  EXPECT_EQ(made["tags"], (json{"x", "y"}));
}

// The writer takes one operation at a time, so that others wait while the rows are written.
class ImportBesideOthers : public Import {
 protected:
  void SetUp() override {
    store_options_.max_batch = 1;
    start();
  }

  using Counts = std::vector<int64_t>;
  static Result<int64_t> links_in(store::SqliteConnection& db) {
    TRY(store::Query row, db.query("SELECT count(*) FROM links"));
    TRY_VOID(row.next());
    return row.integer(0);
  }
  // What the service does of itself at its start is over when a second write has come back.
  void settle() {
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(fakes::run_task(*loop_, store_->write(&links_in)));
  }
  // Three others come behind the import, which waits for the writer, and count the links.
  static Task<> come_behind(store::SqliteStore& store, std::promise<void>& gate, Counts& counts) {
    while (store.queued() != 1) co_await yield();
    std::vector<Task<Result<int64_t>>> others;
    for (int i = 0; i < 3; ++i) {
      others.push_back(store.write(&links_in));
      others.back().start();
    }
    gate.set_value();
    for (auto& other : others) {
      const Result<int64_t> count = co_await other.join();
      counts.push_back(count ? *count : -1);
    }
  }
};

TEST_F(ImportBesideOthers, GivesWayToThemAndGoesOn) {
  std::string text = "url,code\n";
  for (int i = 0; i < 10'000; ++i) text += "https://a.example/" + std::to_string(i) + ",c" + std::to_string(i) + "\n";
  text += "ftp://b.example/,\n";
  settle();
  std::promise<void> begun;
  std::promise<void> gate;
  auto holding = store_->write([&begun, open = gate.get_future().share()](store::SqliteConnection&) -> Result<void> {
    begun.set_value();
    open.wait();
    return {};
  });
  holding.start();
  begun.get_future().wait();
  Counts counts;
  auto coming = come_behind(*store_, gate, counts);
  coming.start();
  const auto lines = import(text);
  EXPECT_EQ(counts, (Counts{4096, 4096, 4096}));
  ASSERT_EQ(lines.size(), 10'002u);
  for (size_t i = 0; i < 10'000; ++i) {
    ASSERT_EQ(lines[i], (json{{"line", i + 2}, {"result", "made"}, {"code", "c" + std::to_string(i)}}));
  }
  EXPECT_EQ(lines[10'000]["result"], "problem");
  EXPECT_EQ(lines.back()["total"]["made"], 10'000);
  const json newest = request("GET", "/v1/links?limit=2").json()["items"];
  EXPECT_EQ(newest[0]["code"], "c9999");
  EXPECT_EQ(newest[1]["code"], "c9998");
}

TEST_F(Import, LargeRulesCountTowardsThePieceThatIsHeld) {
  Link link;
  const size_t bare = bytes_of(link);
  link.rules.assign(250'000, 'r');
  link.tags = {std::string(64, 't'), std::string(64, 'u')};
  EXPECT_GE(bytes_of(link), bare + 250'000 + 128);
}

}  // namespace
}  // namespace trellis::services::links
