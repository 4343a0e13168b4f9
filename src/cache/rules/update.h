// What a 304, or the answer to a HEAD, does to a stored answer (RFC 9111 §3.2, §4.3.4, §4.3.5). Pure; any core.
#pragma once

#include <cstdint>
#include <optional>

#include "http/message.h"

namespace trellis::cache {

// Does a 304 speak about this stored answer (§4.3.4)? Not if it names a strong ETag and the stored one is another, nor
// a weak one that does not correspond to the stored one; then the stored answer must not be used or updated, and the
// request is sent again without conditions.
bool confirms(const http::Fields& stored, const http::Fields& of_304) noexcept;

// Content-MD5, Digest, Content-Digest, Repr-Digest: what is reckoned from the bytes.
bool is_digest_field(const http::Field& field) noexcept;

// May a 304 or HEAD replace the stored field (§3.2)? All but what tells how the stored bytes are to be read
// (Content-Length, Content-Encoding, Content-Range, digests, Transfer-Encoding), ETag (it is the same or stays), and
// what is never stored.
bool is_updated_field(const http::Field& field) noexcept;

// Replaces in `stored` every field that `newer` has and that may be replaced, all lines of it. Values are views into
// `newer`'s memory: copy them where that lives shorter. Age and what is_stored_field() refuses is the caller's to drop.
void freshen(http::Fields& stored, const http::Fields& newer);

enum class HeadEffect : uint8_t {
  none,        // it says nothing about the stored answer (another status)
  freshen,     // the same representation: the stored fields are updated
  invalidate,  // another one by now: the stored answer is stale (§4.3.5)
};
// `stored_length`: bytes of the stored body, nullopt while it is not whole.
HeadEffect effect_of_head(int stored_status, const http::Fields& stored, std::optional<uint64_t> stored_length,
                          const http::Response& head) noexcept;

}  // namespace trellis::cache
