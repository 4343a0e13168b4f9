// The rules of the cache over fields as any origin or client may send them: every number stays within its limits, what
// forbids storing is heeded, a variant or key of one request is one line group, a range that is read can be written and
// read again, and structured text survives. The first byte picks the query's template, the lines behind it are
// "request", "" and "response".
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cache/rules/conditions.h"
#include "cache/rules/invalidation.h"
#include "cache/rules/key.h"
#include "cache/rules/partial.h"
#include "cache/rules/reuse.h"
#include "cache/rules/status_field.h"
#include "cache/rules/storing.h"
#include "cache/rules/update.h"
#include "cache/rules/vary.h"
#include "http/structured.h"
#include "http/target.h"

namespace {

using namespace trellis;
using namespace trellis::cache;

constexpr int64_t kNow = 1'790'000'000;

void require(bool holds) {
  if (!holds) std::abort();
}

bool is_span(int64_t seconds) { return seconds >= 0 && seconds <= kMaxSeconds; }

std::string_view cut_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

// Lines up to an empty one. What could not be in a field after the head parser is left out.
void read_fields(std::string_view& text, http::Fields& fields) {
  while (!text.empty()) {
    const std::string_view line = cut_line(text);
    if (line.empty()) return;
    const size_t colon = line.find(':');
    if (colon == 0 || colon == std::string_view::npos || line.find('\r') != std::string_view::npos) continue;
    fields.add(line.substr(0, colon), line.substr(colon + 1));
  }
}

void check_reuse(const http::Request& request, const Freshness& stored) {
  const RequestDirectives asks = request_directives(request.fields);
  for (const int64_t since : {int64_t{0}, int64_t{1}, int64_t{3600}, kMaxSeconds}) {
    const Reuse got = reuse_of(asks, stored, std::chrono::seconds(since));
    require(is_span(got.age) && got.ttl <= kMaxSeconds && got.ttl >= -kMaxSeconds && !got.reason.empty());
    if (stored.has(Freshness::kNoCache)) require(got.use == Use::validate || got.use == Use::refused);
    if (got.use == Use::fresh) require(got.ttl > 0);
    if (got.use == Use::refused) require(asks.only_if_cached);
    if (may_serve_on_error(asks, stored, std::chrono::seconds(since)))
      require(!stored.has(Freshness::kNoCache) && !stored.has(Freshness::kMustRevalidate));
  }
}

void check_parts(std::string_view text) {
  const auto range = parse_content_range(text);
  if (!range) return;
  Arena arena;
  require(range->range.first <= range->range.last && range->range.last <= INT64_MAX);
  require(parse_content_range(content_range_text(*range, arena)) == range);
  Parts parts;
  require(parts.add(range->range) && parts.covers(range->range) && parts.missing(range->range).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > 8192) return 0;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  const char choice = text[0];
  text.remove_prefix(1);

  Arena arena;
  http::Request request(arena);
  request.scheme = "http";
  request.authority = "example.com";
  request.method = choice & 64 ? http::Method::get : http::Method::post;
  const std::string target = "/" + std::string(cut_line(text));
  if (http::normalise_target(target, arena, request.path, request.query) != http::H1Error{}) return 0;
  read_fields(text, request.fields);
  http::Response response(arena, choice & 32 ? 200 : 206);
  read_fields(text, response.fields);

  const ResponseDirectives directives = response_directives(response.fields);
  const WallTime now{std::chrono::seconds(kNow)};
  const StoreVerdict verdict = may_store(request, response, {}, now - std::chrono::seconds(1), now);
  const Freshness& freshness = verdict.freshness;
  require(is_span(freshness.lifetime) && freshness.age >= 0 && is_span(freshness.stale_while_revalidate) &&
          is_span(freshness.stale_if_error) && !verdict.reason.empty());
  if (verdict.store) {
    require(!directives.is_private && (!directives.no_store || directives.must_understand));
    require(!request_directives(request.fields).no_store);
  }
  check_reuse(request, freshness);

  const std::string_view vary = response.fields.joined(http::FieldId::vary);
  const auto names = vary_names(vary);
  require(names.size() <= kMaxVaryNames && (names.empty() || !varies_on_everything(vary)));
  std::string variant;
  append_variant(variant, names, request.fields);
  const KnownLanguages known = learn_language({}, names, request.fields, response.fields);
  std::string in_language;
  append_variant(in_language, names, request.fields, known);
  require(known.texts.size() <= 1 &&
          std::count(in_language.begin(), in_language.end(), '\n') == std::count(variant.begin(), variant.end(), '\n'));
  require(static_cast<size_t>(std::count(variant.begin(), variant.end(), '\n')) == names.size());

  KeyConfig config;
  config.query = choice & 1 ? KeyQuery::sorted : KeyQuery::all;
  if (choice & 2) config.without = {"utm_*", "a"};
  if (choice & 4) config.only = {"b"};
  if (choice & 8) config.cookies = {"lang"};
  if (choice & 16) config.headers = {"accept"};
  const KeyTemplate key(config);
  const std::string_view keyed = key.keyed_query(request.query, arena);
  require(keyed.size() <= request.query.size() && key.keyed_query(keyed, arena) == keyed);
  std::string text_of_key;
  key.append(text_of_key, request);
  require(text_of_key.starts_with("http://example.com/"));

  for (const StoredUri& uri : invalidated_by(request, response, arena))
    require(uri.path.starts_with('/') && uri.authority == request.authority);
  check_parts(response.fields.value(http::FieldId::content_range));
  (void)is_not_modified(request, 200, response.fields, kNow, kNow);
  (void)stored_ranges(request, 200, response.fields, kNow, kNow, 1000);
  (void)confirms(request.fields, response.fields);
  (void)effect_of_head(200, request.fields, 10, response);

  CacheStatus status;
  status.key = text_of_key;
  status.detail = vary;
  const std::string member = "a=1;" + std::string(cache_status_text("k", status, arena)).substr(2);
  require(http::parse_dictionary(member).has_value());
  return 0;
}
