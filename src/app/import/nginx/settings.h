// What nginx's directives say at one level (http, server, location), with nginx's own rules of inheritance: a level
// takes over what stands above it, and a list (add_header, proxy_set_header, allow and deny) only when it has none of
// its own; try_files it never takes over. Directives that need nothing in Trellis are passed over; those that Trellis
// cannot do are told. Values are nginx's defaults until something is said. Used by the translation of http blocks; one
// thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/import/draft.h"
#include "app/import/nginx/conditions.h"
#include "app/import/nginx/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

struct NginxSettings {
  struct Line {
    std::string name;
    std::string value;
    ImportPlace at;
  };
  struct Access {
    bool allow = false;
    std::string block;
    ImportPlace at;
  };

  std::string root;
  std::vector<std::string> index{"index.html"};
  std::vector<std::string> try_files;
  ImportPlace try_files_at;
  std::string cache_control;  // of `expires`
  std::vector<Line> add_header;
  std::vector<Line> set_header;
  std::vector<std::string> hide_header;
  std::vector<Access> access;
  std::vector<Access> trusted;  // set_real_ip_from
  std::string real_ip_header = "X-Real-IP";
  bool real_ip_recursive = false;
  const NginxDirective* resolver = nullptr;
  std::set<std::string, std::less<>> guards;  // who else decides on access, such as auth_basic
  // Of these, does one decide even before a `return`?
  bool guards_returns() const { return guards.contains("if") || guards.contains("ssl_verify_client"); }
  uint64_t connect_ms = 60'000;
  uint64_t read_ms = 60'000;
  uint64_t send_ms = 60'000;
  std::vector<std::string> next_upstream{"error", "timeout"};
  uint64_t tries = 0;  // 0: every server
  uint64_t tries_ms = 0;
  uint64_t max_body = 1 << 20;  // 0: any
  bool buffers_requests = true;
  bool buffers_answers = true;
  bool gzip = false;
  bool brotli = false;
  bool gzip_static = false;
  bool brotli_static = false;
  std::vector<std::string> types;  // beside text/html
  std::optional<uint64_t> min_length;
  std::optional<uint64_t> level;
  std::string default_type = "text/plain";
  ImportPlace default_type_at;                                // line 0: nowhere
  std::map<std::string, std::string, std::less<>> variables;  // of `set`, whose values are constants
  NginxVariables usually;                                     // of `set`, `map` and `geo`
};

// Times and sizes as nginx writes them: 1h30m, 500ms, 60; 8k, 1m, 512.
std::optional<uint64_t> nginx_milliseconds(std::string_view text);
std::optional<uint64_t> nginx_size(std::string_view text);

// Takes over the block's directives of the kinds above. Those that belong to others (blocks, listen, return, rewrite,
// proxy_pass ...) are left to the caller: see is_structure().
void apply_nginx_settings(const NginxDirective& block, NginxSettings& settings, Remarks& remarks);
bool is_structure(std::string_view directive) noexcept;

// Has everything been done that the directive asks for when nothing is written? (sendfile, server_tokens, types ...)
bool needs_nothing(std::string_view directive) noexcept;
// Why Trellis has nothing for it, and what to do instead.
std::pair<std::string, std::string> why_left_out(std::string_view directive);

}  // namespace trellis::app
