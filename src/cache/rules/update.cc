#include "cache/rules/update.h"

#include <algorithm>
#include <string_view>

#include "http/preconditions.h"

namespace trellis::cache {

namespace {

using http::FieldId;

bool is_strong(std::string_view etag) noexcept { return !etag.empty() && !etag.starts_with("W/"); }
std::string_view opaque(std::string_view etag) noexcept { return etag.starts_with("W/") ? etag.substr(2) : etag; }

bool same_name(const http::Field& a, const http::Field& b) noexcept {
  return a.id == b.id && (a.id != FieldId::unknown || http::iequal(a.name, b.name));
}

// Two validators contradict each other only where both sides have them.
bool contradicts(const http::Fields& stored, const http::Fields& newer, FieldId id) noexcept {
  const auto ours = stored.find(id);
  const auto theirs = newer.find(id);
  return ours && theirs && (id == FieldId::etag ? opaque(*ours) != opaque(*theirs) : *ours != *theirs);
}

}  // namespace

bool confirms(const http::Fields& stored, const http::Fields& of_304) noexcept {
  const std::string_view etag = of_304.value(FieldId::etag);
  const std::string_view ours = stored.value(FieldId::etag);
  if (is_strong(etag)) return ours == etag;
  return etag.empty() || ours.empty() || opaque(ours) == opaque(etag);
}

bool is_digest_field(const http::Field& field) noexcept {
  if (field.id != FieldId::unknown) return false;
  for (const std::string_view name : {"Content-MD5", "Content-Digest", "Repr-Digest", "Digest"}) {
    if (http::iequal(field.name, name)) return true;
  }
  return false;
}

bool is_updated_field(const http::Field& field) noexcept {
  switch (field.id) {
    case FieldId::content_length:
    case FieldId::content_encoding:
    case FieldId::content_range:
    case FieldId::transfer_encoding:
    case FieldId::etag: return false;
    default: return !is_digest_field(field);
  }
}

void freshen(http::Fields& stored, const http::Fields& newer) {
  const auto replaced = [&newer](const http::Field& old) {
    return is_updated_field(old) &&
           std::any_of(newer.begin(), newer.end(), [&old](const http::Field& field) { return same_name(field, old); });
  };
  stored.remove_if(replaced);
  for (const http::Field& field : newer) {
    if (is_updated_field(field)) stored.add(field);
  }
}

HeadEffect effect_of_head(int stored_status, const http::Fields& stored, std::optional<uint64_t> stored_length,
                          const http::Response& head) noexcept {
  if (head.status != 200 || stored_status != 200) return HeadEffect::none;
  if (contradicts(stored, head.fields, FieldId::etag) || contradicts(stored, head.fields, FieldId::last_modified))
    return HeadEffect::invalidate;
  const auto length = head.fields.find(FieldId::content_length);
  if (length && stored_length && *length != std::to_string(*stored_length)) return HeadEffect::invalidate;
  return HeadEffect::freshen;
}

}  // namespace trellis::cache
