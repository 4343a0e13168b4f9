#include "http/preconditions.h"

#include "http/date.h"

namespace trellis::http {

namespace {

// §13.1.1 and §13.1.2; the lists are those of the fields.
bool matches(std::string_view list, std::string_view etag) noexcept {
  return list == "*" || etag_listed(list, etag, false);
}
bool matches_none(std::string_view list, std::string_view etag) noexcept {
  return list != "*" && !etag_listed(list, etag, true);
}

bool is_weak(std::string_view etag) noexcept { return etag.starts_with("W/"); }
std::string_view opaque(std::string_view etag) noexcept { return is_weak(etag) ? etag.substr(2) : etag; }

std::optional<int64_t> date_of(const Request& request, FieldId id, int64_t now) {
  const auto value = request.fields.find(id);
  // Several dates contradict each other: as if there were none.
  if (!value || request.fields.count(id) != 1) return std::nullopt;
  return parse_http_date(*value, now);
}

}  // namespace

bool etag_listed(std::string_view list, std::string_view etag, bool weak_comparison) noexcept {
  if (etag.empty() || (!weak_comparison && is_weak(etag))) return false;
  while (const auto element = next_element(list)) {
    if (weak_comparison ? opaque(*element) == opaque(etag) : *element == etag) return true;
  }
  return false;
}

Verdict evaluate(const Request& request, const Validators& validators, int64_t now) {
  const Fields& fields = request.fields;
  if (fields.has(FieldId::if_match)) {
    if (!matches(fields.joined(FieldId::if_match), validators.etag)) return Verdict::failed;
  } else if (validators.last_modified) {
    const auto date = date_of(request, FieldId::if_unmodified_since, now);
    if (date && *validators.last_modified > *date) return Verdict::failed;
  }
  const bool reads = request.method == Method::get || request.method == Method::head;
  if (fields.has(FieldId::if_none_match)) {
    if (!matches_none(fields.joined(FieldId::if_none_match), validators.etag))
      return reads ? Verdict::not_modified : Verdict::failed;
  } else if (reads && validators.last_modified) {
    const auto date = date_of(request, FieldId::if_modified_since, now);
    if (date && *validators.last_modified <= *date) return Verdict::not_modified;
  }
  return Verdict::proceed;
}

EtagConditions EtagConditions::of(const Request& request) {
  const auto text = [&request](FieldId id) -> std::optional<std::string> {
    if (!request.fields.has(id)) return std::nullopt;
    return std::string(request.fields.joined(id));
  };
  return {text(FieldId::if_match), text(FieldId::if_none_match)};
}

bool EtagConditions::hold(std::string_view etag) const noexcept {
  return (!match || matches(*match, etag)) && (!none_match || matches_none(*none_match, etag));
}

bool if_range_allows(const Request& request, const Validators& validators, int64_t now) {
  const auto value = request.fields.find(FieldId::if_range);
  if (!value) return true;
  if (request.fields.count(FieldId::if_range) != 1) return false;
  if (value->starts_with('"') || is_weak(*value))
    return !is_weak(*value) && !validators.etag.empty() && *value == validators.etag;
  const auto date = parse_http_date(*value, now);
  return date && validators.last_modified && *date == *validators.last_modified && *validators.last_modified + 1 < now;
}

}  // namespace trellis::http
