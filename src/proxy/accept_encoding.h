// Which content coding a client gets (RFC 9110 §12.5.3), for answers compressed on the way and for files that lie
// compressed on the disk. Pure; any core.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace trellis::proxy {

enum class Encoding : uint8_t { identity, gzip, br, zstd };
std::string_view to_string(Encoding encoding) noexcept;  // the token of Content-Encoding

// Of `available`, best first, the one with the highest weight; at equal weights the earlier one. A weight given to
// identity wins against a smaller one of ours; without one, any coding the client takes beats identity. When nothing
// fits it is identity, even against `identity;q=0`: an answer helps more than a refusal. A null view (no such field)
// means identity.
Encoding choose_encoding(std::string_view accept_encoding, std::span<const Encoding> available) noexcept;

}  // namespace trellis::proxy
