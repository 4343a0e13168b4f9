#include "proxy/files/files_target.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "proxy/files/file_body.h"
#include "tests/unit/proxy/proxy_test_kit.h"

namespace trellis::proxy {
namespace {

using http::FieldId;
using test::body_text;
using test::Exchange;
using test::Rig;
namespace fs = std::filesystem;

// A directory with a root inside and something outside that must never come out.
struct Tree {
  fs::path base;
  fs::path root;

  Tree() {
    char name[] = "/tmp/trellis-files-XXXXXX";
    TRELLIS_ASSERT(::mkdtemp(name) != nullptr);
    base = name;
    root = base / "root";
    fs::create_directory(root);
    write_at(base / "secret.txt", "SECRET");
  }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  ~Tree() {
    std::error_code ignored;
    fs::remove_all(base, ignored);
  }
  static void write_at(const fs::path& path, std::string_view text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  void write(const std::string& name, std::string_view text) const { write_at(root / name, text); }
};

struct Site {
  Tree tree;
  Rig rig;
  std::unique_ptr<FilesTarget> target;

  explicit Site(std::string_view more = "", OpenFiles::Options options = {}) {
    FilesConfig config = test::read_config<FilesConfig>("root: " + tree.root.string() + "\n" + std::string(more));
    Result<std::unique_ptr<FilesTarget>> made = FilesTarget::make(config, options);
    TRELLIS_ASSERT(made.has_value());
    target = std::move(*made);
  }
  http::Response answer(Exchange& exchange) {
    Result<http::Response> response = fakes::run_task(*rig.loop, target->handle(exchange.request, exchange.context));
    TRELLIS_ASSERT(response.has_value());
    return std::move(*response);
  }
  int status(std::string_view path, std::string_view method = "GET") {
    Exchange exchange(rig, method, path);
    return answer(exchange).status;
  }
  std::string text(std::string_view path) {
    Exchange exchange(rig, "GET", path);
    http::Response response = answer(exchange);
    return std::to_string(response.status) + " " + body_text(rig, response);
  }
};

TEST(FilesTarget, AnswersWithTypeValidatorsAndBody) {
  Site site;
  site.tree.write("a/page.html", "<p>hi</p>");
  Exchange exchange(site.rig, "GET", "/a/page.html");
  http::Response response = site.answer(exchange);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(body_text(site.rig, response), "<p>hi</p>");
  EXPECT_EQ(response.fields.value(FieldId::content_type), "text/html; charset=utf-8");
  EXPECT_EQ(response.fields.value(FieldId::cache_control), "no-cache");
  EXPECT_EQ(response.fields.value(FieldId::accept_ranges), "bytes");
  EXPECT_EQ(response.fields.value(FieldId::x_content_type_options), "nosniff");
  EXPECT_TRUE(response.fields.value(FieldId::etag).starts_with("\"9-"));
  EXPECT_EQ(response.fields.value(FieldId::last_modified).size(), 29u);

  Exchange head(site.rig, "HEAD", "/a/page.html");
  http::Response same = site.answer(head);
  EXPECT_EQ(same.status, 200);
  EXPECT_EQ(same.body.kind(), http::Body::Kind::none);
  EXPECT_EQ(same.fields.value(FieldId::content_length), "9");
  EXPECT_EQ(same.fields.value(FieldId::etag), response.fields.value(FieldId::etag));
}

TEST(FilesTarget, AnswersAHotFileWithoutSuspending) {
  Site site;
  site.tree.write("a.txt", "hello");
  EXPECT_EQ(site.text("/a.txt"), "200 hello");
  Exchange exchange(site.rig, "GET", "/a.txt");
  Task<Result<http::Response>> task = site.target->handle(exchange.request, exchange.context);
  task.start();
  ASSERT_TRUE(task.done());
  EXPECT_EQ(task.take()->status, 200);
}

TEST(FilesTarget, SeesAChangeAfterASecond) {
  Site site;
  site.tree.write("a.txt", "one");
  EXPECT_EQ(site.text("/a.txt"), "200 one");
  Tree::write_at(site.tree.root / "new", "three");
  fs::rename(site.tree.root / "new", site.tree.root / "a.txt");
  EXPECT_EQ(site.text("/a.txt"), "200 one");
  site.rig.advance(std::chrono::milliseconds(1001));
  EXPECT_EQ(site.text("/a.txt"), "200 three");
  fs::remove(site.tree.root / "a.txt");
  site.rig.advance(std::chrono::milliseconds(1001));
  EXPECT_EQ(site.status("/a.txt"), 404);
  EXPECT_EQ(site.target->files().paths(), 0u);
}

TEST(FilesTarget, SeesASwitchedRoot) {
  Tree tree;
  Tree::write_at(tree.base / "r1/a.txt", "one");
  Tree::write_at(tree.base / "r2/a.txt", "two");
  fs::create_directory_symlink("r1", tree.base / "current");
  Site site;
  FilesConfig config;
  config.root = (tree.base / "current").string();
  site.target = std::move(*FilesTarget::make(config));
  EXPECT_EQ(site.text("/a.txt"), "200 one");
  fs::create_directory_symlink("r2", tree.base / "next");
  fs::rename(tree.base / "next", tree.base / "current");
  site.rig.advance(std::chrono::seconds(2));
  EXPECT_EQ(site.text("/a.txt"), "200 two");
}

class Escape : public ::testing::TestWithParam<bool> {};

TEST_P(Escape, NoPathLeavesTheRoot) {
  OpenFiles::Options options;
  options.openat2 = GetParam();
  Site site("", options);
  site.tree.write("in.txt", "inside");
  site.tree.write("d/in.txt", "inside");
  fs::create_symlink(site.tree.base / "secret.txt", site.tree.root / "absolute.txt");
  fs::create_symlink("../secret.txt", site.tree.root / "up.txt");
  fs::create_symlink("../../secret.txt", site.tree.root / "d/upup.txt");
  fs::create_directory_symlink("..", site.tree.root / "parent");
  fs::create_directory_symlink("/proc/self", site.tree.root / "proc");
  fs::create_symlink("loop", site.tree.root / "loop");
  for (const char* path : {"/../secret.txt",
                           "/..%2fsecret.txt",
                           "/..%2Fsecret.txt",
                           "/%2e%2e/secret.txt",
                           "/%2E%2E%2Fsecret.txt",
                           "/....//secret.txt",
                           "/d/../../secret.txt",
                           "/d/%2e%2e/%2e%2e/secret.txt",
                           "//etc/passwd",
                           "/%2Fetc%2Fpasswd",
                           "/./in.txt",
                           "/in.txt/..",
                           "/d//in.txt",
                           "/absolute.txt",
                           "/up.txt",
                           "/d/upup.txt",
                           "/parent/secret.txt",
                           "/proc/root/etc/passwd",
                           "/proc/environ",
                           "/loop",
                           "/in.txt/",
                           "/in.txt/x",
                           "/d/",
                           "/parent/",
                           "/.",
                           "/..",
                           "/...",
                           "/%c0%ae%c0%ae/secret.txt",
                           "\\..\\secret.txt",
                           "secret.txt",
                           ""}) {
    Exchange exchange(site.rig, "GET", path);
    http::Response response = site.answer(exchange);
    EXPECT_EQ(response.status, 404) << path;
    EXPECT_EQ(body_text(site.rig, response).find("SECRET"), std::string::npos) << path;
  }
  EXPECT_EQ(site.status("/in%00.txt"), 400);
  EXPECT_EQ(site.status("/in.txt%00.html"), 400);
  EXPECT_EQ(site.status("/in%2"), 400);
  EXPECT_EQ(site.status("/in%zz"), 400);
  EXPECT_EQ(site.status("/" + std::string(300, 'x')), 404);
  std::string deep;
  for (int i = 0; i < 3000; ++i) deep += "/x";
  EXPECT_EQ(site.status(deep), 404);
  EXPECT_EQ(site.text("/in.txt"), "200 inside");
  EXPECT_EQ(site.text("/i%6e.txt"), "200 inside");
}

TEST_P(Escape, OddFilesAreNeverOpened) {
  OpenFiles::Options options;
  options.openat2 = GetParam();
  Site site("", options);
  ASSERT_EQ(::mkfifo((site.tree.root / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(site.status("/fifo"), 404) << "and does not hang";
  if (::mknod((site.tree.root / "null").c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0) {
    EXPECT_EQ(site.status("/null"), 404);
  }
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutOpenat2, Escape, ::testing::Bool(),
                         [](const auto& param) { return std::string(param.param ? "openat2" : "step_by_step"); });

TEST(FilesTarget, FollowsLinksThatStayInside) {
  Site site;
  site.tree.write("real/a.txt", "a");
  fs::create_symlink("real/a.txt", site.tree.root / "link.txt");
  fs::create_directory_symlink("real", site.tree.root / "dir");
  EXPECT_EQ(site.text("/link.txt"), "200 a");
  EXPECT_EQ(site.text("/dir/a.txt"), "200 a");
}

TEST(FilesTarget, SendsTheFallbackForWhatIsNotThere) {
  Site site("fallback: app.html\n");
  site.tree.write("app.html", "the app");
  site.tree.write("here.txt", "here");
  site.tree.write("folder/x.txt", "x");
  EXPECT_EQ(site.text("/some/page"), "200 the app");
  EXPECT_EQ(site.text("/"), "200 the app");         // without an index
  EXPECT_EQ(site.text("/folder/"), "200 the app");  // ... of any folder
  EXPECT_EQ(site.text("/here.txt"), "200 here");
  EXPECT_EQ(site.status("/folder"), 308);
  EXPECT_EQ(site.status("/.hidden"), 404);  // no way to ask for hidden names
  Exchange exchange(site.rig, "GET", "/other/page.css");
  EXPECT_EQ(site.answer(exchange).fields.value(FieldId::content_type), "text/html; charset=utf-8");
}

TEST(FilesTarget, HidesDotFilesButForWellKnown) {
  Site site;
  site.tree.write(".env", "KEY");
  site.tree.write(".git/config", "x");
  site.tree.write("d/.htaccess", "x");
  site.tree.write(".well-known/security.txt", "mail us");
  site.tree.write("d/.well-known/x", "x");
  for (const char* path : {"/.env", "/%2eenv", "/.git/config", "/d/.htaccess", "/d/.well-known/x"})
    EXPECT_EQ(site.status(path), 404) << path;
  EXPECT_EQ(site.text("/.well-known/security.txt"), "200 mail us");
}

TEST(FilesTarget, SendsDirectoriesToTheirOwnForm) {
  Site site("index: [index.htm, index.html]");
  site.tree.write("index.html", "top");
  site.tree.write("docs/index.html", "docs");
  site.tree.write("a:b/x", "x");
  fs::create_directories(site.tree.root / "empty");
  EXPECT_EQ(site.text("/"), "200 top");
  EXPECT_EQ(site.text("/docs/"), "200 docs");
  EXPECT_EQ(site.status("/empty/"), 404) << "never listed";
  const auto location = [&](std::string_view path) {
    Exchange exchange(site.rig, "GET", path);
    http::Response response = site.answer(exchange);
    EXPECT_EQ(response.status, 308) << path;
    return std::string(response.fields.value(FieldId::location));
  };
  EXPECT_EQ(location("/docs"), "./docs/");
  EXPECT_EQ(location("/docs?a=b"), "./docs/?a=b");
  EXPECT_EQ(location("/a:b"), "./a:b/") << "no scheme";
  EXPECT_EQ(site.status("//docs"), 404);
  EXPECT_EQ(location("/docs"), "./docs/") << "from memory too";
}

TEST(FilesTarget, RefusesOtherMethods) {
  Site site;
  site.tree.write("a.txt", "a");
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "PURGE"}) {
    Exchange exchange(site.rig, method, "/a.txt");
    http::Response response = site.answer(exchange);
    EXPECT_EQ(response.status, 405);
    EXPECT_EQ(response.fields.value(FieldId::allow), "GET, HEAD, OPTIONS");
  }
  EXPECT_EQ(site.status("/a.txt", "OPTIONS"), 204);
}

TEST(FilesTarget, AnswersConditionalRequests) {
  Site site;
  site.tree.write("a.txt", "hello");
  Exchange first(site.rig, "GET", "/a.txt");
  http::Response response = site.answer(first);
  const std::string etag(response.fields.value(FieldId::etag));
  Exchange again(site.rig, "GET", "/a.txt");
  http::Response not_modified = site.answer(again.with("If-None-Match", etag));
  EXPECT_EQ(not_modified.status, 304);
  EXPECT_EQ(not_modified.body.kind(), http::Body::Kind::none);
  EXPECT_EQ(not_modified.fields.value(FieldId::etag), etag);
  EXPECT_FALSE(not_modified.fields.has(FieldId::content_type));
  Exchange failed(site.rig, "GET", "/a.txt");
  EXPECT_EQ(site.answer(failed.with("If-Match", "\"other\"")).status, 412);
}

class Ranges : public ::testing::TestWithParam<size_t> {};

TEST_P(Ranges, OfMemoryAndOfDescriptors) {
  OpenFiles::Options options;
  options.max_content = GetParam();
  Site site("", options);
  std::string content;
  for (int i = 0; i < 10'000; ++i) content += std::to_string(i) + ",";
  site.tree.write("big.csv", content);
  const auto get = [&](std::string_view range, std::string_view if_range = "") {
    auto exchange = std::make_unique<Exchange>(site.rig, "GET", "/big.csv");
    exchange->with("Range", range);
    if (!if_range.empty()) exchange->with("If-Range", if_range);
    return exchange;
  };
  const std::string size = std::to_string(content.size());
  {
    auto exchange = get("bytes=10-19");
    http::Response response = site.answer(*exchange);
    EXPECT_EQ(response.status, 206);
    EXPECT_EQ(response.fields.value(FieldId::content_range), "bytes 10-19/" + size);
    EXPECT_EQ(body_text(site.rig, response), content.substr(10, 10));
    EXPECT_EQ(response.body.kind(), GetParam() == 0 ? http::Body::Kind::file : http::Body::Kind::bytes);
  }
  {
    auto exchange = get("bytes=-5");
    http::Response response = site.answer(*exchange);
    EXPECT_EQ(body_text(site.rig, response), content.substr(content.size() - 5));
  }
  {
    auto exchange = get("bytes=999999999-");
    http::Response response = site.answer(*exchange);
    EXPECT_EQ(response.status, 416);
    EXPECT_EQ(response.fields.value(FieldId::content_range), "bytes */" + size);
  }
  {
    auto exchange = get("bytes=1-2", "\"other\"");
    http::Response response = site.answer(*exchange);
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(body_text(site.rig, response), content);
  }
  {
    auto exchange = get("bytes=0-4,1000-1009,-3");
    http::Response response = site.answer(*exchange);
    EXPECT_EQ(response.status, 206);
    const std::string type(response.fields.value(FieldId::content_type));
    ASSERT_TRUE(type.starts_with("multipart/byteranges; boundary="));
    const std::string boundary = type.substr(type.find('=') + 1);
    EXPECT_EQ(boundary.size(), 32u);
    const auto part = [&](size_t from, size_t count) {
      return "\r\n--" + boundary + "\r\nContent-Type: text/csv; charset=utf-8\r\nContent-Range: bytes " +
             std::to_string(from) + "-" + std::to_string(from + count - 1) + "/" + size + "\r\n\r\n" +
             content.substr(from, count);
    };
    const std::optional<uint64_t> length = response.body.length();
    const std::string text = body_text(site.rig, response);
    EXPECT_EQ(text, part(0, 5) + part(1000, 10) + part(content.size() - 3, 3) + "\r\n--" + boundary + "--\r\n");
    EXPECT_EQ(length, text.size());
    EXPECT_FALSE(response.fields.has(FieldId::content_range));
  }
  Exchange head(site.rig, "HEAD", "/big.csv");
  head.with("Range", "bytes=0-1");
  EXPECT_EQ(site.answer(head).status, 200) << "ranges are for GET";
}

INSTANTIATE_TEST_SUITE_P(InMemoryAndNot, Ranges, ::testing::Values(size_t{1} << 20, size_t{0}));

TEST(FilesTarget, SendsWhatLiesCompressedBesideTheFile) {
  Site site("precompressed: [br, zstd, gzip]");
  site.tree.write("app.js", "plain");
  site.tree.write("app.js.br", "brotli");
  site.tree.write("app.js.gz", "gzipped");
  site.tree.write("alone.js", "alone");
  const auto get = [&](std::string_view path, std::string_view accept) {
    Exchange exchange(site.rig, "GET", path);
    exchange.with("Accept-Encoding", accept);
    http::Response response = site.answer(exchange);
    EXPECT_TRUE(response.fields.value(FieldId::content_type).starts_with("text/javascript"));
    return std::string(response.fields.value(FieldId::content_encoding)) + "|" +
           std::string(response.fields.value(FieldId::vary)) + "|" + body_text(site.rig, response);
  };
  EXPECT_EQ(get("/app.js", "gzip, br, zstd"), "br|Accept-Encoding|brotli");
  EXPECT_EQ(get("/app.js", "gzip"), "gzip|Accept-Encoding|gzipped");
  EXPECT_EQ(get("/app.js", "zstd"), "|Accept-Encoding|plain");
  EXPECT_EQ(get("/app.js", "identity"), "|Accept-Encoding|plain");
  EXPECT_EQ(get("/alone.js", "gzip, br"), "||alone");
  // A form that is older than its file was forgotten.
  fs::last_write_time(site.tree.root / "app.js.br",
                      fs::last_write_time(site.tree.root / "app.js") - std::chrono::hours(1));
  site.rig.advance(std::chrono::seconds(2));
  EXPECT_EQ(get("/app.js", "gzip, br"), "gzip|Accept-Encoding|gzipped");
}

TEST(FilesTarget, ServesFormsOfOneFileUnderTheirOwnTags) {
  Site site("precompressed: [gzip]");
  site.tree.write("a.css", "plain text");
  site.tree.write("a.css.gz", "gz");
  Exchange plain(site.rig, "GET", "/a.css");
  Exchange encoded(site.rig, "GET", "/a.css");
  http::Response one = site.answer(plain);
  http::Response two = site.answer(encoded.with("Accept-Encoding", "gzip"));
  EXPECT_NE(one.fields.value(FieldId::etag), two.fields.value(FieldId::etag));
}

TEST(FilesTarget, LetsClientsKeepWhatNeverChanges) {
  Site site("immutable: [/vendor/**]\ncache_control: max-age=60");
  const auto cache_control = [&](const std::string& name) {
    site.tree.write(name, "x");
    Exchange exchange(site.rig, "GET", "/" + name);
    return std::string(site.answer(exchange).fields.value(FieldId::cache_control));
  };
  constexpr const char* kForEver = "public, max-age=31536000, immutable";
  EXPECT_EQ(cache_control("app.3f2a9c1d.js"), kForEver);
  EXPECT_EQ(cache_control("vendor/lib/x.js"), kForEver);
  EXPECT_EQ(cache_control("app.js"), "max-age=60");
  EXPECT_EQ(cache_control("page.3f2a9c1d.html"), "max-age=60");
}

TEST(FilesTarget, ServesEmptyAndLargeFiles) {
  Site site;
  site.tree.write("empty.txt", "");
  site.tree.write("large.bin", std::string(200'000, 'x'));
  EXPECT_EQ(site.text("/empty.txt"), "200 ");
  EXPECT_EQ(site.text("/empty.txt"), "200 ");
  Exchange exchange(site.rig, "GET", "/large.bin");
  http::Response response = site.answer(exchange);
  ASSERT_EQ(response.body.kind(), http::Body::Kind::file);
  EXPECT_EQ(response.body.length(), 200'000u);
  EXPECT_EQ(site.target->files().handles(), 1u);
}

TEST(FilesTarget, KeepsNoMoreThanItMay) {
  OpenFiles::Options options;
  options.max_paths = 10;
  options.max_handles = 3;
  options.max_bytes = 5000;
  Site site("", options);
  for (int i = 0; i < 30; ++i) {
    const std::string name = "f" + std::to_string(i);
    site.tree.write(name, std::string(i % 2 == 0 ? 900 : 100'000, 'x'));
    EXPECT_EQ(site.status("/" + name), 200);
    EXPECT_LE(site.target->files().paths(), 10u);
    EXPECT_LE(site.target->files().handles(), 3u);
    EXPECT_LE(site.target->files().bytes(), 5000u);
  }
  EXPECT_EQ(site.status("/nothing"), 404);
}

TEST(FilesTarget, SaysWhenAFileMayNotBeRead) {
  if (::geteuid() == 0) GTEST_SKIP() << "root reads everything";
  Site site;
  site.tree.write("a.txt", "a");
  fs::permissions(site.tree.root / "a.txt", fs::perms::none);
  EXPECT_EQ(site.status("/a.txt"), 403);
}

TEST(FilesTarget, NeedsItsRoot) {
  FilesConfig config;
  config.root = "/nonexistent/directory";
  EXPECT_FALSE(FilesTarget::make(config));
}

TEST(FilesConfig, SaysWhatIsWrong) {
  const std::string problems =
      test::config_problems<FilesConfig>("root: x\nindex: [../a]\nimmutable: [a*]\nprecompressed: [br, br]\n");
  EXPECT_NE(problems.find("index[0]"), std::string::npos) << problems;
  EXPECT_NE(problems.find("immutable[0]"), std::string::npos) << problems;
  EXPECT_NE(problems.find("precompressed[1]"), std::string::npos) << problems;
}

TEST(FileBody, EndsWithAnErrorWhenTheFileBecameShorter) {
  Tree tree;
  Rig rig;
  tree.write("a", std::string(100'000, 'x'));
  const std::string path = (tree.root / "a").string();
  auto handle = std::make_shared<http::FileHandle>(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  FileBody body(http::FileSlice{handle, 0, 100'000});
  fs::resize_file(path, 70'000);
  Result<std::string> all = fakes::run_task(*rig.loop, http::read_all(&body, 1 << 20, kNever));
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code(), Code::data_loss);
}

}  // namespace
}  // namespace trellis::proxy
