#include "load/options.h"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <concepts>
#include <fstream>
#include <string_view>

namespace trellis::load {

const char* const kHelp = R"(trellis_load: loads an HTTP/1.1 server and measures it.

  trellis_load [OPTION...] http://HOST[:PORT][/PATH]

Closed loop by default: each connection sends its next request when the answer is there. With --rate an open loop: requests
are due at a constant rate whatever the server does, and latency counts from when a request was due, so that a stall shows in
the latencies of everything it held up.

  --connections N     connections that carry the load (64)
  --threads N         threads, connections spread over them (1)
  --seconds S         length of the measured time (10)
  --warmup S          time before it (0.5)
  --rate R            open loop, R requests a second in all
  --pipeline N        requests in flight on a connection, closed loop only (1)
  --reconnect         a new connection for each request
  --echo N            WebSocket: each connection upgrades once, then sends messages of N bytes (at most 65535) and waits for
                      each to come back; those are the answers
  --idle N            N more connections that make one request each and then stay open, idle
  --paths FILE        one path a line, taken in turn instead of the URL's path
  --zipf S            paths at random, the first most often: skew S (1.0 is usual, 0 is uniform)
  --method M          GET by default
  --header 'N: V'     one more header; may be repeated
  --body-size N       a body of N bytes
  --body TEXT         this body
  --cpu-of PID[,PID]  CPU time and memory of these processes and their children
  --json              the report as JSON
  --help

Example: trellis_load --connections 64 --seconds 5 --cpu-of $(pidof -s trellis) http://127.0.0.1:8080/

Exit code 0: answers were counted (see the report for errors), 1: there were none, 2: wrong use.
)";

namespace {

Error wrong(std::string what) { return Error(Code::invalid_argument, std::move(what)); }

template <class T>
Result<T> number(std::string_view option, std::string_view text, T least, T most) {
  T value{};
  auto [rest, error] = std::from_chars(text.begin(), text.end(), value);
  if (error != std::errc() || rest != text.end() || !(value >= least && value <= most)) {
    return fail(wrong(fmt::format("{} expects a number from {} to {}, got \"{}\"", option, least, most, text)));
  }
  return value;
}

Result<std::vector<std::string>> read_paths(const std::string& name) {
  std::ifstream file(name);
  if (!file) return fail(errno_error(name, errno));
  std::vector<std::string> paths;
  for (std::string line; std::getline(file, line);) {
    if (line.empty()) continue;
    if (line[0] != '/') return fail(wrong(fmt::format("{}: \"{}\" does not begin with /", name, line)));
    paths.push_back(std::move(line));
  }
  if (paths.empty()) return fail(wrong(name + ": no paths"));
  return paths;
}

Result<> read_url(std::string_view url, Options& options) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return fail(wrong(fmt::format("\"{}\": only http:// is spoken", url)));
  url.remove_prefix(kScheme.size());
  size_t slash = std::min(url.find('/'), url.size());
  std::string_view authority = url.substr(0, slash);
  options.paths.assign(1, slash < url.size() ? std::string(url.substr(slash)) : "/");
  size_t colon = authority.rfind(':');
  if (colon != std::string_view::npos) {
    options.port = authority.substr(colon + 1);
    TRY([[maybe_unused]] int port, number<int>("port", options.port, 1, 65535));
    authority = authority.substr(0, colon);
  }
  if (authority.empty()) return fail(wrong("the URL has no host"));
  options.host = authority;
  return {};
}

Result<std::vector<pid_t>> read_pids(std::string_view list) {
  std::vector<pid_t> pids;
  while (!list.empty()) {
    size_t comma = std::min(list.find(','), list.size());
    TRY(pid_t pid, number<pid_t>("--cpu-of", list.substr(0, comma), 1, INT32_MAX));
    pids.push_back(pid);
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return pids;
}

}  // namespace

Result<Options> parse_options(int argc, char** argv) {
  Options options;
  std::string url;
  std::string paths;
  std::vector<std::string> args(argv + 1, argv + argc);
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& name = args[i];
    if (name == "--help" || name == "-h") {
      options.help = true;
      return options;
    }
    if (name == "--json") {
      options.json = true;
      continue;
    }
    if (name == "--reconnect") {
      options.reconnect = true;
      continue;
    }
    if (!name.starts_with("--")) {
      if (!url.empty()) return fail(wrong(fmt::format("one URL only, got \"{}\" too", name)));
      url = name;
      continue;
    }
    if (i + 1 == args.size()) return fail(wrong(fmt::format("{}: unknown, or its value is missing", name)));
    const std::string& value = args[++i];
    if (name == "--connections") {
      TRY(options.connections, number<unsigned>(name, value, 1, 1'000'000));
    } else if (name == "--threads") {
      TRY(options.threads, number<unsigned>(name, value, 1, 256));
    } else if (name == "--pipeline") {
      TRY(options.pipeline, number<unsigned>(name, value, 1, 1024));
    } else if (name == "--idle") {
      TRY(options.idle, number<unsigned>(name, value, 0, 10'000'000));
    } else if (name == "--echo") {
      TRY(options.echo, number<unsigned>(name, value, 1, 65535));
    } else if (name == "--seconds") {
      TRY(options.seconds, number<double>(name, value, 0.01, 86400));
    } else if (name == "--warmup") {
      TRY(options.warmup, number<double>(name, value, 0, 3600));
    } else if (name == "--rate") {
      TRY(options.rate, number<double>(name, value, 0.1, 1e8));
    } else if (name == "--zipf") {
      TRY(options.zipf, number<double>(name, value, 0, 10));
    } else if (name == "--body-size") {
      TRY(const size_t size, number<size_t>(name, value, 0, size_t{1} << 30));
      options.body.assign(size, 'x');
    } else if (name == "--body") {
      options.body = value;
    } else if (name == "--paths") {
      paths = value;
    } else if (name == "--method") {
      options.method = value;
    } else if (name == "--header") {
      options.headers.push_back(value);
    } else if (name == "--cpu-of") {
      TRY(options.cpu_of, read_pids(value));
    } else {
      return fail(wrong(name + ": unknown option"));
    }
  }
  if (url.empty()) return fail(wrong("which URL?"));
  TRY_VOID(read_url(url, options));
  if (!paths.empty()) {
    TRY(options.paths, read_paths(paths));
  }
  if (options.threads > options.connections) options.threads = options.connections;
  if (options.pipeline > 1 && (options.rate > 0 || options.reconnect)) {
    return fail(wrong("--pipeline goes with neither --rate nor --reconnect"));
  }
  if (options.echo > 0 && (options.pipeline > 1 || options.reconnect)) {
    return fail(wrong("--echo goes with neither --pipeline nor --reconnect"));
  }
  return options;
}

}  // namespace trellis::load
