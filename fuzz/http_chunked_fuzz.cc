// A chunked body: whole, byte by byte and cut once at every point it gives the same data, the same end or the same
// refusal.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/arena.h"
#include "http/h1_chunked.h"
#include "http/h1_writer.h"

namespace {

using namespace trellis;
using namespace trellis::http;
using Step = ChunkedDecoder::Step;

void require(bool condition) {
  if (!condition) std::abort();
}

struct Outcome {
  Step last = Step::need_more;
  H1Error error = H1Error::none;
  std::string data;
  std::string trailers;
  size_t used = 0;
  bool operator==(const Outcome&) const = default;
};

// Pieces of `step` bytes after a first one of `first`.
Outcome decode(std::string_view bytes, size_t first, size_t step) {
  Arena arena;
  ChunkedDecoder decoder(arena);
  Outcome out;
  size_t from = 0;
  size_t size = first;
  while (from < bytes.size() && out.last != Step::end && out.last != Step::error) {
    const std::string piece(bytes.substr(from, size));  // a copy: reading behind it is seen
    std::string_view rest = piece;
    do {
      size_t consumed = 0;
      out.last = decoder.next(rest, consumed);
      require(consumed <= rest.size());
      if (out.last == Step::data) {
        require(!decoder.data().empty());
        out.data += decoder.data();
      }
      if (out.last == Step::need_more) require(consumed == rest.size());
      rest.remove_prefix(consumed);
      out.used += consumed;
    } while (out.last == Step::data);
    from += piece.size();
    size = step;
  }
  out.error = decoder.error();
  require((out.last == Step::error) == (out.error != H1Error::none));
  if (out.last == Step::error) out.used = 0;
  if (const Fields* trailers = decoder.trailers()) {
    for (const Field& field : *trailers) {
      require(allowed_in_trailer(field) && valid_token(field.name) && valid_field_value(field.value));
      out.trailers.append(field.name).append("=").append(field.value).append("\n");
    }
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Outcome whole = decode(bytes, size, size);
  require(decode(bytes, 1, 1) == whole);
  const size_t stride = size / 64 + 1;
  for (size_t cut = 1; cut < size; cut += stride) require(decode(bytes, cut, size) == whole);
  require(whole.data.size() <= size);
  return 0;
}
