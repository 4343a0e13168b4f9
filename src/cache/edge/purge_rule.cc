#include "cache/edge/purge_rule.h"

#include <algorithm>

#include "base/arena.h"
#include "base/ascii.h"
#include "base/hash.h"
#include "http/field_text.h"
#include "http/fields.h"
#include "http/h1_parser.h"
#include "http/target.h"

namespace trellis::cache {
namespace {

constexpr uint64_t kTagSeed = 0x7461'67;   // so that a tag's number is no other kind's
constexpr size_t kMaxAuthority = 255 + 6;  // with a port
constexpr std::string_view kCacheOnly[] = {"Surrogate-Key", "Cache-Tag", "Surrogate-Control"};

std::unexpected<Error> wrong(std::string what) {
  return fail(Error(Code::invalid_argument, std::move(what)).from(Side::client));
}

Result<std::string> host_from(std::string_view text) {
  if (text.empty()) return wrong("the host is missing");
  if (text.size() > kMaxAuthority) return wrong("the host is longer than 255 bytes");
  if (!http::valid_authority(text)) return wrong("\"" + std::string(text) + "\" is no host");
  std::string lower(http::host_of_authority(text));
  for (char& c : lower) c = ascii_lower(c);
  return lower;
}

// "https://host/path?query" -> "host/path?query" in the form of append_purge_url(), of which a prefix is the beginning.
Result<std::string> url_from(std::string_view text, bool is_prefix) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (text.size() >= scheme.size() && http::iequal(text.substr(0, scheme.size()), scheme)) {
      text.remove_prefix(scheme.size());
      break;
    }
  }
  const size_t slash = std::min(text.find('/'), text.find('?'));
  TRY(const std::string host, host_from(text.substr(0, slash)));
  std::string target(slash == std::string_view::npos ? std::string_view() : text.substr(slash));
  if (!target.starts_with('/')) target.insert(0, 1, '/');
  Arena arena;
  std::string_view path;
  std::string_view query;
  if (http::normalise_target(target, arena, path, query) != http::H1Error::none) {
    return wrong("\"" + target + "\" is no path of a URL (escape what is no plain character, leave \"#\" away)");
  }
  std::string url;
  append_purge_url(url, host, path, is_prefix ? std::string_view() : query);
  if (is_prefix && target.find('?') != std::string::npos) {
    url += '?';
    url += query;
  }
  return url;
}

}  // namespace

std::string_view to_string(PurgeRule::Kind kind) noexcept {
  switch (kind) {
    case PurgeRule::Kind::key: return "key";
    case PurgeRule::Kind::prefix: return "prefix";
    case PurgeRule::Kind::host: return "host";
    case PurgeRule::Kind::tag: return "tag";
    case PurgeRule::Kind::all: return "all";
  }
  return "";
}

std::optional<PurgeRule::Kind> purge_kind_from(std::string_view text) noexcept {
  using Kind = PurgeRule::Kind;
  for (const Kind kind : {Kind::key, Kind::prefix, Kind::host, Kind::tag, Kind::all}) {
    if (text == to_string(kind)) return kind;
  }
  return std::nullopt;
}

Result<PurgeRule> make_purge_rule(PurgeRule::Kind kind, std::string_view text, bool soft) {
  if (text.size() > kMaxPurgeText / 2) return wrong("the text to purge by is longer than 8 KiB");
  PurgeRule rule{.kind = kind, .text = {}, .soft = soft};
  switch (kind) {
    case PurgeRule::Kind::key: {
      TRY(rule.text, url_from(text, false));
      break;
    }
    case PurgeRule::Kind::prefix: {
      while (text.ends_with('*')) text.remove_suffix(1);
      TRY(rule.text, url_from(text, true));
      break;
    }
    case PurgeRule::Kind::host: {
      TRY(rule.text, host_from(text));
      break;
    }
    case PurgeRule::Kind::tag: {
      if (text.empty() || text.size() > kMaxTag) return wrong("a tag has 1 to 1,024 bytes");
      const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7F && c != ','; });
      if (!plain || text.front() == ' ' || text.back() == ' ') {
        return wrong("a tag has no commas, no white space around it and no bytes beyond ASCII");
      }
      rule.text = text;
      break;
    }
    case PurgeRule::Kind::all:
      if (!text.empty()) return wrong("all is all: there is nothing to say with it");
      break;
  }
  return rule;
}

void append_purge_url(std::string& out, std::string_view authority, std::string_view path, std::string_view query) {
  out += http::host_of_authority(authority);
  out += path;
  if (query.empty()) return;
  out += '?';
  if (query.find('&') == std::string_view::npos) {
    out += query;
    return;
  }
  std::vector<std::string_view> parameters;
  while (true) {
    const size_t end = query.find('&');
    parameters.push_back(query.substr(0, end));
    if (end == std::string_view::npos) break;
    query.remove_prefix(end + 1);
  }
  std::sort(parameters.begin(), parameters.end());
  for (const std::string_view parameter : parameters) {
    out += parameter;
    out += '&';
  }
  out.pop_back();
}

std::string_view host_of_purge_url(std::string_view url) noexcept { return url.substr(0, url.find('/')); }

std::vector<uint64_t> tag_hashes(const http::Fields& answer) {
  std::vector<uint64_t> hashes;
  const auto add = [&](std::string_view tag) {
    if (!tag.empty() && tag.size() <= kMaxTag && hashes.size() < kMaxTags) hashes.push_back(tag_hash(tag));
  };
  for (const http::Field& field : answer) {
    std::string_view rest = field.value;
    if (http::iequal(field.name, "Surrogate-Key")) {
      while (!rest.empty()) {
        const size_t end = std::min(rest.find_first_of(" \t"), rest.size());
        add(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    } else if (http::iequal(field.name, "Cache-Tag")) {
      while (const auto element = http::next_element(rest)) add(*element);
    }
  }
  std::sort(hashes.begin(), hashes.end());
  hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
  return hashes;
}

uint64_t tag_hash(std::string_view tag) noexcept { return hash64(tag, kTagSeed); }

bool is_cache_only_field(const http::Field& field) noexcept {
  return std::any_of(std::begin(kCacheOnly), std::end(kCacheOnly),
                     [&](std::string_view name) { return http::iequal(field.name, name); });
}

}  // namespace trellis::cache
