// A client's conditional or range request against a stored answer (RFC 9111 §4.3.2; RFC 9110 §13, §14), and the
// conditions this cache sends to validate one (§4.3.1). The rules themselves are http/preconditions.h and
// http/ranges.h. Pure; any core.
#pragma once

#include <cstdint>
#include <string_view>

#include "http/message.h"
#include "http/preconditions.h"
#include "http/ranges.h"

namespace trellis::cache {

// If-Match and If-Unmodified-Since are the origin's to evaluate: such a request is passed on, and neither answered from
// the store nor stored.
bool asks_the_origin(const http::Fields& request) noexcept;

// What an answer from the store can be compared by: ETag, and Last-Modified, else Date, else when it came (`answered`,
// seconds since 1970).
http::Validators validators_of(const http::Fields& stored, int64_t answered, int64_t now);

// May the client be told 304? By If-None-Match, else If-Modified-Since; only for GET and HEAD, and only of an answer
// that would be 200 (RFC 9110 §13.2.1).
bool is_not_modified(const http::Request& request, int status, const http::Fields& stored, int64_t answered,
                     int64_t now);

// The ranges to send of a stored 200 with `size` bytes: `whole` without Range, with If-Range that does not match, for
// methods other than GET and for other statuses.
http::RangePlan stored_ranges(const http::Request& request, int status, const http::Fields& stored, int64_t answered,
                              int64_t now, uint64_t size);

// Does a 304 carry this field of the stored answer (RFC 9110 §15.4.5)? All but what describes bytes that are not sent,
// with Last-Modified only where there is no ETag: a field that another 304 has changed here since the client, or a
// cache in front, had the bytes would stay as it was there for as long as they have them. Accept-Ranges is of the bytes
// as they are stored; the client's may be encoded.
bool is_field_of_304(const http::Field& field, bool has_etag) noexcept;

// Takes the client's conditions off and adds those of the stored answer: If-None-Match and If-Modified-Since. With
// neither in the store it is a request for a new answer. Values are views into `stored`.
void set_validation(http::Fields& request, const http::Fields& stored);
// Takes the client's conditions and ranges off: the whole answer is asked for.
void remove_conditions(http::Fields& request, bool ranges);

}  // namespace trellis::cache
