#include "cache/rules/conditions.h"

#include "cache/rules/update.h"
#include "http/date.h"

namespace trellis::cache {

namespace {

using http::FieldId;
using http::Method;

}  // namespace

bool asks_the_origin(const http::Fields& request) noexcept {
  return request.has(FieldId::if_match) || request.has(FieldId::if_unmodified_since);
}

http::Validators validators_of(const http::Fields& stored, int64_t answered, int64_t now) {
  http::Validators out;
  out.etag = stored.value(FieldId::etag);
  for (const FieldId id : {FieldId::last_modified, FieldId::date}) {
    if (!out.last_modified) out.last_modified = http::parse_http_date(stored.value(id), now);
  }
  if (!out.last_modified) out.last_modified = answered;
  return out;
}

bool is_not_modified(const http::Request& request, int status, const http::Fields& stored, int64_t answered,
                     int64_t now) {
  if (status != 200 || (request.method != Method::get && request.method != Method::head)) return false;
  const http::Validators validators = validators_of(stored, answered, now);
  return http::evaluate(request, validators, now) == http::Verdict::not_modified;
}

http::RangePlan stored_ranges(const http::Request& request, int status, const http::Fields& stored, int64_t answered,
                              int64_t now, uint64_t size) {
  const auto range = request.fields.find(FieldId::range);
  if (!range || request.method != Method::get || status != 200 || request.fields.count(FieldId::range) != 1) return {};
  // Date, and when it came, are no strong validators; nor is what changed in the second of its Date, since it may have
  // changed in that second once more (RFC 9110 §8.8.2.2).
  http::Validators validators = validators_of(stored, answered, now);
  const int64_t date = http::parse_http_date(stored.value(FieldId::date), now).value_or(answered);
  if (!stored.has(FieldId::last_modified) || (validators.last_modified && *validators.last_modified >= date))
    validators.last_modified.reset();
  if (!http::if_range_allows(request, validators, now)) return {};
  return http::plan_ranges(*range, size);
}

bool is_field_of_304(const http::Field& field, bool has_etag) noexcept {
  switch (field.id) {
    case FieldId::accept_ranges:
    case FieldId::content_encoding:
    case FieldId::content_language:
    case FieldId::content_length:
    case FieldId::content_range:
    case FieldId::content_type: return false;
    case FieldId::last_modified: return !has_etag;
    default: return !is_digest_field(field);
  }
}

void set_validation(http::Fields& request, const http::Fields& stored) {
  remove_conditions(request, true);
  if (const auto etag = stored.find(FieldId::etag); etag && !etag->empty()) request.add(FieldId::if_none_match, *etag);
  if (const auto modified = stored.find(FieldId::last_modified)) request.add(FieldId::if_modified_since, *modified);
}

void remove_conditions(http::Fields& request, bool ranges) {
  request.remove_if([ranges](const http::Field& field) {
    switch (field.id) {
      case FieldId::if_match:
      case FieldId::if_none_match:
      case FieldId::if_modified_since:
      case FieldId::if_unmodified_since: return true;
      case FieldId::if_range:
      case FieldId::range: return ranges;
      default: return false;
    }
  });
}

}  // namespace trellis::cache
