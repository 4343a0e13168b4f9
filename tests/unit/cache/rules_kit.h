// Messages for the tests of src/cache/rules, made in a line.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/arena.h"
#include "base/time.h"
#include "http/date.h"
#include "http/message.h"

namespace trellis::cache::test {

using Lines = std::initializer_list<std::pair<std::string_view, std::string_view>>;

inline constexpr int64_t kNow = 1'790'000'000;  // seconds since 1970

inline WallTime wall(int64_t seconds) { return WallTime(std::chrono::seconds(seconds)); }
inline std::string date(int64_t seconds) {
  char text[http::kHttpDateSize];
  http::format_http_date(seconds, text);
  return {text, sizeof text};
}

inline void add(http::Fields& fields, Lines lines) {
  for (const auto& [name, value] : lines) fields.add_copy(name, value);
}

// Fields with the arena they live in.
struct Head {
  explicit Head(Lines lines) : fields(*arena) { add(fields, lines); }
  std::unique_ptr<Arena> arena = std::make_unique<Arena>();
  http::Fields fields;
};

struct Asked {
  explicit Asked(Lines lines = {}, std::string_view method = "GET", std::string_view path = "/a",
                 std::string_view query = "")
      : request(*arena) {
    request.method = http::method_from(method);
    request.method_text = method;
    request.scheme = "http";
    request.authority = "example.com";
    request.path = path;
    request.query = query;
    add(request.fields, lines);
  }
  std::unique_ptr<Arena> arena = std::make_unique<Arena>();
  http::Request request;
};

struct Answered {
  explicit Answered(Lines lines = {}, int status = 200) : response(*arena, status) { add(response.fields, lines); }
  std::unique_ptr<Arena> arena = std::make_unique<Arena>();
  http::Response response;
};

}  // namespace trellis::cache::test
