#include "proxy/when.h"

#include <algorithm>

#include "http/message.h"
#include "proxy/field_rules.h"
#include "upstream/hash_key.h"

namespace trellis::proxy {

namespace {

std::string_view trimmed(std::string_view text) noexcept {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

}  // namespace

config::Fields<WhenConfig> WhenConfig::fields() {
  return {{"header", "a field and its value, `x-canary: 1`; without a value: the field is there", &WhenConfig::header},
          {"cookie", "a cookie and its value, `canary=1`; without a value: the cookie is there", &WhenConfig::cookie}};
}

std::string_view WhenConfig::header_name() const noexcept {
  return trimmed(std::string_view(header).substr(0, header.find(':')));
}
std::string_view WhenConfig::cookie_name() const noexcept {
  return trimmed(std::string_view(cookie).substr(0, cookie.find('=')));
}

void WhenConfig::check(config::Checker& at) const {
  if (header.empty() && cookie.empty())
    at.problem("", "says nothing", "header: \"x-canary: 1\" or cookie: \"canary=1\"; with both, either is enough");
  const auto check_one = [&at](std::string_view key, const std::string& text, char between) {
    if (text.empty()) return;
    const size_t end = text.find(between);
    if (!is_field_name(trimmed(std::string_view(text).substr(0, end)))) at.problem(key, "has no valid name");
    if (!is_field_value(text)) at.problem(key, "control characters are not allowed");
  };
  check_one("header", header, ':');
  check_one("cookie", cookie, '=');
}

std::optional<When::Wanted> When::wanted(std::string_view text, char between) {
  if (text.empty()) return std::nullopt;
  const size_t end = text.find(between);
  Wanted out{std::string(trimmed(text.substr(0, end))), std::nullopt};
  if (end != std::string_view::npos) out.value = trimmed(text.substr(end + 1));
  return out;
}

When::When(const WhenConfig& config) : header_(wanted(config.header, ':')), cookie_(wanted(config.cookie, '=')) {}

bool When::holds(const http::Request& request) const noexcept {
  if (header_) {
    const bool has = std::any_of(request.fields.begin(), request.fields.end(), [this](const http::Field& field) {
      return http::iequal(field.name, header_->name) && (!header_->value || field.value == *header_->value);
    });
    if (has) return true;
  }
  if (!cookie_) return false;
  const auto value = upstream::cookie_of(request, cookie_->name);
  return value && (!cookie_->value || *value == *cookie_->value);
}

}  // namespace trellis::proxy
