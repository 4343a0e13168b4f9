#include "proxy/cache/purge_request.h"

#include <charconv>
#include <cstdlib>

#include "base/ascii.h"
#include "http/fields.h"
#include "proxy/cache/mac.h"

namespace trellis::proxy {
namespace {

using cache::PurgeRule;

constexpr std::string_view kMethod = "PURGE";
constexpr std::string_view kWhat = "X-Trellis-Purge";
constexpr std::string_view kTime = "X-Trellis-Purge-Time";
constexpr std::string_view kSignature = "X-Trellis-Purge-Signature";
constexpr std::string_view kSoft = "soft";
constexpr std::string_view kTag = "tag=";

std::string lower(std::string_view text) {
  std::string copy(text);
  for (char& c : copy) c = ascii_lower(c);
  return copy;
}

std::string_view trimmed(std::string_view text) noexcept {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

bool is_timely(std::string_view time, WallTime now) noexcept {
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(time.data(), time.data() + time.size(), seconds);
  if (time.empty() || error != std::errc() || end != time.data() + time.size()) return false;
  const int64_t valid = std::chrono::duration_cast<std::chrono::seconds>(kPurgeValidity).count();
  const int64_t here = unix_seconds(now);
  return seconds >= here - valid && seconds <= here + valid;
}

std::unexpected<Error> denied(std::string what) {
  return fail(Error(Code::permission_denied, std::move(what)).from(Side::client));
}

}  // namespace

Result<PurgeRule> purge_rule_of(const http::Request& request, std::string_view key, WallTime now) {
  const std::string_view what = request.fields.find(kWhat).value_or("key");
  const auto time = request.fields.find(kTime);
  const auto signature = request.fields.find(kSignature);
  if (!time || !signature) return denied("a purge is signed: X-Trellis-Purge-Time and X-Trellis-Purge-Signature");
  if (!is_signed(*signature, key, {kMethod, request.authority, request.target, what, *time})) {
    return denied("the signature is not that of this request by the route's key");
  }
  if (!is_timely(*time, now)) return denied("X-Trellis-Purge-Time is more than five minutes off");

  std::string_view words = what;
  const size_t semicolon = words.find(';');
  bool soft = false;
  if (semicolon != std::string_view::npos) {
    if (trimmed(words.substr(semicolon + 1)) != kSoft) {
      return fail(Error(Code::invalid_argument, "X-Trellis-Purge: what stands behind \";\" is soft or nothing")
                      .from(Side::client));
    }
    soft = true;
    words = words.substr(0, semicolon);
  }
  words = trimmed(words);
  if (words.starts_with(kTag)) {
    return cache::make_purge_rule(PurgeRule::Kind::tag, words.substr(kTag.size()), soft);
  }
  const auto kind = cache::purge_kind_from(words);
  if (!kind || *kind == PurgeRule::Kind::tag) {
    return fail(
        Error(Code::invalid_argument, "X-Trellis-Purge is key, prefix, host, all or tag=TAG").from(Side::client));
  }
  switch (*kind) {
    case PurgeRule::Kind::all: return cache::make_purge_rule(*kind, "", soft);
    case PurgeRule::Kind::host: return cache::make_purge_rule(*kind, request.authority, soft);
    default: break;
  }
  std::string url(request.authority);
  url += request.path;
  if (!request.query.empty()) {
    url += '?';
    url += request.query;
  }
  return cache::make_purge_rule(*kind, url, soft);
}

PurgeFields sign_purge(std::string_view key, std::string_view host, std::string_view target, std::string_view what,
                       WallTime now) {
  PurgeFields fields{.what = std::string(what), .time = std::to_string(unix_seconds(now)), .signature = {}};
  fields.signature = sign(key, {kMethod, lower(host), target, what, fields.time});
  return fields;
}

}  // namespace trellis::proxy
