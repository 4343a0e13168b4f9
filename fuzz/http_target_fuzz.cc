// A request target: what is accepted is normal (normalising it again changes nothing), stays below the root and holds
// nothing that a request line could not; components survive encoding and decoding.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/arena.h"
#include "http/h1_parser.h"
#include "http/target.h"

namespace {

using namespace trellis;
using namespace trellis::http;

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string raw(reinterpret_cast<const char*>(data), size);
  Arena arena;
  std::string_view path;
  std::string_view query;
  if (normalise_target(raw, arena, path, query) == H1Error::none) {
    require(path.starts_with('/'));
    require(path.size() + query.size() <= raw.size());
    const std::string closed = std::string(path) + "/";
    require(closed.find("/../") == std::string::npos && closed.find("/./") == std::string::npos);
    for (const char c : path) require(c > 0x20 && c < 0x7f && c != '?' && c != '#' && c != '\\');
    for (const char c : query) require(c > 0x20 && c < 0x7f && c != '#');
    std::string_view path_again;
    std::string_view query_again;
    const std::string normal(path);
    require(normalise_target(normal, arena, path_again, query_again) == H1Error::none);
    require(path_again == normal && query_again.empty());

    std::string_view rest = query;
    while (const auto parameter = next_parameter(rest)) {
      (void)decode_component(parameter->key, arena, true);
      (void)decode_component(parameter->value, arena, true);
    }
  }
  const auto decoded = decode_component(encode_component(raw, arena), arena);
  require(decoded && *decoded == raw);
  (void)decode_component(raw, arena, true);
  (void)valid_authority(raw);
  return 0;
}
