// What this room reads of a client's request: the encodings it takes, ranges, conditions, cookies, the path of a file,
// the route. Whatever the bytes are, ranges stay inside the file and are bounded, a file's path never climbs or names
// what is hidden, and the router agrees with the pattern of the route it chose.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "http/preconditions.h"
#include "http/ranges.h"
#include "net/address_set.h"
#include "proxy/accept_encoding.h"
#include "proxy/files/files_target.h"
#include "proxy/router.h"
#include "proxy/text_template.h"
#include "proxy/when.h"
#include "upstream/hash_key.h"

namespace {

using namespace trellis;
using namespace trellis::proxy;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_file_path(std::string_view path) {
  std::string out;
  if (decode_file_path(path, out) != PathFault::none) return;
  require(out.find('\0') == std::string::npos && !out.starts_with('/') && out.find("//") == std::string::npos);
  const std::string framed = "/" + out;
  require(framed.find("/../") == std::string::npos && framed.find("/./") == std::string::npos);
  const size_t dot = framed.find("/.");
  require(dot == std::string::npos || (dot == 0 && framed.starts_with("/.well-known")));
}

void check_ranges(std::string_view text, uint64_t size) {
  const http::RangePlan plan = http::plan_ranges(text, size);
  require(plan.ranges.size() <= http::kMaxSentRanges);
  require((plan.kind == http::RangePlan::Kind::partial) == !plan.ranges.empty());
  uint64_t total = 0;
  for (const http::ByteRange& range : plan.ranges) {
    require(range.first <= range.last && range.last < size);
    total += range.size();
  }
  require(total <= size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  constexpr Encoding kAll[] = {Encoding::zstd, Encoding::br, Encoding::gzip};
  choose_encoding(text, kAll);
  for (const uint64_t length : {uint64_t{0}, uint64_t{1}, uint64_t{1000}, uint64_t{UINT64_MAX / 2}})
    check_ranges(text, length);
  check_file_path(text);
  check_file_path("/" + std::string(text));
  net::AddressSet::parse_address(text);
  (void)net::AddressSet::parse_block(text);
  (void)TextTemplate::parse(text);
  has_content_hash(text);

  Arena arena;
  http::Request request(arena);
  request.method = http::Method::get;
  request.method_text = "GET";
  for (const auto id : {http::FieldId::if_match, http::FieldId::if_none_match, http::FieldId::if_modified_since,
                        http::FieldId::if_unmodified_since, http::FieldId::if_range}) {
    request.fields.clear();
    request.fields.add(id, text);
    http::evaluate(request, {"\"a\"", 1'767'225'600}, 1'767'225'700);
    http::if_range_allows(request, {"\"a\"", 1'767'225'600}, 1'767'225'700);
  }

  // A cookie of a split or a condition: what is found is a part of the line between two separators.
  request.fields.clear();
  request.fields.add(http::FieldId::cookie, text);
  if (const auto value = upstream::cookie_of(request, "way"))
    require(value->find(';') == std::string_view::npos && text.find("way=" + std::string(*value)) != text.npos);
  static const When any({.header = "", .cookie = "way"});
  static const When one({.header = "", .cookie = "way=7"});
  require(any.holds(request) == upstream::cookie_of(request, "way").has_value());
  require(!one.holds(request) || upstream::cookie_of(request, "way") == "7");

  // The input as a pattern and a path: lines "pattern\npath\nhost\nquery".
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back().push_back(c);
    }
  }
  lines.resize(4);
  const std::vector<Match> routes = {
      {"", lines[0], {}, {}, {}}, {"*.example.com", "/**", {}, {}, {{"a", "b"}}}, {"", "/x/*/y", {"POST"}, {}, {}}};
  std::vector<RouteProblem> problems;
  const Router router = Router::compile(routes, problems);
  request.path = lines[1];
  request.authority = lines[2];
  request.query = lines[3];
  const Router::Decision decision = router.find(request);
  const Result<PathPattern> pattern = PathPattern::parse(lines[0]);
  if (pattern && decision.route != 1) require((decision.route == 0) == pattern->matches(lines[1]));
  return 0;
}
