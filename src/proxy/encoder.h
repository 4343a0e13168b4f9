// Content codings as streams: bytes in, encoded bytes out, flushed when asked. Their contexts are expensive to make
// (hundreds of kilobytes each), so each thread keeps some and uses them again; the number of open streams a thread has
// a limit, beyond which answers go out as they are. Each belongs to the thread that made it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/accept_encoding.h"

namespace trellis::proxy {

class Encoder {
 public:
  enum class Op : uint8_t { process, flush, finish };
  static constexpr size_t kMaxOpen = 256;  // a thread

  virtual ~Encoder() = default;
  // Appends what comes out. False: the library failed, the stream is of no more use. After finish nothing follows.
  virtual bool run(std::string_view in, Op op, std::string& out) = 0;
};

// `size`: of everything to come, if known; saves memory for small bodies. Null when this thread has kMaxOpen streams,
// or no memory.
std::unique_ptr<Encoder> make_encoder(Encoding encoding, int level, std::optional<uint64_t> size);

}  // namespace trellis::proxy
