#include "proxy/cache/mac.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <array>

#include "base/encoding.h"
#include "base/hash.h"

namespace trellis::proxy {

std::string sign(std::string_view key, std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) {
    text += part;
    text += '\n';
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), bytes.data(), &size);
  return to_hex({reinterpret_cast<const char*>(bytes.data()), size});
}

bool is_signed(std::string_view signature, std::string_view key, std::initializer_list<std::string_view> parts) {
  return constant_time_equal(signature, sign(key, parts));
}

std::string digest(std::string_view bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> sum{};
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), sum.data());
  return to_hex({reinterpret_cast<const char*>(sum.data()), sum.size()});
}

}  // namespace trellis::proxy
