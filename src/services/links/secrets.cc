#include "services/links/secrets.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/rng.h"

namespace trellis::services::links {

Digest sha256(std::string_view bytes) noexcept {
  Digest digest{};
  unsigned size = 0;
  const int done = EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  TRELLIS_ASSERT(done == 1 && size == digest.size());
  return digest;
}

bool equal_secrets(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string random_hex(size_t bytes) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string raw(bytes, '\0');
  random_bytes(raw.data(), raw.size());
  std::string out;
  out.reserve(2 * bytes);
  for (const char c : raw) {
    const auto byte = static_cast<uint8_t>(c);
    out.push_back(kHex[byte >> 4]);
    out.push_back(kHex[byte & 15]);
  }
  OPENSSL_cleanse(raw.data(), raw.size());
  return out;
}

}  // namespace trellis::services::links
