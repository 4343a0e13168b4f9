// CRC32C (Castagnoli): the checksum of the event log's records and of PROXY headers. Pure; any thread. By the CPU's
// instruction where it has one (found out at run time), by a table elsewhere; both give the same values, which are
// written to disk.
#pragma once

#include <cstdint>
#include <string_view>

namespace trellis {
inline namespace base {

// Of `bytes`, continuing `before`: crc32c(b, crc32c(a)) is the checksum of a and b one behind the other.
uint32_t crc32c(std::string_view bytes, uint32_t before = 0) noexcept;

// The portable way; for machines without the instruction, and for the test that holds both together.
uint32_t crc32c_by_table(std::string_view bytes, uint32_t before = 0) noexcept;

}  // namespace base
}  // namespace trellis
