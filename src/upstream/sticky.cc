#include "upstream/sticky.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

#include "http/fields.h"

namespace trellis::upstream {

using namespace std::chrono_literals;

namespace {

constexpr size_t kTokenBytes = 16;
constexpr size_t kLeastSecret = 16;

// RFC 6265 section 4.1.1: a token (RFC 9110 section 5.6.2).
bool is_cookie_name(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

}  // namespace

config::Fields<StickyConfig> StickyConfig::fields() {
  return {{"cookie", "its name", &StickyConfig::cookie},
          {"secret", "signs it: 16 characters or more, the same on all nodes", &StickyConfig::secret, config::kRequired,
           config::kSecret},
          {"max_age", "how long a browser keeps it; 0s: until it is closed", &StickyConfig::max_age,
           config::range(0s, 24h * 400)},
          {"path", "the paths that it is sent with", &StickyConfig::path},
          {"secure", "sent over https only", &StickyConfig::secure},
          {"same_site", "sent along from other sites (none, which needs secure), on the way from them (lax), or never",
           &StickyConfig::same_site,
           config::one_of<SameSite>({{"lax", SameSite::lax}, {"strict", SameSite::strict}, {"none", SameSite::none}})}};
}

void StickyConfig::check(config::Checker& at) const {
  if (!is_cookie_name(cookie)) at.problem("cookie", "no name of a cookie", "letters, digits and _");
  if (secret.size() < kLeastSecret)
    at.problem("secret", "shorter than 16 characters: it could be guessed", "openssl rand -hex 16");
  const bool good_path = path.starts_with('/') &&
                         std::ranges::none_of(path, [](unsigned char c) { return c <= ' ' || c >= 0x7f || c == ';'; });
  if (!good_path) at.problem("path", "no path", "a path such as /");
  if (same_site == SameSite::none && !secure)
    at.problem("same_site", "browsers refuse same_site: none without secure", "secure: true");
}

std::string sticky_token(const StickyConfig& config, std::string_view upstream, std::string_view host) {
  const std::string text = std::string(upstream) + '\n' + std::string(host);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  HMAC(EVP_sha256(), config.secret.data(), static_cast<int>(config.secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string token;
  for (size_t i = 0; i < kTokenBytes; ++i) {
    token += kDigits[digest[i] >> 4];
    token += kDigits[digest[i] & 15];
  }
  return token;
}

std::string_view sticky_cookie(const StickyConfig& config, std::string_view token, Arena& arena) {
  constexpr std::string_view kSites[] = {"; SameSite=Lax", "; SameSite=Strict", "; SameSite=None"};
  const std::string age = std::to_string(std::chrono::floor<std::chrono::seconds>(config.max_age).count());
  const bool lasts = config.max_age > Duration::zero();
  return arena.concat({config.cookie, "=", token, "; Path=", config.path, lasts ? "; Max-Age=" : "", lasts ? age : "",
                       "; HttpOnly", kSites[static_cast<size_t>(config.same_site)], config.secure ? "; Secure" : ""});
}

}  // namespace trellis::upstream
