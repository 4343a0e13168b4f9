#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "app/import/haproxy/haproxy.h"
#include "app/import/haproxy/proxies.h"
#include "app/import/haproxy/syntax.h"
#include "app/import/import.h"
#include "tests/unit/app/import_kit.h"

namespace trellis::app {
namespace {

Imported import_text(const std::string& text) {
  Result<Imported> out = import_config("x.cfg", nullptr, test::in_memory({{"x.cfg", text}}));
  if (!out) {
    ADD_FAILURE() << out.error().to_string();
    return {};
  }
  EXPECT_EQ(out->kind, ImportKind::haproxy);
  return *std::move(out);
}
bool told(const Imported& imported, std::string_view directive) {
  return std::ranges::find(imported.remarks.kept(), directive, &Remark::directive) != imported.remarks.kept().end();
}
std::string web(const std::string& rules) {
  return import_text("defaults\n mode http\nfrontend web\n bind :80\n" + rules +
                     "\nbackend a\n server s 10.0.0.1:80\nbackend b\n server s 10.0.0.2:80\n")
      .yaml;
}

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

TEST(HaproxyImport, KnowsWhatHaproxyNamesByItself) {
  EXPECT_HAS(web(" use_backend a if METH_POST\n default_backend b"), "methods: [POST] }\n    to: upstream.a");
  EXPECT_HAS(web(" use_backend a if TRUE { path /x }\n default_backend b"), "path: /x }\n    to: upstream.a");
  EXPECT_HAS(web(" acl METH_POST path /mine\n use_backend a if METH_POST\n default_backend b"),
             "path: /mine }\n    to: upstream.a");
  const std::string fields =
      web(" http-request set-header X-A %[src_port]\n http-request set-header X-B %[req.cook(user)]\n"
          " http-request set-header X-C %[path]\n http-request set-header X-D %[req.fhdr(X-Old)]\n"
          " http-request set-header X-E %[req.hdr(x),lower]\n default_backend a");
  EXPECT_HAS(fields, "X-A: \"$${client.port}\"");
  EXPECT_HAS(fields, "X-B: \"$${cookie.user}\"");
  EXPECT_HAS(fields, "X-C: \"$${path}\"");
  EXPECT_HAS(fields, "X-D: \"$${header.X-Old}\"");
  EXPECT_HAS_NOT(fields, "X-E:");
}

TEST(HaproxyImport, TellsWherePathsDiffer) {
  const auto tells = [](const std::string& condition, const std::string& what) {
    const std::string yaml = web(" use_backend a if { " + condition + " }\n default_backend b");
    EXPECT_HAS(yaml, what);
  };
  tells("path_beg /api/", "/api is taken, too, not only what is below it");
  tells("path_beg /api", "whole segments are compared: /api and what is below it");
  tells("path_dir img", "a folder is looked for at the beginning of a path, not anywhere: /img and what is below it");
  tells("path_reg ^/v[12]/", "/v2 is taken, too, not only what is below it");
  tells("path_reg ^/v1", "longer names that begin alike are not matched");
  tells("path -i /X", "values are compared with their case");
  tells("path_beg -i /X/", "values are compared with their case");
  EXPECT_HAS_NOT(web(" use_backend a if { hdr(host) -i X.example }\n default_backend b"), "case");
  EXPECT_HAS_NOT(web(" use_backend a if { path_beg / }\n default_backend b"), "is taken, too");
}

TEST(HaproxyImport, SaysThatRefusalsAreLetThrough) {
  const Imported imported = import_text(
      "defaults\n mode http\nfrontend web\n bind :80\n http-request deny if { path_end .php }\n default_backend a\n"
      "backend a\n server s 10.0.0.1:80\n");
  ASSERT_EQ(imported.remarks.left_out(), 1u);
  EXPECT_HAS(imported.remarks.kept().front().instead, "what it refused is let through");
}

TEST(HaproxyImport, SaysHowATcpCheckIsWrittenHere) {
  const Imported imported = import_text(
      "listen redis\n mode tcp\n bind :6379\n option tcp-check\n tcp-check send PING\\r\\n\n tcp-check expect string "
      "+PONG\n"
      " server s 10.0.0.1:6379 check\n");
  ASSERT_EQ(imported.remarks.left_out(), 2u);
  EXPECT_HAS(imported.remarks.kept().front().instead, "health: { kind: tcp, send, expect }");
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
  EXPECT_HAS(twice, "match: { path: \"/**\" }\n    to: { fixed: { status: 501");
  EXPECT_HAS_NOT(twice, "to: upstream.");
  for (const char* other :
       {"if { src 10.0.0.1 } { path_end x }", "if { src nonsense }", "if { src -f file }", "if nobody"})
    EXPECT_HAS(web(std::string(" http-request deny ") + other + "\n default_backend a"), "let through") << other;
}

TEST(HaproxyImport, KeepsAddressesOutOfAPath) {
  const std::string yaml = web(R"(
 acl inside src 10.0.0.0/8 192.168.1.1
 acl admin path_beg /admin/
 http-request deny if admin !inside
 http-request deny if { src 10.9.9.9 } { hdr(host) -i one.example } { path_beg /admin/ }
 use_backend b if { path_beg /admin/x/ }
 use_backend b if { path /y } METH_POST
 default_backend a)");
  const std::string allow = "      - allow: [\"10.0.0.0/8\", \"192.168.1.1\"]\n";
  EXPECT_HAS(yaml, "match: { path: \"/admin/x/**\" }\n    filters:\n" + allow + "    to: upstream.b");
  EXPECT_HAS(yaml, "match: { path: \"/admin/**\" }\n    filters:\n" + allow + "    to: upstream.a");
  EXPECT_HAS(yaml, "match: { path: /y, methods: [POST] }\n    to: upstream.b");
  EXPECT_HAS(yaml, "match: { path: \"/**\" }\n    to: upstream.a");
  EXPECT_HAS(yaml, "host: one.example, path: \"/admin/**\" }\n    filters:\n      - deny: [\"10.9.9.9\"]\n" + allow);
  EXPECT_HAS(yaml, "host: one.example, path: \"/**\" }\n    to: upstream.a");
  EXPECT_HAS_NOT(yaml, "let through");
}

TEST(HaproxyImport, GuardsWhatStandsBetweenTwoLists) {
  const std::string yaml = web(R"(
 http-request return status 200 string early if { path /early }
 http-request deny if !{ src 10.0.0.0/8 }
 http-request return status 200 string between if { path /between }
 http-request deny if { src 10.6.6.6 }
 default_backend a)");
  EXPECT_HAS(yaml, "path: /early }\n    to: ");
  EXPECT_HAS(yaml, "path: /between }\n    filters:\n      - allow: [\"10.0.0.0/8\"]\n    to: ");
  EXPECT_HAS(yaml, "path: \"/**\" }\n    filters:\n      - deny: [\"10.6.6.6\"]\n      - allow: [\"10.0.0.0/8\"]\n");
}

TEST(HaproxyImport, ClosesByEveryRuleThatRefuses) {
  const std::string yaml = web(R"(
 block if { path /block }
 http-request tarpit if { path /tarpit }
 http-request tarpit deny_status 429 if { path /tarpit2 }
 http-request reject if { path /reject }
 http-request silent-drop if { path /drop }
 http-request deny status 418 content-type text/plain string no if { path /tea }
 default_backend a)");
  for (const auto& [path, status] :
       {std::pair{"block", 403}, {"tarpit", 500}, {"tarpit2", 429}, {"reject", 403}, {"drop", 403}, {"tea", 418}})
    EXPECT_HAS(yaml, "path: /" + std::string(path) + " }\n    to: { fixed: { status: " + std::to_string(status));
  EXPECT_HAS(yaml, "of the answer of a refusal only the status");
  for (const char* rule :
       {"http-request reject if { src 10.0.0.1 }", "block if { src 10.0.0.1 }", "reqdeny ^GET", "reqitarpit ^GET",
        "http-response deny if { status 500 }", "tcp-request content reject if { src 10.0.0.1 }"}) {
    const std::string backend = import_text(
                                    "defaults\n mode http\nfrontend web\n bind :80\n default_backend a\n"
                                    "backend a\n server s 10.0.0.1:80\n " +
                                    std::string(rule) + "\n")
                                    .yaml;
    EXPECT_HAS(backend, "status: 501") << rule;
    const std::string frontend = web(" " + std::string(rule) + "\n default_backend a");
    EXPECT_TRUE(frontend.find("let through") != std::string::npos || frontend.find("deny:") != std::string::npos)
        << rule;
  }
}

TEST(HaproxyImport, MakesRedirectsWithVariables) {
  const Imported imported = import_text(R"(
defaults
 mode http
frontend web
 bind :80
 http-request redirect location https://%[hdr(host)]/v2%[path] code 301 if { path /a }
 http-request redirect code 308 location https://www.%[req.hdr(Host)]%[capture.req.uri] if { path /b }
 redirect prefix https://m.example code 302 drop-query append-slash if { path /c }
 redirect scheme https drop-query if { path /d }
 redirect location /e2 set-cookie SEEN=1 if { path /e }
 redirect location /f2%[rand] if { path /f }
 default_backend a
backend a
 server s 10.0.0.1:80
)");
  const std::string& yaml = imported.yaml;
  EXPECT_HAS(yaml, "redirect: { to: \"https://$${host}/v2$${path}\", status: 301 }");
  EXPECT_HAS(yaml, "redirect: { to: \"https://www.$${host}$${uri}\", status: 308 }");
  EXPECT_HAS(yaml, "redirect: { to: \"https://m.example$${path}\", status: 302 }");
  EXPECT_HAS(yaml, "redirect: { to: \"https://$${host}$${path}\", status: 302 }");
  EXPECT_HAS(yaml, "redirect: { to: /e2, status: 302 }");
  EXPECT_HAS_NOT(yaml, "path: /f }");
  for (const char* what : {"redirect ... append-slash", "redirect ... set-cookie", "redirect"})
    EXPECT_TRUE(told(imported, what)) << what;
}

TEST(HaproxyImport, ChangesFieldsOneAfterTheOther) {
  const std::string yaml = web(R"(
 http-request set-header X-Who %[src]:%[src_port]
 http-request add-header X-Via edge
 http-request set-header X-Gone 1
 http-request del-header x-gone
 http-response set-header X-Edge 1
 http-response add-header X-More %[method]
 compression algo gzip
 compression type text/html text/plain
 redirect location /y if { path /x }
 default_backend c
backend c
 server s 10.0.0.3:80
 http-request set-header X-Backend c
 http-request del-header X-Who
 http-response set-header X-Edge 2
 http-response set-header X-Served c)");
  EXPECT_HAS(yaml,
             "request: { set: { X-Backend: c }, add: { X-Via: edge }, remove: [x-gone, X-Who] }, response: { set: { "
             "X-Served: c, X-Edge: \"1\" }, add: { X-More: \"$${method}\" } }");
  EXPECT_HAS(yaml, "- compress: { encodings: [gzip], types: [text/html, text/plain] }");
  EXPECT_HAS(yaml, "path: /x }\n    to: { redirect");  // HAProxy changes only answers that servers gave
  EXPECT_HAS_NOT(yaml, "Left out");
}

TEST(HaproxyImport, AnswersMonitorsBeforeAnythingElse) {
  const std::string yaml =
      web(" http-request deny if !{ src 10.0.0.0/8 }\n http-request auth\n monitor-uri /up\n default_backend a");
  EXPECT_HAS(yaml,
             "match: { path: /up }\n    filters:\n      - headers: { response: { set: { Cache-Control: no-cache } } }\n"
             "    to: { fixed: { status: 200, body: \"<html>");
  const Imported split = import_text(
      "defaults\n mode http\nfrontend web\n bind :80\n use_backend b if { cook(x) 1 }\n default_backend a\n"
      "backend a\n server s 10.0.0.1:80\n http-request set-header X-A 1\nbackend b\n server s 10.0.0.2:80\n");
  EXPECT_TRUE(told(split, "backend a"));
  EXPECT_HAS(split.yaml, "x.cfg:6: backend a: a route that is split");
}

TEST(HaproxyImport, TellsWhatABindLoses) {
  const Imported imported = import_text(
      "listen web\n mode http\n bind :443 ssl crt a.pem ca-file ca.pem verify required\n bind :80 interface eth1 "
      "maxconn "
      "10\n bind :81 ssl crt a.pem verify none\n server s 10.0.0.1:80\n");
  for (const char* what : {"bind ... verify", "bind ... interface", "bind ... maxconn"})
    EXPECT_TRUE(told(imported, what)) << what;
  EXPECT_EQ(std::ranges::count(imported.remarks.kept(), "bind ... verify", &Remark::directive), 1);
}

TEST(HaproxyImport, ReadsHowAServerIsChecked) {
  const auto health = [](const std::string& lines) {
    return import_text("listen web\n mode http\n bind :80\n " + lines + "\n server s 10.0.0.1:80 check\n");
  };
  const Imported old = health("option httpchk HEAD /up HTTP/1.1\\r\\nHost:\\ www.example.com\\r\\nX-Key:\\ 1");
  EXPECT_HAS(old.yaml, "kind: http, path: /up, method: HEAD, host: www.example.com");
  EXPECT_TRUE(told(old, "option httpchk"));
  const Imported sent =
      health("option httpchk\n http-check send meth POST uri /x ver HTTP/1.1 hdr Host api hdr X-Key 1 body b");
  EXPECT_HAS(sent.yaml, "kind: http, path: /x, host: api");
  EXPECT_EQ(std::ranges::count(sent.remarks.kept(), "http-check send", &Remark::directive), 3);
}

TEST(HaproxyImport, ReadsOldFiles) {
  const Imported imported = import_text(
      "defaults\n mode http\n contimeout 5000\n clitimeout 50000\n srvtimeout 40000\n redispatch\n"
      "listen web 127.0.0.1:8000\n server s 10.0.0.1:80\n");
  EXPECT_HAS(imported.yaml, "web: { bind: \"127.0.0.1:8000\", body_timeout: 50s");
  EXPECT_HAS(imported.yaml, "connect: 5s, first_byte: 40s");
  EXPECT_EQ(imported.remarks.total(), 0u);
}

TEST(HaproxyImport, ChangesThePathOfABackend) {
  const auto rewrite = [](const std::string& line) {
    const std::string yaml = web(" default_backend c\nbackend c\n server s 10.0.0.3:80\n http-request " + line);
    const size_t at = yaml.find("rewrite: {");
    return at == std::string::npos ? std::string() : yaml.substr(at + 9, yaml.find('}', at) - at - 8);
  };
  EXPECT_EQ(rewrite("set-path %[path,regsub(^/api/,/)]"), "{ strip_prefix: /api }");
  EXPECT_EQ(rewrite("set-path \"%[path,regsub(^/api/?,/)]\""), "{ strip_prefix: /api }");
  EXPECT_EQ(rewrite("set-path %[path,regsub(^/api,/v2)]"), "{ strip_prefix: /api, add_prefix: /v2 }");
  EXPECT_EQ(rewrite("set-path /v2%[path]"), "{ add_prefix: /v2 }");
  EXPECT_EQ(rewrite("replace-path ^/api/(.*) /v2/\\\\1"), "{ strip_prefix: /api, add_prefix: /v2 }");
  EXPECT_EQ(rewrite("replace-path (.*) /v2\\\\1"), "{ add_prefix: /v2 }");
  for (const char* other : {"set-path /fixed", "set-path %[path,regsub(api,x)]", "set-path %[path,lower]",
                            "replace-path ^/(a|b)/(.*) /\\\\2", "set-path /v2%[path] if { path /x }"})
    EXPECT_EQ(rewrite(other), "") << other;
}

TEST(HaproxyImport, KnowsWhoComesWithoutTls) {
  const std::string head =
      "defaults\n mode http\nfrontend web\n bind :80\n bind :443 ssl crt a.pem\n acl secure ssl_fc\n ";
  const std::string tail = "\n default_backend a\nbackend a\n server s 10.0.0.1:80\n";
  for (const char* rule :
       {"redirect scheme https if !secure", "redirect scheme https unless secure",
        "http-request redirect scheme https unless { ssl_fc }", "http-request deny if !{ ssl_fc }"}) {
    const std::string yaml = import_text(head + rule + tail).yaml;
    EXPECT_HAS(yaml, "match: { listeners: [web_2], path: \"/**\" }\n    filters:\n      - headers:");
    EXPECT_EQ(yaml.find("upstream.a"), yaml.rfind("upstream.a")) << rule;
    EXPECT_HAS_NOT(yaml, "let through");
  }
  EXPECT_EQ(import_text(head +
                        "http-request set-header X-Forwarded-Proto https if secure\n http-request add-header "
                        "X-Forwarded-Proto http if !{ ssl_fc }" +
                        tail)
                .remarks.left_out(),
            1u);  // of the bind
  const std::string some =
      import_text(head +
                  "redirect scheme https if { hdr(host) -i www.example.com } !{ ssl_fc }\n use_backend b if { ssl_fc "
                  "} { path /x }" +
                  tail + "backend b\n server s 10.0.0.2:80\n")
          .yaml;
  EXPECT_HAS(some, "listeners: [web], host: www.example.com, path: \"/**\" }\n    to: { redirect");
  EXPECT_HAS(some, "listeners: [web_2], path: /x }\n    filters");
  EXPECT_HAS_NOT(some, "listeners: [web], path: /x }");
  EXPECT_HAS(
      import_text(head + "use_backend b if { rand(100) lt 5 } secure" + tail + "backend b\n server s 10.0.0.2:80\n")
          .yaml,
      "its share of requests cannot be said");
}

TEST(HaproxyImport, LeavesToOthersWhatARuleExcepts) {
  const std::string hosts = web(R"(
 acl one hdr(host) -i one.example
 acl two hdr(host) -i two.example www.two.example
 http-request deny if !one !two
 use_backend b if { path_beg /b/ }
 default_backend a)");
  for (const char* host : {"one.example", "two.example", "www.two.example"}) {
    EXPECT_HAS(hosts, "host: " + std::string(host) + ", path: \"/b/**\" }\n    to: upstream.b");
    EXPECT_HAS(hosts, "host: " + std::string(host) + ", path: \"/**\" }\n    to: upstream.a");
  }
  EXPECT_HAS(hosts, "match: { path: \"/**\" }\n    to: { fixed: { status: 403");
  EXPECT_HAS_NOT(hosts, "match: { path: \"/b/**\" }");
  EXPECT_HAS_NOT(hosts, "let through");

  const std::string methods =
      web(" http-request deny deny_status 405 if !METH_GET !METH_POST\n"
          " use_backend b if { path /b } METH_PUT\n default_backend a");
  for (const char* method : {"GET", "POST"})
    EXPECT_HAS(methods, "path: \"/**\", methods: [" + std::string(method) + "] }\n    to: upstream.a");
  EXPECT_HAS(methods, "path: \"/**\" }\n    to: { fixed: { status: 405");
  EXPECT_HAS_NOT(methods, "to: upstream.b");

  const std::string several =
      web(" acl ro method GET HEAD OPTIONS\n http-request deny if !ro\n"
          " use_backend b if METH_POST\n default_backend a");
  EXPECT_HAS(several, "match: { path: \"/**\", methods: [GET, HEAD, OPTIONS] }\n    to: upstream.a");
  EXPECT_HAS_NOT(several, "Left out");
  EXPECT_HAS_NOT(web(" http-request deny if !METH_GET !METH_HEAD\n default_backend a"), "Left out");

  const std::string token =
      web(" http-request deny if { path_beg /t/ } !{ hdr(x-token) -m found }\n default_backend a");
  EXPECT_HAS(token, "path: \"/t/**\", headers: { x-token: \"*\" } }\n    to: upstream.a");
  EXPECT_HAS(token, "path: \"/t/**\" }\n    to: { fixed: { status: 403");
  EXPECT_HAS(token, "path: \"/**\" }\n    to: upstream.a");

  const std::string moved =
      web(" redirect scheme https unless { hdr(x-forwarded-proto) https }\n"
          " use_backend b unless { path_beg /a/ }\n default_backend a");
  EXPECT_HAS(moved, "path: \"/a/**\", headers: { x-forwarded-proto: https } }\n    to: upstream.a");
  EXPECT_HAS(moved, "path: \"/**\", headers: { x-forwarded-proto: https } }\n    to: upstream.b");
  EXPECT_HAS(moved, "match: { path: \"/**\" }\n    to: { redirect: { to: \"https://$${host}$${uri}\"");
}

TEST(HaproxyImport, ClosesWhereItCannotSayWhomARefusalSpares) {
  for (const char* rule : {"http-request deny if !{ path_end .x }", "http-request deny unless { var(txn.ok) -m bool }",
                           "http-request deny if !one or { path /x }", "http-request tarpit if !{ src nonsense }",
                           "tcp-request connection reject if !{ src 10.0.0.0/8 }", "tcp-request content reject",
                           "http-request return status 403 unless { var(txn.ok) -m bool }",
                           "http-request return status 401 hdr a b string no unless { http_auth(users) }"}) {
    const std::string yaml = web(" acl one hdr(host) a\n use_backend b if { path /b }\n " + std::string(rule) +
                                 "\n monitor-uri /up\n default_backend a");
    EXPECT_HAS(yaml, "match: { path: \"/**\" }\n    to: { fixed: { status: 501") << rule;
    EXPECT_HAS_NOT(yaml, "to: upstream.") << rule;
    EXPECT_HAS(yaml, "until you decide") << rule;
  }
  const std::string part =
      web(" http-request deny if { path_beg /a/ } !{ var(txn.ok) -m bool }\n use_backend b if { path /a/b }\n"
          " default_backend a");
  EXPECT_HAS(part, "match: { path: \"/a/**\" }\n    to: { fixed: { status: 501");
  EXPECT_HAS(part, "match: { path: \"/**\" }\n    to: upstream.a");
  EXPECT_HAS_NOT(part, "upstream.b");
  const std::string beside =
      web(" http-request deny unless { hdr(x-key) one }\n use_backend b if { hdr(x-key) two }\n default_backend a");
  EXPECT_HAS(beside, "match: { path: \"/**\" }\n    to: { fixed: { status: 501");
  EXPECT_HAS_NOT(beside, "to: upstream.");
}

TEST(HaproxyImport, TakesAReturnThatRefusesForARefusal) {
  const std::string yaml =
      web(" http-request return status 403 content-type text/html string no if !{ src 10.0.0.0/8 } { path /a }\n"
          " http-request return status 403 string no if { path /b }\n"
          " http-request return status 403 file /no.html if { path /c }\n"
          " http-request return status 404 file /no.html if { path /d }\n default_backend a");
  EXPECT_HAS(yaml, "path: /a }\n    filters:\n      - allow: [\"10.0.0.0/8\"]\n    to: upstream.a");
  EXPECT_HAS(yaml, "path: /b }\n    to: { fixed: { status: 403, body: \"no\"");
  EXPECT_HAS(yaml, "path: /c }\n    to: { fixed: { status: 403 } }");
  EXPECT_HAS_NOT(yaml, "path: /d }");
  for (const auto& [status, closed] : {std::pair{"403", true}, {"404", false}}) {
    const std::string text = import_text(
                                 "defaults\n mode http\nfrontend web\n bind :80\n default_backend a\nbackend a\n"
                                 " server s 10.0.0.1:80\n http-request return status " +
                                 std::string(status) + " if { path /x }\n")
                                 .yaml;
    EXPECT_EQ(text.find("to: upstream.a") == std::string::npos, closed) << text;
  }
}

TEST(HaproxyImport, KeepsAddressesOutButForSomePaths) {
  const std::string yaml = web(R"(
 acl open path /health
 http-request deny if !{ src 10.0.0.0/8 } !open !{ path_beg /pub/ }
 use_backend b if { path_beg /pub/x/ }
 use_backend b if { path_beg /b/ }
 default_backend a)");
  const std::string allow = "    filters:\n      - allow: [\"10.0.0.0/8\"]\n";
  EXPECT_HAS(yaml, "path: /health }\n    to: upstream.a");
  EXPECT_HAS(yaml, "path: \"/pub/**\" }\n    to: upstream.a");
  EXPECT_HAS(yaml, "path: \"/pub/x/**\" }\n    to: upstream.b");
  EXPECT_HAS(yaml, "path: \"/b/**\" }\n" + allow + "    to: upstream.b");
  EXPECT_HAS(yaml, "path: \"/**\" }\n" + allow + "    to: upstream.a");
  EXPECT_HAS_NOT(yaml, "Left out");
}

TEST(HaproxyImport, ReadsValuesFromFiles) {
  std::string many;
  for (int i = 0; i < 300; ++i) many += "10.0.0." + std::to_string(i % 256) + "\n";
  const std::map<std::string, std::string> texts = {
      {"/etc/bad.lst", "# bad\n10.1.0.0/16\n\n  10.2.2.2 \r\n"},
      {"etc/hosts.lst", "a.example\nB.example\n"},
      {"/etc/many.lst", many},
      {"/etc/odd.lst", "10.0.0.1 extra\n"},
      {"etc/x.cfg",
       "frontend web\n mode http\n bind :80\n acl bad src -f /etc/bad.lst\n http-request deny if bad\n"
       " http-request deny if { src -f /etc/many.lst }\n http-request deny if { src -f /etc/odd.lst }\n"
       " http-request deny if { src -f /etc/none.lst }\n"
       " use_backend b if { hdr(host) -i -f hosts.lst }\n default_backend a\n"
       "backend a\n server s 10.0.0.1:80\nbackend b\n server s 10.0.0.2:80\n"}};
  const ImportFiles files{.read = [&](const std::string& path) -> Result<std::string> {
                            const auto found = texts.find(path);
                            if (found == texts.end()) return fail(Code::not_found, path);
                            return found->second;
                          },
                          .glob = [](const std::string&) { return std::vector<std::string>(); }};
  const Result<Imported> out = import_config("etc/x.cfg", nullptr, files);
  ASSERT_TRUE(out) << out.error().to_string();
  EXPECT_HAS(out->yaml, "- deny: [\"10.1.0.0/16\", \"10.2.2.2\"]");
  EXPECT_HAS(out->yaml, "host: a.example");
  EXPECT_HAS(out->yaml, "host: b.example");
  EXPECT_TRUE(told(*out, "acl bad -f /etc/bad.lst"));
  EXPECT_EQ(out->remarks.left_out(), 3u);
}

TEST(HaproxyImport, LeavesNothingOpenThatAPasswordGuarded) {
  for (const char* rule : {"http-request auth unless { path /x }", "http-request deny unless known",
                           "http-request deny if !known { path /x }", "block if !{ http_auth(users) }"})
    EXPECT_HAS_NOT(web(" acl known http_auth(users)\n " + std::string(rule) + "\n default_backend a"), "to: upstream");
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

TEST(HaproxyImport, SharesOutWhatRulesTakeByChance) {
  const std::string one = web(" use_backend b if { rand(100) lt 5 }\n default_backend a");
  EXPECT_HAS(one, "split: { key: random, ways: [{ name: b, share: 5%, to: upstream.b }] }\n    to: upstream.a");
  // Each of two draws anew; of one number, the second one gets what the first one leaves.
  EXPECT_HAS(web(" use_backend b if { rand(10) lt 1 }\n use_backend b if { rand(10) lt 5 }\n default_backend a"),
             "[{ name: b, share: 10%, to: upstream.b }, { name: b_2, share: 45%, to: upstream.b }]");
  EXPECT_HAS(web(" use_backend b if { src,crc32,mod(10) lt 1 }\n use_backend b if { src,crc32,mod(10) lt 5 }\n"
                 " default_backend a"),
             "key: client_address, ways: [{ name: b, share: 10%, to: upstream.b }, { name: b_2, share: 40%, to: ");
  // Of one path only: a route of its own, and the other requests stay as they were.
  const std::string path = web(" use_backend b if { rand(2) lt 1 } { path /x }\n default_backend a");
  EXPECT_HAS(path, "path: /x }\n    filters:\n      - split: { key: random, ways: [{ name: b, share: 50%");
  EXPECT_HAS(path, "path: \"/**\" }\n    to: upstream.a");
  EXPECT_HAS(web(" use_backend b if { cook(v) new }\n default_backend a"),
             "ways: [{ name: b, to: upstream.b, when: { cookie: \"v=new\" } }]");
}

TEST(HaproxyImport, TellsSharesThatNoSplitSays) {
  for (const char* rules :
       {" use_backend b if { rand(100) lt 5 }\n use_backend b if { src,crc32,mod(9) lt 5 }",
        " use_backend b if { rand(100) lt 5 }\n use_backend b if { cook(v) new }",
        " use_backend b if { rand(100) lt 5 } { hdr(x) 1 }\n use_backend a if { path_beg /a/ }",
        " use_backend b if { rand(0) lt 5 }", " use_backend b if { rand(100000) lt 5 }",
        " use_backend b if { rand(100) lt five }", " use_backend b if { src,crc32,djb2,mod(9) lt 5 }",
        " use_backend b unless { rand(2) lt 1 }", " use_backend b if { rand(100) lt 5 } or { path /x }"}) {
    const std::string yaml = web(std::string(rules) + "\n default_backend a");
    EXPECT_HAS(yaml, "use_backend b: ") << rules;
  }
}

TEST(HaproxyImport, BelievesOnlyAddressesThatAreNamed) {
  const auto listener = [](const std::string& bind, const std::string& rules) {
    const std::string yaml = import_text("defaults\n mode http\nfrontend web\n bind :80 " + bind + "\n" + rules +
                                         " default_backend a\nbackend a\n server s 10.0.0.1:80\n")
                                 .yaml;
    const size_t at = yaml.find("  web: ");
    return yaml.substr(at, yaml.find('\n', at) - at);
  };
  const std::string named = ", proxy_protocol: in, trusted: [\"10.0.0.0/8\"]";
  EXPECT_HAS(listener("accept-proxy", " tcp-request connection reject if !{ src 10.0.0.0/8 }\n"), named);
  EXPECT_HAS(listener("", " tcp-request connection expect-proxy layer4 if { src 10.0.0.0/8 }\n"), named);
  EXPECT_HAS_NOT(listener("accept-proxy", ""), "trusted");
  EXPECT_HAS_NOT(listener("accept-proxy", " tcp-request connection reject if { src 10.0.0.0/8 }\n"), "trusted");
  EXPECT_HAS(listener("", " option forwardfor except 10.0.0.0/8\n"), ", trusted: [\"10.0.0.0/8\"]");
  EXPECT_HAS_NOT(listener("", " option forwardfor except 10.0.0.0/8\n http-request deny if { src 10.1.1.1 }\n"),
                 "trusted");
  EXPECT_HAS_NOT(listener("", " http-request set-src hdr(x-real-ip) if { src 10.0.0.0/8 }\n"), "trusted");
  EXPECT_HAS_NOT(listener("", " http-request set-src hdr(x-forwarded-for)\n"), "trusted");
  // What stands above set-src is asked about the connection, what comes after it about the client.
  const std::string client = " http-request set-src hdr(X-Forwarded-For) if { src 10.0.0.0/8 }\n";
  EXPECT_HAS_NOT(listener("", " http-request deny if !{ src 10.1.1.1 }\n" + client), "trusted");
  EXPECT_HAS_NOT(listener("", " http-request set-header X-Peer %[src]\n" + client), "trusted");
  EXPECT_HAS_NOT(listener("", " acl inside src 10.1.1.1\n http-request deny if !inside\n" + client), "trusted");
  EXPECT_HAS(listener("", " acl inside src 10.1.1.1\n" + client + " http-request deny if !inside\n"), "trusted");
  EXPECT_HAS(listener("", " use_backend a if { src 10.1.1.1 }\n" + client + client), "trusted");
}

TEST(HaproxyImport, LooksUpNames) {
  const auto hosts = [](const std::string& lines) {
    return import_text("resolvers r\n nameserver a 10.0.0.53:53\n hold valid 9s\n" +
                       ("defaults\n mode http\nlisten web\n bind :80\n" + lines))
        .yaml;
  };
  EXPECT_HAS(hosts(" server a a.internal:80 resolvers r\n"), "- { dns: \"a.internal:80\", refresh: 9s }");
  EXPECT_HAS(hosts(" server a a.internal:80 resolvers r\n"), "dns: { servers: [\"10.0.0.53:53\"] }");
  EXPECT_HAS(hosts(" server-template a 3 _x._tcp.a.internal resolvers r\n"),
             "- { srv: _x._tcp.a.internal, refresh: 9s }");
  EXPECT_HAS_NOT(hosts(" server a a.internal:80\n"), "dns:");
  EXPECT_HAS_NOT(hosts(" server a 10.0.0.1:80 resolvers r\n"), "dns:");
}

TEST(HaproxyImport, TakesOverQueuesRepeatsAndErrors) {
  const auto upstream = [](const std::string& lines) {
    return import_text("defaults\n mode http\n timeout connect 4s\nlisten web\n bind :80\n" + lines).yaml;
  };
  EXPECT_HAS(upstream(" timeout queue 9s\n server a 10.0.0.1:80\n"), "limits: { wait: 9s }");
  EXPECT_HAS(upstream(" server a 10.0.0.1:80 maxconn 7\n"), "limits: { connections: 7, wait: 4s }");
  EXPECT_HAS(upstream(" timeout check 1s\n server a 10.0.0.1:80 check inter 6s\n"), "interval: 6s, timeout: 5s");
  EXPECT_HAS(upstream(" server a 10.0.0.1:80 check inter 6s\n"), "interval: 6s, timeout: 6s");
  EXPECT_HAS(upstream(" retry-on none\n server a 10.0.0.1:80\n"), "retry: { attempts: 1 }");
  EXPECT_HAS(upstream(" retry-on 503 conn-failure\n server a 10.0.0.1:80\n"), "on: [connect, 503] }");
  EXPECT_HAS(upstream(" server a 10.0.0.1:80 check inter 4s rise 5 observe layer7 on-error mark-down\n"),
             "eject: { consecutive_errors: 10, base_time: 20s, max_time: 5m }");
  EXPECT_HAS(upstream(" default-server ssl\n server a 10.0.0.1:80\n"), "status: 501");
  for (const char* told : {"server ... maxqueue", "server ... minconn", "fullconn", "server ... observe"})
    EXPECT_HAS(upstream(" fullconn 9\n server a 10.0.0.1:80 maxqueue 1 minconn 2 observe layer4\n"), told);
}

TEST(HaproxyImport, KeepsManyCasesApartUpToALimit) {
  std::string rules;
  for (int i = 0; i < 40; ++i)
    rules +=
        " http-request deny if { hdr(a" + std::to_string(i) + ") -m found } { src 10.0.0." + std::to_string(i) + " }\n";
  const std::string yaml = web(rules + " default_backend a");
  EXPECT_HAS(yaml, "more than 1,000 cases");
  const size_t last = yaml.rfind("match: { path: \"/**\" }");
  ASSERT_NE(last, std::string::npos);
  EXPECT_HAS(yaml.substr(last), "10.0.0.39");
}

// A part would be more open: what came last may have refused.
TEST(HaproxyImport, RefusesMoreRoutesThanItCanWrite) {
  std::string text = "defaults\n mode http\nfrontend web\n bind :80\n";
  for (size_t i = 0; i < 2'000; ++i) text += " http-request deny if { path /" + std::to_string(i) + " }\n";
  text += " default_backend a\nbackend a\n server s 10.0.0.1:80\n";
  const ImportFiles files{.read = [&](const std::string&) -> Result<std::string> { return text; }, .glob = {}};
  const Result<Imported> refused = import_config("x.cfg", nullptr, files);
  ASSERT_FALSE(refused);
  EXPECT_HAS(refused.error().to_string(), "x.cfg: more than 2,000 routes");
}

}  // namespace
}  // namespace trellis::app
