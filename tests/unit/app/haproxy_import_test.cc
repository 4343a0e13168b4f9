#include <gtest/gtest.h>

#include "app/import/haproxy.h"
#include "app/import/haproxy_proxies.h"
#include "app/import/haproxy_syntax.h"
#include "app/import/import.h"

namespace trellis::app {
namespace {

Imported import_text(const std::string& text) {
  const ImportFiles files{.read = [&](const std::string&) -> Result<std::string> { return text; },
                          .glob = [](const std::string&) { return std::vector<std::string>(); }};
  Result<Imported> out = import_config("x.cfg", nullptr, files);
  if (!out) {
    ADD_FAILURE() << out.error().to_string();
    return {};
  }
  EXPECT_EQ(out->kind, ImportKind::haproxy);
  return *std::move(out);
}
std::string web(const std::string& rules) {
  return import_text("defaults\n mode http\nfrontend web\n bind :80\n" + rules +
                     "\nbackend a\n server s 10.0.0.1:80\nbackend b\n server s 10.0.0.2:80\n")
      .yaml;
}
#define EXPECT_HAS(text, what) EXPECT_NE((text).find(what), std::string::npos) << (text)
#define EXPECT_HAS_NOT(text, what) EXPECT_EQ((text).find(what), std::string::npos) << (text)

TEST(HaproxySyntax, CutsWordsAsHaproxyDoes) {
  const auto sections = parse_haproxy("# c\nglobal\n a 'b c' \"d\\\"e\" f\\ g # h\n\nfrontend x\n", "x.cfg");
  ASSERT_TRUE(sections) << sections.error().to_string();
  ASSERT_EQ(sections->size(), 2u);
  EXPECT_EQ(sections->at(0).lines.at(0).words, (std::vector<std::string>{"a", "b c", "d\"e", "f g"}));
  EXPECT_EQ(sections->at(0).lines.at(0).at.to_string(), "x.cfg:3");
  EXPECT_EQ(sections->at(1).name, "x");
  for (const char* bad : {"a b", "global\n 'x", "global\n a\\", "global\n \xff"})
    EXPECT_FALSE(parse_haproxy(bad, "x")) << bad;
}

TEST(HaproxyImport, ReadsTimes) {
  EXPECT_EQ(haproxy_milliseconds("30s"), 30'000u);
  EXPECT_EQ(haproxy_milliseconds("500"), 500u);
  EXPECT_EQ(haproxy_milliseconds("1m"), 60'000u);
  for (const char* bad : {"", "s", "1x", "-1"}) EXPECT_FALSE(haproxy_milliseconds(bad)) << bad;
}

TEST(HaproxyImport, MakesRoutesOfRules) {
  const std::string yaml = web(R"(
 acl api path_beg /api/
 acl host hdr(host) -i One.example.com two.example.com:80
 acl write method POST
 use_backend a if api
 use_backend b if host write or { path /x }
 default_backend a)");
  EXPECT_HAS(yaml, "match: { path: \"/api/**\" }\n    to: upstream.a");
  EXPECT_HAS(yaml, "host: one.example.com, path: \"/**\", methods: [POST] }\n    to: upstream.b");
  EXPECT_HAS(yaml, "host: two.example.com, path: \"/**\", methods: [POST] }\n    to: upstream.b");
  EXPECT_HAS(yaml, "match: { path: /x }\n    to: upstream.b");
  EXPECT_HAS(yaml, "match: { path: \"/**\" }\n    to: upstream.a");
}

TEST(HaproxyImport, SaysThatRefusalsAreLetThrough) {
  const Imported imported = import_text(
      "defaults\n mode http\nfrontend web\n bind :80\n http-request deny if { path_end .php }\n default_backend a\n"
      "backend a\n server s 10.0.0.1:80\n");
  ASSERT_EQ(imported.remarks.left_out(), 1u);
  EXPECT_HAS(imported.remarks.kept().front().instead, "what it refused is let through");
}

TEST(HaproxyImport, KeepsAddressesOut) {
  for (const char* rule : {"http-request deny if !inside", "http-request deny unless inside",
                           "http-request deny deny_status 404 if !{ src 10.0.0.0/8 192.168.1.1 }"}) {
    const std::string yaml = web(std::string(" acl inside src 10.0.0.0/8\n acl inside src 192.168.1.1\n"
                                             " http-request return status 200 if { path /early }\n ") +
                                 rule + "\n redirect location /b if { path /a }\n default_backend a");
    const std::string allow = "      - allow: [\"10.0.0.0/8\", \"192.168.1.1\"]\n";
    EXPECT_HAS(yaml, "path: /a }\n    filters:\n" + allow);
    EXPECT_HAS(yaml, "path: \"/**\" }\n    filters:\n" + allow + "    to: upstream.a");
    EXPECT_HAS(yaml, "path: /early }\n    to: ");
  }
  EXPECT_HAS(web(" http-request deny if { src 10.1.0.0/16 }\n default_backend a"), "- deny: [\"10.1.0.0/16\"]");
  const std::string twice = web(
      " http-request deny if { path_end .x }\n http-request deny if !{ src 10.0.0.1 }\n http-request deny if !{ src "
      "10.0.0.2 }\n default_backend a");
  EXPECT_HAS(twice, "allow: [\"10.0.0.1\"]");
  EXPECT_HAS(twice, "let through");
  for (const char* other :
       {"if { src 10.0.0.1 } { path /x }", "if !{ src nonsense }", "if { src -f file }", "if nobody"})
    EXPECT_HAS(web(std::string(" http-request deny ") + other + "\n default_backend a"), "let through") << other;
}

TEST(HaproxyImport, LeavesNothingOpenThatAPasswordGuarded) {
  EXPECT_HAS_NOT(web(" http-request auth unless { path /x }\n default_backend a"), "to: upstream");
  const Imported backend = import_text(
      "defaults\n mode http\nfrontend web\n bind :80\n default_backend a\n"
      "backend a\n http-request auth\n server s 10.0.0.1:80\n");
  EXPECT_HAS(backend.yaml, "status: 501");
  EXPECT_HAS_NOT(backend.yaml, "to: upstream");
}

TEST(HaproxyImport, KeepsFrontendsApart) {
  const std::string yaml =
      import_text(
          "defaults\n mode http\nfrontend one\n bind :80\n default_backend a\n"
          "frontend two\n bind 127.0.0.1:81\n default_backend b\n"
          "backend a\n balance leastconn\n server s 10.0.0.1:80 weight 5\nbackend b\n server s 10.0.0.2:80 backup\n")
          .yaml;
  EXPECT_HAS(yaml, "listeners: [one], path: \"/**\" }\n    to: upstream.a");
  EXPECT_HAS(yaml, "listeners: [two], path: \"/**\" }\n    to: upstream.b");
  EXPECT_HAS(yaml, "balance: least_connections");
  EXPECT_HAS(yaml, "{ address: \"10.0.0.1:80\", weight: 5 }");
  EXPECT_HAS(yaml, "{ address: \"10.0.0.2:80\", backup: true }");
}

}  // namespace
}  // namespace trellis::app
