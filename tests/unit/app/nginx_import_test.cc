#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "app/import/import.h"
#include "tests/unit/app/import_kit.h"

namespace trellis::app {
namespace {

using test::in_memory;

Imported import_text(const std::string& text) {
  Result<Imported> out = import_config("x.conf", nullptr, in_memory({{"x.conf", text}}));
  if (!out) {
    ADD_FAILURE() << out.error().to_string();
    return {};
  }
  return *std::move(out);
}
std::string locations(const std::string& text) {
  return import_text("http { access_log off; server { listen 80; " + text + " } }").yaml;
}
bool told(const Imported& imported, std::string_view directive) {
  for (const Remark& remark : imported.remarks.kept()) {
    if (remark.directive.starts_with(directive)) return true;
  }
  return false;
}
// The route of a pattern up to the next one.
std::string route(const std::string& yaml, const std::string& path) {
  for (const std::string& spelled :
       {"path: \"" + path + "\" }", "path: " + path + " }", "path: \"" + path + "\",", "path: " + path + ","}) {
    const size_t at = yaml.find(spelled);
    if (at != std::string::npos) return yaml.substr(at, yaml.find("\n  #", at) - at);
  }
  return "no route " + path + " in\n" + yaml;
}
// A part of the route of each path.
void expect_routes(const std::string& yaml, const std::vector<std::pair<const char*, const char*>>& expected) {
  for (const auto& [path, part] : expected) EXPECT_HAS(route(yaml, path), part);
}

TEST(NginxImport, TakesLocationsInItsOrder) {
  const std::string yaml = locations(R"(
    location / { return 200 root; }
    location = /x { return 200 exact; }
    location /a/ { proxy_pass http://10.0.0.1:80; }
    location ^~ /s/ { return 200 s; }
    location ~ ^/r/ { return 200 regex; }
    location /r/longer/ { return 200 never; })");
  // `location ^~ /s/` does not take /s
  expect_routes(yaml, {{"/**", "body: root"},
                       {"/x", "body: exact"},
                       {"/a", "redirect"},
                       {"/a/**", "to: upstream.10_0_0_1_80"},
                       {"/s", "body: root"},
                       {"/r/**", "body: regex"}});
  EXPECT_HAS_NOT(yaml, "body: never");
}

TEST(NginxImport, LeavesToOthersWhatAnExpressionDoesNotMatch) {
  const std::string yaml = locations(R"(
    location / { limit_except GET { deny all; } if ($http_x = bad) { return 400; } return 200 root; }
    location /u/ { return 200 u; }
    location = /e { return 200 exact; }
    location ~ ^/(a|e)/ { return 200 regex; }
    location ~ ^/u/[^/]+/x/ { return 200 below; }
    location ~ ^/w/ { return 200 first; }
    location ~ ^/w { return 200 second; }
    location ~ ^/g/ { deny all; }
    location ^~ /g/h/ { return 200 h; }
    location ^~ /g/i/ { proxy_pass http://10.0.0.1:80; })");
  expect_routes(yaml, {{"/a/**", "body: regex"},
                       {"/e", "body: exact"},
                       {"/u/*/x/**", "body: below"},
                       {"/u/*/x", "body: u"},
                       {"/w/**", "body: first"},
                       {"/w", "body: second"},
                       {"/g/h/**", "body: h"},
                       {"/g/h", "status: 403"},
                       {"/g/i", "redirect: { to: \"/g/i/?$${query}\", status: 301 }"}});
  EXPECT_HAS(yaml, "path: /a, methods: [GET] }\n    to: { fixed: { status: 200, body: root");
  EXPECT_HAS(yaml, "path: /a }\n    to: { fixed: { status: 403 } }");  // the methods that / refuses
  EXPECT_HAS(yaml, "path: /a, headers: { x: bad } }\n    to: { fixed: { status: 400 } }");
  const std::string alone = locations("location ~ ^/a/ { return 200 a; }");
  EXPECT_HAS(route(alone, "/a"), "status: 404");
}

TEST(NginxImport, TellsWhatAServersRewriteTakesBesides) {
  const auto tells = [](const std::string& rewrite) {
    const Imported imported =
        import_text("http { access_log off; server { listen 80; " + rewrite + " location / { return 200 x; } } }");
    return told(imported, "rewrite");
  };
  EXPECT_TRUE(tells("rewrite ^/old/ /new permanent;"));
  EXPECT_FALSE(tells("rewrite ^/old$ /new permanent;"));
}

TEST(NginxImport, LetsNoOtherSpellingPastWhatIsRefused) {
  const auto merges = [](const std::string& server, const std::string& http = "") {
    const Imported imported = import_text("http { access_log off; " + http + " server { listen 80; " + server + " } }");
    const bool out = imported.yaml.find("web: { bind: \"0.0.0.0:80\", merge_slashes: true }") != std::string::npos;
    bool remark = false;
    for (const Remark& one : imported.remarks.kept()) remark |= one.why.find("// and %2F") != std::string::npos;
    EXPECT_EQ(remark, out) << imported.yaml;
    return out;
  };
  const std::string rest = "location / { proxy_pass http://10.0.0.1:80; }";
  for (const char* guard :
       {"location /x { deny all; }", "location /x { allow 10.0.0.0/8; deny all; proxy_pass http://h; }",
        "location /x { deny 10.0.0.1; proxy_pass http://h; }", "location = /x { internal; }",
        "location /x { return 404; }", "location /x { auth_basic a; auth_basic_user_file b; }",
        "location ~ ^/(x|y)/ { return 403; }", "location /x { limit_except GET { deny all; } proxy_pass http://h; }"}) {
    EXPECT_TRUE(merges(rest + guard)) << guard;
    EXPECT_FALSE(merges(rest + guard, "merge_slashes off;")) << guard;
    EXPECT_FALSE(merges("merge_slashes off; " + rest + guard)) << guard;
  }
  for (const char* open : {"", "location /x { proxy_pass http://10.0.0.2:80; }", "location /x { return 301 /y; }"})
    EXPECT_FALSE(merges(rest + open)) << open;
  EXPECT_FALSE(merges("location / { allow 10.0.0.0/8; deny all; proxy_pass http://h; }"))
      << "all of it is behind the list";
}

TEST(NginxImport, GivesOneFileByAlias) {
  const std::string yaml = locations(R"(
    location /robots.txt { alias /srv/static/robots.txt; }
    location = /a/b/logo.svg { alias /srv/img/logo.svg; }
    location = /favicon.ico { alias /srv/img/icon.png; }
    location /v1.0 { alias /srv/v1.0; }
    location /docs { alias /srv/docs; }
    location /m/ { alias /srv/m/; })");
  expect_routes(yaml, {{"/robots.txt", "files: { root: /srv/static }"},
                       {"/a/b/logo.svg", "strip_prefix: /a/b }\n    to: { files: { root: /srv/img }"},
                       {"/favicon.ico", "fixed: { file: /srv/img/icon.png, content_type: image/png }"},
                       {"/v1.0/**", "strip_prefix: /v1.0 }\n    to: { files: { root: /srv/v1.0 }"},
                       {"/docs/**", "strip_prefix: /docs }\n    to: { files: { root: /srv/docs }"},
                       {"/docs", "redirect: { to: \"/docs/?$${query}\", status: 301 }"},
                       {"/m/**", "files: { root: /srv/m }"},
                       {"/m", "status: 404"}});
  EXPECT_HAS_NOT(route(yaml, "/robots.txt"), "rewrite");
  EXPECT_HAS_NOT(yaml, "path: \"/robots.txt/**\"");
}

TEST(NginxImport, TakesOffThePrefixThatProxyPassReplaces) {
  const std::string yaml = locations(R"(
    location /a/ { proxy_pass http://h1:80/; }
    location /b/ { proxy_pass http://h1:80/x/y/; }
    location /c/ { proxy_pass http://h1:80; }
    location = /d/e { proxy_pass http://h1:80/f/e; }
    location = /g { proxy_pass http://h1:80/h; })");
  expect_routes(yaml, {{"/a/**", "rewrite: { strip_prefix: /a }"},
                       {"/b/**", "rewrite: { strip_prefix: /b, add_prefix: /x/y }"},
                       {"/d/e", "rewrite: { strip_prefix: /d, add_prefix: /f }"},
                       {"/g", "status: 501"}});
  EXPECT_HAS_NOT(route(yaml, "/c/**"), "rewrite");
}

TEST(NginxImport, LeavesNothingOpenThatWasGuarded) {
  const std::string yaml = locations(R"(
    root /srv;
    location /a { auth_basic x; auth_basic_user_file f; }
    location /b { deny 10.0.0.1; allow 10.0.0.0/8; deny all; }
    location /c { allow 10.0.0.0/8; }
    location /d { deny all; }
    location /e { deny nonsense; }
    location /f { internal; }
    location /g { allow all; })");
  expect_routes(yaml, {{"/a/**", "status: 501"},
                       {"/b/**", "deny: [\"10.0.0.1\"]\n      - allow: [\"10.0.0.0/8\"]"},
                       {"/d/**", "status: 403"},
                       {"/e/**", "deny: [\"0.0.0.0/0\", \"::/0\"]"},
                       {"/f/**", "status: 404"}});
  EXPECT_HAS_NOT(route(yaml, "/c/**"), "allow");
  EXPECT_HAS_NOT(route(yaml, "/g/**"), "deny");
}

TEST(NginxImport, LiftsAGuardOnlyByItsOwnName) {
  const auto guarded = [](const std::string& server, const std::string& location) {
    const std::string yaml =
        import_text("server { listen 80; " + server + " location /x { " + location + " proxy_pass http://h; } }").yaml;
    return route(yaml, "/x/**").find("status: 501") != std::string::npos;
  };
  for (const char* guard :
       {"auth_basic a;", "auth_request /auth;", "auth_jwt a;", "auth_digest a;", "auth_ldap a;", "auth_pam a;",
        "auth_gss on;", "access_by_lua_block { ngx.exit(403) }", "access_by_lua_file /a.lua;", "js_access main.ask;",
        "rewrite_by_lua_block { ngx.exit(403) }", "rewrite_by_lua 'ngx.exit(403)';", "ssl_verify_client on;",
        "satisfy any;", "secure_link $arg_md5;", "secure_link_hmac $arg_h;"}) {
    EXPECT_TRUE(guarded(guard, "")) << guard;
    EXPECT_TRUE(guarded(guard, "auth_other off;")) << guard;
    EXPECT_TRUE(guarded("", guard)) << guard;
  }
  EXPECT_TRUE(guarded("auth_request /auth; auth_basic a;", "auth_basic off;"));
  EXPECT_FALSE(guarded("auth_request /auth; auth_basic a;", "auth_basic off; auth_request off;"));
  EXPECT_FALSE(guarded("auth_basic a;", "auth_basic off;"));
  EXPECT_FALSE(guarded("satisfy any;", "satisfy all;"));
  EXPECT_FALSE(guarded("ssl_verify_client on;", "ssl_verify_client off;"));
  EXPECT_FALSE(
      guarded("auth_basic off; auth_delay 1s; access_by_lua_no_postpone on; rewrite_by_lua_no_postpone on;", ""));
}

TEST(NginxImport, AnswersNobodyWhatIsInternal) {
  const std::string yaml = locations(R"(
    location /a { internal; return 200 secret; }
    location /b { internal; rewrite ^/b/(.*)$ /$1 break; proxy_pass http://h; }
    location /c { internal; if ($request_method = POST) { return 200 secret; } root /srv; }
    location /d { try_files /none @d; }
    location @d { internal; proxy_pass http://10.0.0.1:80; })");
  for (const char* path : {"/a/**", "/b/**", "/c/**"}) EXPECT_HAS(route(yaml, path), "status: 404");
  EXPECT_HAS(route(yaml, "/d/**"), "to: upstream.");
  EXPECT_HAS_NOT(yaml, "secret");
}

TEST(NginxImport, KeepsOtherMethodsBehindWhatLimitsThem) {
  const Imported imported = import_text(R"(server { listen 80;
    location /a { limit_except GET POST { allow 10.0.0.0/8; deny all; } proxy_pass http://10.0.0.1:80; }
    location /b { limit_except GET { auth_basic x; auth_basic_user_file f; } proxy_pass http://10.0.0.1:80; }
    location /c { limit_except GET { proxy_pass http://10.0.0.2:80; } proxy_pass http://10.0.0.1:80; }
    location /d { try_files /none @d; }
    location @d { limit_except GET { deny all; } proxy_pass http://10.0.0.1:80; }
    location /e { limit_except GET { deny all; } try_files /none @d; }
    location /f { allow 10.0.0.0/8; deny all; limit_except GET { allow 10.1.0.0/16; deny all; }
                  proxy_pass http://10.0.0.1:80; }
    location /g { return 200 g; } location /h { limit_except GET { deny all; } proxy_pass http://10.0.0.1:80; } })");
  const std::string& yaml = imported.yaml;
  EXPECT_HAS(yaml, "path: \"/g/**\" }\n    to: { fixed: { status: 200");
  EXPECT_HAS(yaml, "path: \"/a/**\", methods: [GET, POST] }\n    filters:\n      - body_limit");
  EXPECT_HAS(yaml, "path: \"/a/**\" }\n    filters:\n      - allow: [\"10.0.0.0/8\"]\n      - body_limit");
  EXPECT_HAS(yaml, "path: \"/b/**\", methods: [GET] }\n    filters:");
  EXPECT_HAS(yaml, "path: \"/b/**\" }\n    to: { fixed: { status: 501");
  EXPECT_HAS(yaml, "path: \"/c/**\", methods: [GET] }\n    filters:");
  EXPECT_HAS(yaml, "path: \"/c/**\" }\n    to: { fixed: { status: 501");
  EXPECT_TRUE(told(imported, "limit_except"));
  EXPECT_HAS(yaml, "path: \"/d/**\", methods: [GET] }\n    filters:");
  EXPECT_HAS(yaml, "path: \"/d/**\" }\n    to: { fixed: { status: 403");
  EXPECT_HAS(yaml, "path: \"/e/**\" }\n    to: { fixed: { status: 403");
  EXPECT_HAS(yaml, "path: \"/f/**\" }\n    filters:\n      - allow: [\"10.1.0.0/16\"]");
}

TEST(NginxImport, AnswersAConditionWithItsOwnFields) {
  const Imported imported = import_text(R"(server { listen 80; location / {
    add_header X-A all;
    if ($request_method = 'OPTIONS') {
      add_header Access-Control-Allow-Origin '*';
      add_header Content-Type 'text/plain; charset=utf-8';
      limit_rate 5;
      return 204;
    }
    if ($request_method = PUT) { rewrite ^ /other permanent; return 403; }
    proxy_pass http://10.0.0.1:80; } })");
  EXPECT_HAS(imported.yaml,
             "methods: [OPTIONS] }\n    filters:\n      - headers: { response: { add: { Access-Control-Allow-Origin");
  EXPECT_HAS(imported.yaml, "add: { X-A: all }");
  EXPECT_HAS_NOT(imported.yaml, "methods: [PUT]");
  EXPECT_TRUE(told(imported, "limit_rate"));
  EXPECT_TRUE(told(imported, "if"));
}

TEST(NginxImport, HeedsARewriteBeforeAReturn) {
  const Imported imported = import_text(R"(server { listen 80; rewrite ^/old$ /new permanent;
    rewrite ^/media/(.*)$ /mp3/$1 last; return 403; rewrite ^/never$ /x permanent; }
    server { listen 81; location /d/ { rewrite ^/d/(.*)$ /e/$1 last; return 403; } })");
  EXPECT_HAS(imported.yaml, "path: /old }\n    to: { redirect: { to: \"/new");
  EXPECT_HAS(imported.yaml, "path: \"/**\" }\n    to: { fixed: { status: 403");
  EXPECT_HAS_NOT(imported.yaml, "never");
  EXPECT_EQ(std::ranges::count(imported.remarks.kept(), "rewrite", &Remark::directive), 2);
}

TEST(NginxImport, TellsRefusalsThatItCannotSay) {
  const Imported imported = import_text(R"(server { listen 80;
    if ($http_user_agent ~* bot) { return 403; }
    location / { if ($invalid_referer) { return 403; } proxy_pass http://10.0.0.1:80; }
    location /c { if ($ssl_client_verify != SUCCESS) { return 403; } proxy_pass http://10.0.0.1:80; }
    location /d { if ($cookie_x ~ y) { return 302 /z; } proxy_pass http://10.0.0.1:80; } })");
  const auto let_through = [&](uint32_t line) {
    return std::ranges::any_of(imported.remarks.kept(), [&](const Remark& one) {
      return one.at.line == line && one.directive == "if" &&
             one.instead.find("what it refused is let through") != std::string::npos;
    });
  };
  EXPECT_TRUE(let_through(2));
  EXPECT_TRUE(let_through(3));
  EXPECT_FALSE(let_through(4));
  EXPECT_FALSE(let_through(5));
  EXPECT_HAS(route(imported.yaml, "/c/**"), "status: 501");
}

TEST(NginxImport, LosesNoFieldInSilence) {
  const Imported imported = import_text(R"(server { listen 80; root /srv;
    location /a { add_header Cache-Control $cached; add_header Content-Type text/x; disable_symlinks on; }
    location /b { proxy_set_header X-Forwarded-Host fixed.example; proxy_set_header Forwarded "";
                  proxy_pass http://10.0.0.1:80; } 
    location /c { try_files $uri /index.html; }
    location = /index.html { add_header Cache-Control no-store; } })");
  EXPECT_TRUE(told(imported, "add_header Cache-Control"));
  EXPECT_TRUE(told(imported, "add_header Content-Type"));
  EXPECT_TRUE(told(imported, "disable_symlinks"));
  EXPECT_TRUE(told(imported, "try_files"));
  EXPECT_HAS(route(imported.yaml, "/b/**"), "set: { X-Forwarded-Host: fixed.example } }");
  EXPECT_TRUE(told(imported, "proxy_set_header Forwarded"));
  EXPECT_FALSE(told(imported, "default_type"));
  const Imported typed =
      import_text("server { listen 80; root /srv; location /.well-known/ { default_type text/x; } }");
  EXPECT_TRUE(told(typed, "default_type"));
}

TEST(NginxImport, TellsNothingOfAFragmentThatItTookOver) {
  const Imported imported = import_text(R"(gzip_types text/css; proxy_http_version 1.1; strange_thing on;
    proxy_set_header X-Port 80; upstream u { server 10.0.0.1:80; }
    server { listen 80; location / { proxy_pass http://u; } })");
  EXPECT_HAS(imported.yaml, "set: { X-Port: \"80\" }");
  EXPECT_FALSE(told(imported, "gzip_types"));
  EXPECT_FALSE(told(imported, "proxy_set_header"));
  EXPECT_TRUE(told(imported, "strange_thing"));
}

TEST(NginxImport, AsksForAHostWithinAWildcard) {
  const std::string yaml = import_text(R"(
    server { listen 80; server_name a.example; return 200 first; }
    server { listen 80; server_name .c.example; if ($host = www.c.example) { return 301 http://c.example/; }
             if ($host = d.c.example) { return 301 http://c.example/d; } return 200 all; }
    server { listen 80; server_name d.c.example; return 200 own; })")
                               .yaml;
  EXPECT_HAS(yaml, "host: www.c.example, path: \"/**\" }\n    to: { redirect: { to: \"http://c.example/\"");
  EXPECT_HAS(yaml, "host: d.c.example, path: \"/**\" }\n    to: { fixed: { status: 200, body: own");
  EXPECT_HAS_NOT(yaml, "http://c.example/d");
}

TEST(NginxImport, TypesATextByTheNameOfItsPath) {
  const std::string yaml = import_text(R"(server { listen 80; default_type application/octet-stream;
    location = /robots.txt { return 200 all; } location = /a { return 200 all; } location = /b.json { return 200 x; }
    location /api { rewrite ^/api/(.*)$ /$1 break; proxy_pass http://10.0.0.1:80; } })")
                               .yaml;
  expect_routes(yaml, {{"/robots.txt", "content_type: text/plain }"},
                       {"/a", "content_type: application/octet-stream }"},
                       {"/b.json", "content_type: application/json }"}});
  EXPECT_HAS(yaml, "/api itself is rewritten, too");
}

TEST(NginxImport, RedirectsWhatMovedWithAllBelowIt) {
  const std::string yaml = import_text(R"(server { listen 80; server_name a.example;
    rewrite ^/old/x$ /x permanent;
    rewrite ^/old/(.*)$ https://new.example/v2/$1 permanent;
    rewrite ^/old/y/(.*)$ /never/$1 permanent;
    rewrite ^/drop/(.*)$ $scheme://b.example/$1? redirect;
    location /old/z/ { return 200 never; }
    location /in/ { rewrite ^/in/(.*)$ /out/$1 permanent; }
    location /drop { return 200 own; }
    location /some/ { rewrite ^/some/part/(.*)$ /out/$1 permanent; proxy_pass http://10.0.0.1:80; }
    location / { proxy_pass http://10.0.0.1:80; } }
    server { listen 81; rewrite ^/a$ /b permanent; rewrite ^ https://all.example$request_uri? permanent; })")
                               .yaml;
  EXPECT_HAS(yaml, "path: /old/x }\n    to: { redirect: { to: \"/x");
  EXPECT_HAS(yaml,
             "path: \"/old/**\" }\n    filters:\n      - rewrite: { strip_prefix: /old, add_prefix: /v2 }\n"
             "    to: { redirect: { to: \"https://new.example$${uri}\", status: 301 } }");
  EXPECT_HAS(yaml,
             "rewrite: { strip_prefix: /drop }\n"
             "    to: { redirect: { to: \"$${scheme}://b.example$${path}\", status: 302 } }");
  EXPECT_HAS(yaml,
             "rewrite: { strip_prefix: /in, add_prefix: /out }\n"
             "    to: { redirect: { to: \"$${uri}\", status: 301 } }");
  EXPECT_HAS(route(yaml, "/some/**"), "status: 501");
  EXPECT_HAS(route(yaml, "/drop"), "body: own");
  EXPECT_HAS(route(yaml, "/old"), "to: upstream.");
  EXPECT_HAS(yaml, "path: /a }\n    to: { redirect: { to: \"/b");
  EXPECT_HAS(yaml, "https://all.example");
  EXPECT_HAS_NOT(yaml, "never");
}

TEST(NginxImport, RefusesOtherMethodsByAnIf) {
  const Imported imported = import_text(R"(server { listen 80;
    if ($request_method !~ ^(GET|HEAD|POST)$ ) { return 405; }
    location / { proxy_pass http://10.0.0.1:80; }
    location /a { if ($request_method = DELETE) { return 403; } limit_except GET { deny all; } proxy_pass http://10.0.0.1:80; } }
    server { listen 81; location /b { if ($request_method != POST) { return 444; } proxy_pass http://10.0.0.1:80; }
             location /c { if ($request_method !~ ^GET) { return 405; } proxy_pass http://10.0.0.1:80; }
             location / { return 200 x; } })");
  const std::string& yaml = imported.yaml;
  EXPECT_HAS(yaml, "path: \"/**\", methods: [GET, HEAD, POST] }\n    filters:");
  EXPECT_HAS(yaml, "path: \"/**\" }\n    to: { fixed: { status: 405 } }");
  EXPECT_HAS(yaml, "path: \"/a/**\", methods: [GET] }\n    filters:");
  EXPECT_HAS(yaml, "path: \"/a/**\", methods: [GET, HEAD, POST] }\n    to: { fixed: { status: 403");
  EXPECT_HAS_NOT(yaml, "DELETE]");
  EXPECT_HAS(yaml, "path: \"/b/**\", methods: [POST] }\n    filters:");
  EXPECT_HAS(yaml, "path: \"/b/**\" }\n    to: { fixed: { status: 404 } }");
  EXPECT_EQ(std::ranges::count(imported.remarks.kept(), "if", &Remark::directive), 1);  // that of /c
  EXPECT_TRUE(
      told(import_text("server { listen 80; if ($request_method != GET) { return 405; } return 200 x; }"), "if"));
}

TEST(NginxImport, ServesNoFilesThatAProgramWouldRun) {
  const std::string yaml = locations("root /srv; location ~ \\.php$ { fastcgi_pass x:9000; }");
  EXPECT_HAS(route(yaml, "/**"), "status: 501");
  EXPECT_HAS_NOT(yaml, "files:");
  EXPECT_HAS(locations("root /srv; location ~ /\\. { deny all; }"), "files:");  // hidden anyway
  for (const char* more : {"/\\.(ht|svn)|/wp-config\\.php", "/\\.git|\\.bak$", "/\\.?secret", "(/\\.|~)"})
    EXPECT_HAS_NOT(locations(std::string("root /srv; location ~ ") + more + " { deny all; }"), "files:") << more;
  for (const char* hidden : {"/\\.(ht|svn)", "(^|/)\\.", "/[.]git|/\\.hg", "^(.*)/\\.", "/\\.(?!well-known)"})
    EXPECT_HAS(locations(std::string("root /srv; location ~ ") + hidden + " { deny all; }"), "files:") << hidden;
  const std::string beside = locations("root /srv; location ^~ /a/ { } location ~ \\.bak$ { return 404; }");
  EXPECT_HAS(route(beside, "/a/**"), "files:");  // no expression is asked about it
  EXPECT_HAS(route(beside, "/**"), "status: 501");
  EXPECT_HAS(route(locations("root /srv; location ^~ /a/ { location ~ \\.bak$ { return 404; } }"), "/a/**"),
             "status: 501");
}

TEST(NginxImport, InheritsAsNginxDoes) {
  const std::string yaml = locations(R"(
    add_header X-A 1;
    root /srv;
    location /a { expires 1h; }
    location /b { add_header X-B 2; root /other; })");
  expect_routes(
      yaml,
      {{"/a/**", "X-A"}, {"/a/**", "cache_control: \"max-age=3600\""}, {"/b/**", "X-B"}, {"/b/**", "root: /other"}});
  EXPECT_HAS_NOT(route(yaml, "/b/**"), "X-A");
}

TEST(NginxImport, FollowsTryFilesOnce) {
  // That of the server is not that of its locations.
  const std::string above = locations("root /srv; try_files $uri @app; location @app { root /x; }");
  EXPECT_HAS(route(above, "/**"), "root: /x");
  const std::string round = locations(R"(
    root /srv;
    location / { try_files $uri @a; }
    location @a { try_files $uri @b; }
    location @b { try_files $uri @a; })");
  EXPECT_HAS(route(round, "/**"), "status: 501");
  EXPECT_HAS(round, "leads back to itself: @a");
}

TEST(NginxImport, KeepsListenersApart) {
  const std::string yaml = import_text(R"(http { access_log off;
    server { listen 80; location / { return 200 a; } }
    server { listen 80; server_name b.example.com; location / { return 200 b; } }
    server { listen 127.0.0.1:81; location / { return 200 c; } } })")
                               .yaml;
  EXPECT_HAS(yaml, "web: { bind: \"0.0.0.0:80\" }");
  EXPECT_HAS(yaml, "web_81: { bind: \"127.0.0.1:81\" }");
  EXPECT_HAS(yaml, "listeners: [web], path: \"/**\" }\n    to: { fixed: { status: 200, body: a");
  EXPECT_HAS(yaml, "listeners: [web], host: b.example.com");
  EXPECT_HAS(yaml, "listeners: [web_81], path: \"/**\" }\n    to: { fixed: { status: 200, body: c");
}

TEST(NginxImport, WritesVariablesWithTwoDollars) {
  const std::string yaml = locations("return 301 https://$host$request_uri;");
  EXPECT_HAS(yaml, "to: \"https://$${host}$${uri}\", status: 301");
}

TEST(NginxImport, KnowsFieldsAndCookiesAsVariables) {
  const std::string yaml = locations(R"(location / {
    proxy_pass http://10.0.0.1:80;
    proxy_set_header X-A $http_x_tenant_id;
    proxy_set_header X-B "u=$cookie_user p=$remote_port";
    proxy_set_header X-C $arg_a;
  })");
  EXPECT_HAS(yaml, "X-A: \"$${header.x-tenant-id}\"");
  EXPECT_HAS(yaml, "X-B: \"u=$${cookie.user} p=$${client.port}\"");
  EXPECT_HAS(yaml, "proxy_set_header X-C: there is no variable $arg_a");
}

TEST(NginxImport, TellsWhatItDoesNotKnow) {
  const Imported imported = import_text("http { server { listen 80; frobnicate on; location / { return 200 x; } } }");
  EXPECT_TRUE(told(imported, "frobnicate"));
  EXPECT_EQ(imported.remarks.left_out(), 1u);
  EXPECT_HAS(imported.yaml, "#   x.conf:1: frobnicate: not known to the import");
}

TEST(NginxImport, TellsSwitchesThatAreNotTheDefault) {
  const auto left_out = [](const std::string& line) {
    return import_text("http { access_log off; " + line + " server { listen 80; return 200 x; } }").remarks.left_out();
  };
  for (const char* line :
       {"proxy_pass_request_headers off;", "proxy_pass_request_body off;", "proxy_ignore_client_abort on;",
        "add_trailer X-A 1;", "autoindex on;", "etag off;", "if_modified_since off;", "max_ranges 0;",
        "chunked_transfer_encoding off;", "ignore_invalid_headers off;", "proxy_http_version 1.0;",
        "proxy_http_version 2;", "charset koi8-r;", "types { text/x x; }", "proxy_cache one;", "mirror /m;"})
    EXPECT_EQ(left_out(line), 1u) << line;
  for (const char* line : {"proxy_pass_request_headers on;", "proxy_pass_request_body on;",
                           "proxy_ignore_client_abort off;", "autoindex off;", "proxy_redirect default;", "etag on;",
                           "if_modified_since before;", "chunked_transfer_encoding on;", "proxy_http_version 1.1;",
                           "charset UTF-8;", "charset off;", "proxy_cache off;"})
    EXPECT_EQ(left_out(line), 0u) << line;
}

TEST(NginxImport, TellsTimesThatBelongToTheListener) {
  const Imported imported = import_text(R"(http { access_log off; server { listen 80;
    location / { client_body_timeout 3s; location /x { send_timeout 4s; } return 200 x; } } })");
  EXPECT_TRUE(told(imported, "client_body_timeout"));
  EXPECT_TRUE(told(imported, "send_timeout"));
}

TEST(NginxImport, IsToldFromHaproxyByTheText) {
  EXPECT_EQ(kind_of("global\n  daemon\ndefaults\n mode http\n"), ImportKind::haproxy);
  EXPECT_EQ(kind_of("# x\nfrontend web\n  bind :80\n"), ImportKind::haproxy);
  EXPECT_EQ(kind_of("events { }\nhttp { listen 80; }"), ImportKind::nginx);
  EXPECT_EQ(kind_of("listen 80;"), ImportKind::nginx);
  EXPECT_EQ(kind_of(""), ImportKind::nginx);
}

TEST(NginxImport, RefusesWhatListensNowhere) {
  for (const char* address : {"8080|gif|ico)$", "example.com:80", "1.2.3:80", "[::x]:80", "a_b", "80:80"}) {
    const Result<Imported> out = import_config(
        "x.conf", nullptr, in_memory({{"x.conf", std::string("server { listen ") + address + "; return 200 x; }"}}));
    ASSERT_FALSE(out) << address << out->yaml;
    EXPECT_EQ(out.error().code(), Code::invalid_argument) << address << ": " << out.error().to_string();
  }
  const Imported one = import_text("http { server { listen a_b; listen localhost:81; location / { return 200 x; } } }");
  EXPECT_TRUE(told(one, "listen a_b"));
  EXPECT_HAS(one.yaml, "bind: \"localhost:81\"");
}

TEST(NginxImport, RefusesWhatTheCheckLeavesWithoutListeners) {
  // The control address is taken, which only the check knows.
  const Result<Imported> out =
      import_config("x.conf", nullptr, in_memory({{"x.conf", "server { listen 127.0.0.1:9900; return 200 x; }"}}));
  ASSERT_FALSE(out) << out->yaml;
  EXPECT_EQ(out.error().code(), Code::invalid_argument) << out.error().to_string();
}

TEST(NginxImport, ReplacesWhatTheCheckWouldRefuse) {
  // A path, a host and an index that Trellis does not take.
  const Imported imported = import_text(
      "http { server { listen 80; server_name 'a b' good.example.com; location \"/a\nb\" { return 200 x; } } "
      "server { listen 80; server_name other.example.com; location / { root /srv; index a/b; } } }");
  EXPECT_GT(imported.remarks.left_out(), 0u);
  EXPECT_HAS(imported.yaml, "host: other.example.com");
}

TEST(NginxImport, EjectsUnlessNoServerIs) {
  const auto block = [](const std::string& servers) {
    return import_text("http { access_log off; upstream a { " + servers +
                       " } server { listen 80; location / { proxy_pass http://a; } } }");
  };
  EXPECT_HAS(block("server h1 max_fails=0; server h2 max_fails=0; server h3 down;").yaml, "eject: off");
  EXPECT_HAS(block("server h1 max_fails=0; server h2;").yaml, "eject: { consecutive_errors: 3, base_time: 10s");
  EXPECT_HAS(block("server h1 max_fails=0; server h2 max_fails=9;").yaml, "eject: { consecutive_errors: 9");
  EXPECT_HAS_NOT(block("server h1; server h2;").yaml, "eject");
  const Imported heavy = block("server h1 weight=5000; server h2;");
  EXPECT_HAS(heavy.yaml, "weight: 1000");
  EXPECT_TRUE(told(heavy, "server ... weight"));
}

TEST(NginxImport, LeavesOutRelaysThatKeptSomebodyOut) {
  const auto relays = [](const std::string& all, const std::string& one) {
    const Imported imported =
        import_text("stream { " + all + " upstream u { server 10.0.0.1:1; } server { listen 1000; " + one +
                    " proxy_pass u; } server { listen 1001; allow all; proxy_ssl off; proxy_pass u; } }");
    return imported.yaml.find("tcp_1000:") != std::string::npos;
  };
  EXPECT_TRUE(relays("", ""));
  EXPECT_TRUE(relays("allow all;", ""));
  EXPECT_FALSE(relays("", "deny 10.0.0.1;"));
  EXPECT_FALSE(relays("allow 10.0.0.0/8; deny all;", ""));
  EXPECT_TRUE(relays("allow 10.0.0.0/8; deny all;", "allow all;"));
  EXPECT_FALSE(relays("", "js_access main.ask;"));
  EXPECT_FALSE(relays("proxy_ssl on;", ""));
  EXPECT_TRUE(relays("proxy_ssl on;", "proxy_ssl off;"));
  const Imported dns = import_text(
      "stream { upstream u { server 10.0.0.1:53; } server { listen 53 udp; proxy_responses 1; proxy_pass u; } }");
  EXPECT_HAS(dns.yaml, "udp: { to: upstream.u, idle: 30s }");
  EXPECT_TRUE(told(dns, "proxy_responses"));
}

TEST(NginxImport, LooksUpNames) {
  const auto server = [](const std::string& words) {
    return import_text("http { access_log off; resolver 10.0.0.53 valid=9s; upstream a { server " + words +
                       "; } server { listen 80; location / { proxy_pass http://a; } } }")
        .yaml;
  };
  EXPECT_HAS(server("a.internal:81 resolve"), "- { dns: \"a.internal:81\", refresh: 9s }");
  EXPECT_HAS(server("a.internal resolve"), "dns: { servers: [\"10.0.0.53:53\"] }");
  EXPECT_HAS(server("a.internal service=http resolve"), "- { srv: _http._tcp.a.internal, refresh: 9s }");
  EXPECT_HAS(server("a.internal service=_x._udp resolve"), "- { srv: _x._udp.a.internal, refresh: 9s }");
  EXPECT_HAS_NOT(server("a.internal:81"), "dns:");
  EXPECT_HAS_NOT(server("10.0.0.1:81 resolve"), "dns:");
  EXPECT_HAS(locations("location / { set $a a.internal; proxy_pass http://$a:81; }"), "- { dns: \"a.internal:81\" }");
  EXPECT_HAS_NOT(locations("location / { set $a 10.0.0.1; proxy_pass http://$a:81; }"), "dns:");
}

TEST(NginxImport, MakesSplitsOfChosenHosts) {
  const auto pass = [](const std::string& blocks) {
    return import_text(
               "http { access_log off; upstream one { server 10.0.0.1:80; } upstream two { server 10.0.0.2:80; } " +
               blocks + " server { listen 80; location / { proxy_pass http://$pool; } } }")
        .yaml;
  };
  EXPECT_HAS(
      pass("split_clients $remote_addr $pool { 12.5% two; * one; }"),
      "split: { key: client_address, ways: [{ name: two, share: 12.5%, to: upstream.two }] }\n    to: upstream.one");
  EXPECT_HAS(pass("split_clients ${cookie_user}x $pool { 5% two; * one; }"), "key: cookie.user");
  EXPECT_HAS(pass("map $cookie_v $pool { 1 two; default one; }"),
             "ways: [{ name: two, to: upstream.two, when: { cookie: \"v=1\" } }]");
  EXPECT_HAS(
      pass("split_clients $request_id $p { 5% two; * one; } map $http_x_v $pool { 1 two; default $p; }"),
      "key: random, ways: [{ name: two, to: upstream.two, when: { header: \"x-v: 1\" } }, { name: two_2, share: 5%");
  for (const char* unsaid :
       {"split_clients $remote_addr$uri $pool { 5% two; * one; }", "split_clients $remote_addr $pool { 5% two; }",
        "split_clients $remote_addr $pool { 80% two; 30% two; * one; }", "map $cookie_v $pool { ~1 two; default one; }",
        "map $uri $pool { /x two; default one; }", "split_clients $remote_addr $pool { 0.001% two; * one; }"})
    EXPECT_HAS(pass(unsaid), "status: 501") << unsaid;
}

TEST(NginxImport, BelievesOnlyAddressesThatAreNamed) {
  const auto listener = [](const std::string& words, const std::string& lines) {
    const std::string yaml =
        import_text("http { access_log off; server { listen 80 " + words + "; " + lines + " return 200 x; } }").yaml;
    const size_t at = yaml.find("  web: ");
    return yaml.substr(at, yaml.find('\n', at) - at);
  };
  const std::string from = "set_real_ip_from 10.0.0.0/8; ";
  EXPECT_HAS(listener("", from + "real_ip_header X-Forwarded-For;"), ", trusted: [\"10.0.0.0/8\"] }");
  EXPECT_HAS(listener("proxy_protocol", from + "real_ip_header proxy_protocol;"),
             ", proxy_protocol: in, trusted: [\"10.0.0.0/8\"] }");
  EXPECT_HAS_NOT(listener("proxy_protocol", ""), "proxy_protocol");
  EXPECT_HAS_NOT(listener("", from), "trusted");  // X-Real-IP
  EXPECT_HAS_NOT(listener("", from + "real_ip_header proxy_protocol;"), "trusted");
  EXPECT_HAS_NOT(listener("", "set_real_ip_from a.internal; real_ip_header X-Forwarded-For;"), "trusted");
  const Imported apart = import_text("http { access_log off; server { listen 80; " + from +
                                     "real_ip_header X-Forwarded-For; return 200 x; } server { listen 80; "
                                     "server_name b; return 200 x; } }");
  EXPECT_HAS(apart.yaml, "web: { bind: \"0.0.0.0:80\" }");
  EXPECT_TRUE(told(apart, "set_real_ip_from"));
}

TEST(NginxImport, ClosesWhatAnIfOpensForSomeOnly) {
  const Imported imported = import_text(R"(server { listen 80;
    location / { proxy_pass http://10.0.0.1:80; }
    location /key { if ($http_x_key != "abc") { return 403; } proxy_pass http://10.0.0.1:80; }
    location /agent { if ($http_user_agent !~* good) { return 444; } proxy_pass http://10.0.0.1:80; }
    location /text { if ($cookie_key != abc) { return 403; } return 200 secret; }
    location /tls { if ($ssl_client_verify != SUCCESS) { return 403; } return 200 secret; }
    location /host { if ($host !~ example) { return 444; } proxy_pass http://10.0.0.1:80; }
    location /moved { if ($cookie_key != abc) { return 302 /login; } proxy_pass http://10.0.0.1:80; } }
    server { listen 81; if ($http_x_key != abc) { return 403; } location / { proxy_pass http://10.0.0.1:80; } }
    server { listen 82; ssl_verify_client on; return 200 secret; }
    server { listen 83; if ($http_x_key != abc) { return 403; } return 200 secret; }
    map $http_x_key $known { default 0; abc 1; }
    geo $near { 10.0.0.0/8 1; default 0; }
    geo $far { default 0; 192.0.2.0/24 1; }
    server { listen 84; set $ok 0; set $bad 0; set $closed 1;
      if ($http_x_key = abc) { set $ok 1; }
      if ($bad = 1) { return 403; }
      if ($far) { return 403; }
      if ($far = 1) { return 403; }
      location /ok { if ($ok = 0) { return 403; } proxy_pass http://10.0.0.1:80; }
      location /closed { if ($closed) { return 403; } proxy_pass http://10.0.0.1:80; }
      location /known { if ($known = 0) { return 403; } proxy_pass http://10.0.0.1:80; }
      location /near { if ($near = "0") { return 403; } proxy_pass http://10.0.0.1:80; }
      location /open { proxy_pass http://10.0.0.1:80; } })");
  for (const char* path : {"/ok/**", "/closed/**", "/known/**", "/near/**"})
    EXPECT_HAS(route(imported.yaml, path), "status: 501") << path;
  EXPECT_HAS(route(imported.yaml, "/open/**"), "to: upstream.");
  for (const char* path : {"/key/**", "/agent/**", "/text/**", "/tls/**"})
    EXPECT_HAS(route(imported.yaml, path), "status: 501") << path;
  for (const char* path : {"/host/**", "/moved/**"}) EXPECT_HAS(route(imported.yaml, path), "to: upstream.");
  EXPECT_HAS_NOT(imported.yaml, "secret,");
  for (const char* listener : {"web_81", "web_82", "web_83"})
    EXPECT_HAS(imported.yaml,
               "listeners: [" + std::string(listener) + "], path: \"/**\" }\n    to: { fixed: { status: 501");
}

// A part would be more open: what came last may have refused.
TEST(NginxImport, RefusesMoreRoutesThanItCanWrite) {
  const auto import_of = [](size_t paths) {
    std::string text = "server { listen 80; location / { proxy_pass http://10.0.0.1:80; }";
    for (size_t i = 1; i < paths; ++i) text += " location = /" + std::to_string(i) + " { deny all; }";
    text += "}";
    return import_config("x.conf", nullptr, in_memory({{"x.conf", text}}));
  };
  const Result<Imported> most = import_of(2'000);
  ASSERT_TRUE(most) << most.error().to_string();
  EXPECT_EQ(most->routes, 2'000u);
  const Result<Imported> more = import_of(2'001);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), Code::resource_exhausted);
  EXPECT_HAS(more.error().to_string(), "x.conf: more than 2,000 routes");
}

}  // namespace
}  // namespace trellis::app
