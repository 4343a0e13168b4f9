#include "app/import/nginx/settings.h"

#include <algorithm>

#include "app/import/numbers.h"
#include "http/fields.h"

namespace trellis::app {

namespace {

using namespace std::string_view_literals;

// Decided at the place where they stand, by whoever walks the tree.
constexpr std::string_view kStructure[] = {"http",
                                           "server",
                                           "location",
                                           "upstream",
                                           "events",
                                           "stream",
                                           "listen",
                                           "server_name",
                                           "proxy_pass",
                                           "return",
                                           "rewrite",
                                           "if",
                                           "alias",
                                           "internal",
                                           "stub_status",
                                           "limit_except",
                                           "access_log",
                                           "error_log",
                                           "keepalive_timeout",
                                           "client_header_timeout",
                                           "client_body_timeout",
                                           "send_timeout",
                                           "large_client_header_buffers",
                                           "worker_processes",
                                           "log_format",
                                           "map",
                                           "split_clients",
                                           "types"};

// Done by Trellis without being told, or of no effect on what clients and hosts see.
constexpr std::string_view kNothing[] = {"sendfile",
                                         "sendfile_max_chunk",
                                         "tcp_nopush",
                                         "tcp_nodelay",
                                         "types_hash_max_size",
                                         "types_hash_bucket_size",
                                         "server_names_hash_bucket_size",
                                         "server_names_hash_max_size",
                                         "variables_hash_max_size",
                                         "variables_hash_bucket_size",
                                         "map_hash_bucket_size",
                                         "map_hash_max_size",
                                         "server_tokens",
                                         "server_name_in_redirect",
                                         "port_in_redirect",
                                         "absolute_redirect",
                                         "msie_padding",
                                         "open_file_cache",
                                         "open_file_cache_valid",
                                         "open_file_cache_min_uses",
                                         "open_file_cache_errors",
                                         "keepalive_requests",
                                         "keepalive_disable",
                                         "keepalive_time",
                                         "client_body_buffer_size",
                                         "client_header_buffer_size",
                                         "client_body_temp_path",
                                         "client_body_in_file_only",
                                         "client_body_in_single_buffer",
                                         "reset_timedout_connection",
                                         "lingering_close",
                                         "lingering_time",
                                         "lingering_timeout",
                                         "log_not_found",
                                         "log_subrequest",
                                         "open_log_file_cache",
                                         "aio",
                                         "directio",
                                         "output_buffers",
                                         "postpone_output",
                                         "read_ahead",
                                         "connection_pool_size",
                                         "request_pool_size",
                                         "merge_slashes",
                                         "proxy_buffers",
                                         "proxy_buffer_size",
                                         "proxy_busy_buffers_size",
                                         "proxy_temp_path",
                                         "proxy_temp_file_write_size",
                                         "proxy_max_temp_file_size",
                                         "proxy_headers_hash_max_size",
                                         "proxy_headers_hash_bucket_size",
                                         "proxy_pass_header",
                                         "proxy_socket_keepalive",
                                         "gzip_vary",
                                         "gzip_disable",
                                         "gzip_buffers",
                                         "gzip_http_version",
                                         "gzip_proxied",
                                         "brotli_buffers",
                                         "brotli_window",
                                         "fastcgi_temp_path",
                                         "uwsgi_temp_path",
                                         "scgi_temp_path",
                                         "resolver_timeout",
                                         "uninitialized_variable_warn",
                                         "rewrite_log",
                                         "charset_types",
                                         "override_charset",
                                         "source_charset",
                                         "index_hash",
                                         "recursive_error_pages",
                                         "variables_hash",
                                         "limit_req_zone",
                                         "limit_conn_zone",
                                         "limit_req_log_level",
                                         "limit_req_status",
                                         "limit_conn_log_level",
                                         "limit_conn_status",
                                         "user",
                                         "pid",
                                         "daemon",
                                         "master_process",
                                         "worker_connections",
                                         "worker_rlimit_nofile",
                                         "worker_rlimit_core",
                                         "worker_priority",
                                         "worker_cpu_affinity",
                                         "worker_shutdown_timeout",
                                         "multi_accept",
                                         "accept_mutex",
                                         "use",
                                         "load_module",
                                         "pcre_jit",
                                         "timer_resolution",
                                         "thread_pool",
                                         "env",
                                         "lock_file",
                                         "debug_points",
                                         "working_directory",
                                         "status_zone",
                                         "proxy_force_ranges"};

// What Trellis does as nginx does it with these values, the defaults among them, and not with others.
struct Switch {
  std::string_view name;
  std::string_view good;  // parted by spaces
  std::string_view why;
};
constexpr Switch kSwitches[] = {
    {"etag", "on", "files have an ETag"},
    {"if_modified_since", "exact before", "files heed If-Modified-Since"},
    {"max_ranges", "", "files are sent in ranges, too"},
    {"chunked_transfer_encoding", "on", "an answer of unknown length comes in chunks"},
    {"ignore_invalid_headers", "on", "a request with an invalid field is refused"},
    {"proxy_http_version", "1.1", "hosts are asked by HTTP/1.1"},
    {"disable_symlinks", "off", "links that stay below the root are followed"},
    {"charset", "utf-8 off", "text files have charset=utf-8, and answers of hosts what hosts say"},
};

// By the beginning of the name; the first that fits.
struct Absent {
  std::string_view prefix;
  std::string_view why;
  std::string_view instead;
};
constexpr Absent kAbsent[] = {
    {"fastcgi_pass", "Trellis speaks HTTP to its hosts",
     "put an HTTP server before the application, or keep nginx for it"},
    {"uwsgi_pass", "Trellis speaks HTTP to its hosts", "let uwsgi listen with http-socket"},
    {"scgi_pass", "Trellis speaks HTTP to its hosts", "put an HTTP server before the application"},
    {"grpc_pass", "there is no HTTP/2 yet", "keep nginx for gRPC"},
    {"memcached_pass", "Trellis speaks HTTP to its hosts", "ask memcached in the application"},
    {"proxy_cache", "not part of the import", "the filter cache of a route, docs/edge-cache.md"},
    {"fastcgi_", "belongs to fastcgi_pass", ""},
    {"uwsgi_", "belongs to uwsgi_pass", ""},
    {"scgi_", "belongs to scgi_pass", ""},
    {"grpc_", "belongs to grpc_pass", ""},
    {"memcached_", "belongs to memcached_pass", ""},
    {"ssl_", "there is no TLS yet", "let nginx, HAProxy or stunnel end TLS before Trellis"},
    {"http2", "HTTP/1.1 only", "let who ends TLS speak HTTP/2"},
    {"http3", "HTTP/1.1 only", ""},
    {"quic", "HTTP/1.1 only", ""},
    {"proxy_ssl", "hosts are spoken to without TLS", "use a private network, or a TLS tunnel to the host"},
    {"limit_req", "there is no rate limit yet", "limit in the application, or keep nginx before Trellis"},
    {"limit_conn", "connections of one client are not limited yet",
     "listeners.NAME.max_connections bounds those of all clients"},
    {"limit_rate", "answers are not slowed down", ""},
    {"auth_request", "there is no authentication yet", "its routes answer 501 until you decide"},
    {"auth_", "there is no authentication yet", "its routes answer 501 until you decide"},
    {"secure_link", "signed URLs are not checked", ""},
    {"error_page", "errors of Trellis are problem+json, those of hosts go through",
     "let the application make its error pages"},
    {"proxy_intercept_errors", "errors of hosts go through as they are", ""},
    {"proxy_redirect", "Location of an answer goes through as it is; hosts hear the client's own Host",
     "let the application make its redirects from Host"},
    {"proxy_cookie_", "cookies go through as they are", "let the application set path and domain"},
    {"proxy_bind", "the system chooses the address that connections come from", ""},
    {"proxy_method", "the method goes through as it is", ""},
    {"proxy_set_body", "bodies go through as they are", ""},
    {"proxy_store", "nothing is stored", ""},
    {"proxy_pass_request_headers", "the fields of a request go with it", "filter headers: { request: { remove } }"},
    {"proxy_pass_request_body", "the body of a request goes with it", ""},
    {"proxy_ignore_client_abort", "a client that leaves ends its request at the host", ""},
    {"add_trailer", "answers get no trailers of their own", ""},
    {"proxy_limit_rate", "answers are not slowed down", ""},
    {"geoip", "routes cannot ask for the country", ""},
    {"geo", "there are no variables made from addresses", "use allow and deny"},
    {"map", "there are no variables of your own", "write a route for each case: match.host, headers, query"},
    {"split_clients", "there are no variables of your own", "filter split of a route"},
    {"sticky", "not part of the import, as it needs a secret", "upstreams.NAME.sticky: { cookie, secret }"},
    {"queue", "not part of the import", "upstreams.NAME.limits: { waiting, wait }"},
    {"sub_filter", "bodies are not changed", ""},
    {"subs_filter", "bodies are not changed", ""},
    {"ssi", "bodies are not changed", ""},
    {"addition_", "bodies are not changed", ""},
    {"add_before_body", "bodies are not changed", ""},
    {"add_after_body", "bodies are not changed", ""},
    {"image_filter", "bodies are not changed", ""},
    {"xslt_", "bodies are not changed", ""},
    {"gunzip", "answers are not decompressed for clients", ""},
    {"autoindex", "directories are never listed", ""},
    {"random_index", "an index file has a fixed name", ""},
    {"dav_", "files are read only", ""},
    {"mirror", "not part of the import", "the filter mirror of a route, docs/traffic.md"},
    {"userid", "no cookies are set", ""},
    {"valid_referers", "requests are not refused by Referer", ""},
    {"empty_gif", "not part of the import", "serve a file"},
    {"flv", "files are served as they are", ""},
    {"mp4", "files are served as they are", ""},
    {"js_", "nginx's own scripts do not run here", ""},
    {"perl", "nginx's own scripts do not run here", ""},
    {"lua_", "nginx's own scripts do not run here", ""},
    {"mail", "mail is not relayed", "keep nginx for it"},
    {"break", "rewriting ends by itself", ""},
    {"slice", "not part of the import", "slice of the filter cache, docs/edge-cache-rules.md"},
    {"underscores_in_headers", "names with an underscore go through", ""},
    {"proxy_ignore_headers", "X-Accel fields mean nothing here; they go through to the client", ""},
    {"proxy_protocol", "not for HTTP", ""},
};

}  // namespace

std::optional<uint64_t> nginx_milliseconds(std::string_view text) {
  if (text.empty()) return std::nullopt;
  uint64_t total = 0;
  while (!text.empty()) {
    const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const std::optional<uint64_t> value = whole_number(text.substr(0, digits));
    if (!value || *value > 1'000'000'000) return std::nullopt;
    text.remove_prefix(digits);
    uint64_t unit = 1000;
    size_t length = 1;
    if (text.starts_with("ms")) {
      unit = 1;
      length = 2;
    } else if (text.starts_with('m')) {
      unit = 60'000;
    } else if (text.starts_with('h')) {
      unit = 3'600'000;
    } else if (text.starts_with('d')) {
      unit = 86'400'000;
    } else if (text.starts_with('w')) {
      unit = 7 * uint64_t{86'400'000};
    } else if (text.starts_with('M')) {
      unit = 30 * uint64_t{86'400'000};
    } else if (text.starts_with('y')) {
      unit = 365 * uint64_t{86'400'000};
    } else if (!text.empty() && text.front() != 's') {
      return std::nullopt;
    }
    text.remove_prefix(std::min(length, text.size()));
    total += *value * unit;
    if (total > uint64_t{1} << 50) return std::nullopt;
  }
  return total;
}

std::optional<uint64_t> nginx_size(std::string_view text) {
  if (text.empty()) return std::nullopt;
  unsigned shift = 0;
  switch (text.back()) {
    case 'k':
    case 'K': shift = 10; break;
    case 'm':
    case 'M': shift = 20; break;
    case 'g':
    case 'G': shift = 30; break;
    default: break;
  }
  if (shift > 0) text.remove_suffix(1);
  const std::optional<uint64_t> value = whole_number(text);
  if (!value || *value > uint64_t{1} << 30) return std::nullopt;
  return *value << shift;
}

bool is_structure(std::string_view directive) noexcept {
  return std::ranges::find(kStructure, directive) != std::end(kStructure);
}

bool needs_nothing(std::string_view directive) noexcept {
  return std::ranges::find(kNothing, directive) != std::end(kNothing);
}

std::pair<std::string, std::string> why_left_out(std::string_view directive) {
  for (const Absent& absent : kAbsent) {
    if (directive.starts_with(absent.prefix)) return {std::string(absent.why), std::string(absent.instead)};
  }
  if (directive.find("_by_lua") != std::string_view::npos) return {"nginx's own scripts do not run here", ""};
  return {"not known to the import", ""};
}

namespace {

const Switch* switch_of(std::string_view directive) noexcept {
  const auto found = std::ranges::find(kSwitches, directive, &Switch::name);
  return found == std::end(kSwitches) ? nullptr : found;
}
bool is_good(const Switch& one, std::string_view value) noexcept {
  std::string_view rest = one.good;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    if (http::iequal(rest.substr(0, end), value)) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

// Who decides on access: auth_basic, auth_request, auth_ldap and others of one word, scripts that run before.
// auth_basic_user_file and its like say how.
bool is_guard(std::string_view directive) {
  static constexpr std::string_view kGuards[] = {"js_access", "secure_link", "secure_link_hmac"};
  static constexpr std::string_view kPhases[] = {"access_by_lua", "rewrite_by_lua", "server_rewrite_by_lua"};
  if (std::ranges::find(kGuards, directive) != std::end(kGuards)) return true;
  for (const std::string_view phase : kPhases) {
    if (!directive.starts_with(phase)) continue;
    const std::string_view how = directive.substr(phase.size());
    return how.empty() || how == "_block" || how == "_file";
  }
  return directive.starts_with("auth_") && directive.find('_', 5) == std::string_view::npos &&
         directive != "auth_delay";
}
// Each stands for itself: `auth_basic off` opens nothing that auth_request guards. True: it is asked now.
bool set_guard(NginxSettings& settings, std::string_view name, bool asked) {
  if (asked) {
    settings.guards.emplace(name);
  } else if (const auto found = settings.guards.find(name); found != settings.guards.end()) {
    settings.guards.erase(found);
  }
  return asked;
}

// What a variable holds from here on.
void remember(const NginxDirective& one, NginxVariables& usually) {
  if (one.words.empty()) return;
  const bool sets = one.name == "set";
  if (!sets && one.name != "map" && one.name != "geo") return;
  const NginxDirective* otherwise = sets ? nullptr : one.find("default");
  const std::string value(sets ? one.word(1) : otherwise ? otherwise->word(0) : std::string_view());
  const std::string& variable = sets ? one.words.front() : one.words.back();
  usually.erase(variable);
  if (value.find('$') == std::string::npos) usually.emplace(variable, value);
}

std::string cache_control_of(std::string_view time, bool& good) {
  good = true;
  if (time == "off") return {};
  if (time == "epoch" || time.starts_with('-')) return "no-cache";
  if (time == "max") return "max-age=315360000";
  const std::optional<uint64_t> milliseconds = nginx_milliseconds(time);
  good = milliseconds.has_value();
  return good ? "max-age=" + std::to_string(*milliseconds / 1000) : std::string();
}

}  // namespace

void apply_nginx_settings(const NginxDirective& block, NginxSettings& settings, Remarks& remarks) {
  const auto has = [&](std::string_view name) { return block.find(name) != nullptr; };
  if (has("add_header")) settings.add_header.clear();
  if (has("proxy_set_header")) settings.set_header.clear();
  if (has("proxy_hide_header")) settings.hide_header.clear();
  if (has("allow") || has("deny")) settings.access.clear();
  if (has("set_real_ip_from")) settings.trusted.clear();
  if (has("index")) settings.index.clear();
  if (has("gzip_types") || has("brotli_types")) settings.types.clear();
  settings.try_files.clear();  // is of its level alone
  bool tls_told = false;

  for (const NginxDirective& one : block.block) {
    const std::string_view name = one.name;
    const auto left_out = [&](std::string why, std::string instead = {}) {
      remarks.left_out(one.at, one.name, std::move(why), std::move(instead));
    };
    const auto flag = [&] { return one.word(0) == "on" || one.word(0) == "always"; };
    const auto time = [&](uint64_t& out) {
      if (const auto value = nginx_milliseconds(one.word(0))) {
        out = *value;
      } else {
        left_out("not a time: " + std::string(one.word(0)));
      }
    };
    const bool own_types = name == "types" && (!one.at.file || !one.at.file->ends_with("mime.types"));
    if (own_types) left_out("the types of files are built in");
    if (const std::string_view guard = name == "if" ? guard_of(one, settings.usually) : std::string_view();
        !guard.empty()) {
      set_guard(settings, guard, true);
      left_out(guard == "if" ? "no match says whom it lets in" : "there is no TLS yet",
               "its routes answer 501 until you decide");
    }
    remember(one, settings.usually);
    if (is_structure(name) || needs_nothing(name)) continue;
    if (const Switch* known = switch_of(name)) {
      if (!is_good(*known, one.word(0))) left_out(std::string(known->why));
    } else if (name == "root") {
      settings.root = one.word(0);
    } else if (name == "index") {
      for (const std::string& file : one.words) {
        if (file.ends_with(".php")) {
          left_out(file + " is run by a program, and Trellis serves files as they are");
        } else if (file.empty() || file.front() == '.' || file.find_first_of("/$") != std::string::npos) {
          left_out("an index is a plain file name: " + file);
        } else {
          settings.index.push_back(file);
        }
      }
    } else if (name == "try_files") {
      settings.try_files = one.words;
      settings.try_files_at = one.at;
    } else if (name == "expires") {
      bool good = one.words.size() == 1;
      if (good) settings.cache_control = cache_control_of(one.word(0), good);
      if (!good) left_out("a fixed time only");
    } else if (name == "add_header") {
      settings.add_header.push_back({std::string(one.word(0)), std::string(one.word(1)), one.at});
    } else if (name == "proxy_set_header") {
      settings.set_header.push_back({std::string(one.word(0)), std::string(one.word(1)), one.at});
    } else if (name == "proxy_hide_header") {
      settings.hide_header.emplace_back(one.word(0));
    } else if (name == "allow" || name == "deny") {
      settings.access.push_back({name == "allow", std::string(one.word(0)), one.at});
    } else if (name == "set_real_ip_from" || name == "real_ip_header" || name == "real_ip_recursive") {
      if (block.name == "location") {
        left_out("who is trusted belongs to the listener", "listeners.NAME.trusted");
      } else if (name == "set_real_ip_from") {
        settings.trusted.push_back({true, std::string(one.word(0)), one.at});
      } else if (name == "real_ip_header") {
        settings.real_ip_header = one.word(0);
      } else {
        settings.real_ip_recursive = flag();
      }
    } else if (name == "resolver") {
      settings.resolver = &one;
    } else if (name == "proxy_connect_timeout") {
      time(settings.connect_ms);
    } else if (name == "proxy_read_timeout") {
      time(settings.read_ms);
    } else if (name == "proxy_send_timeout") {
      time(settings.send_ms);
    } else if (name == "proxy_next_upstream") {
      settings.next_upstream = one.words;
      for (const std::string& when : one.words) {
        if (when == "http_403" || when == "http_404" || when == "http_429")
          left_out("an answer of " + when.substr(5) + " goes through");
        if (when == "non_idempotent") left_out("what is not safe to repeat is not repeated once it was sent");
      }
    } else if (name == "proxy_next_upstream_tries") {
      if (const auto value = whole_number(one.word(0))) settings.tries = *value;
    } else if (name == "proxy_next_upstream_timeout") {
      time(settings.tries_ms);
    } else if (name == "client_max_body_size") {
      if (const auto value = nginx_size(one.word(0))) {
        settings.max_body = *value;
      } else {
        left_out("not a size: " + std::string(one.word(0)));
      }
    } else if (name == "proxy_request_buffering") {
      settings.buffers_requests = flag();
    } else if (name == "proxy_buffering") {
      settings.buffers_answers = flag();
    } else if (name == "gzip") {
      settings.gzip = flag();
    } else if (name == "brotli") {
      settings.brotli = flag();
    } else if (name == "gzip_static") {
      settings.gzip_static = flag();
    } else if (name == "brotli_static") {
      settings.brotli_static = flag();
    } else if (name == "gzip_types" || name == "brotli_types") {
      for (const std::string& type : one.words) {
        const size_t slash = type.find('/');
        if (type == "*") {
          settings.types.insert(settings.types.end(), {"text/*", "application/*", "image/*", "font/*"});
        } else if (slash == std::string::npos || slash == 0 || slash + 1 == type.size() ||
                   type.find('*') != std::string::npos) {
          left_out("not a media type: " + type);
        } else {
          settings.types.push_back(type);
        }
      }
    } else if (name == "gzip_min_length" || name == "brotli_min_length") {
      settings.min_length = whole_number(one.word(0));
    } else if (name == "gzip_comp_level") {
      settings.level = whole_number(one.word(0));
      if (settings.level && (*settings.level < 1 || *settings.level > 9)) settings.level.reset();
    } else if (name == "brotli_comp_level") {
      continue;
    } else if (name == "default_type") {
      settings.default_type = one.word(0);
      settings.default_type_at = one.at;
    } else if (name == "set") {
      const std::string_view variable = one.word(0);
      if (variable.size() > 1 && variable.front() == '$' && one.word(1).find('$') == std::string_view::npos) {
        settings.variables[std::string(variable.substr(1))] = one.word(1);
      } else {
        left_out("only constants can be set");
      }
    } else if (name == "ssl_verify_client") {
      const bool asks = one.word(0) == "on" || one.word(0) == "optional_no_ca";
      if (set_guard(settings, name, asks)) left_out("there is no TLS yet", "its routes answer 501 until you decide");
    } else if (name == "satisfy") {
      if (set_guard(settings, "satisfy any", one.word(0) == "any"))
        left_out("address and password cannot stand for one another", "its routes answer 501 until you decide");
    } else if (is_guard(name)) {
      if (set_guard(settings, name, one.word(0) != "off")) {
        auto [why, instead] = why_left_out(name);
        left_out(std::move(why), "its routes answer 501 until you decide");
      }
    } else if (name.starts_with("auth_")) {
      continue;  // belongs to what was told
    } else if (name == "autoindex" || name == "ssi" || name == "error_page" || name == "proxy_redirect" ||
               name == "proxy_cache" || name == "proxy_intercept_errors" || name == "ssl" || name == "http2" ||
               name == "gunzip" || name == "proxy_cache_bypass" || name == "proxy_pass_request_headers" ||
               name == "proxy_pass_request_body" || name == "proxy_ignore_client_abort") {
      if (one.word(0) == (name.starts_with("proxy_pass_request_") ? "on" : "off")) continue;
      if (name == "proxy_redirect" && one.word(0) == "default") continue;
      auto [why, instead] = why_left_out(name == "ssl" ? "ssl_" : name);
      left_out(std::move(why), std::move(instead));
    } else if (name.starts_with("ssl_")) {
      if (tls_told) continue;  // one line for all of them
      tls_told = true;
      auto [why, instead] = why_left_out(name);
      left_out(std::move(why), std::move(instead));
    } else {
      auto [why, instead] = why_left_out(name);
      left_out(std::move(why), std::move(instead));
    }
  }
}

}  // namespace trellis::app
