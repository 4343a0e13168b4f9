// What a visitor brings as a password is none, or short.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "services/links/access/passwords.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::services::links;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto& password : {form_password(text), basic_password(text)})
    TRELLIS_ASSERT(!password || (!password->empty() && password->size() <= kMaxPassword));
  return 0;
}
