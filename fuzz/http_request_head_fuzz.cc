// A request head: scanned whole and byte by byte it ends at the same place or is refused both times, and what is
// accepted keeps the promises that routing and forwarding build on; written again, it is read as the same request.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/arena.h"
#include "http/h1_parser.h"
#include "http/h1_writer.h"

namespace {

using namespace trellis;
using namespace trellis::http;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_accepted(const Request& request, const RequestFraming& framing) {
  require(request.method == Method::connect || request.path == "*" || request.path.starts_with('/'));
  require(request.path.find_first_of(" \r\n?#\\") == std::string_view::npos);
  require(("/" + std::string(request.path) + "/").find("/../") == std::string::npos);
  require(request.authority.empty() || valid_authority(request.authority));
  require(request.fields.count(FieldId::host) <= 1);
  require(!request.fields.has(FieldId::content_length) && !request.fields.has(FieldId::transfer_encoding));
  require(framing.body != BodyKind::until_close);
  require(framing.body == BodyKind::length || framing.length == 0);
  for (const Field& field : request.fields) {
    require(valid_token(field.name) && valid_field_value(field.value) && field.id == field_id(field.name));
  }
}

void check_round_trip(const Request& request, const RequestFraming& framing) {
  if (request.authority.empty()) return;
  Arena arena;
  OutBuffer out(arena);
  RequestHeadOptions options;
  options.body = framing.body;
  options.length = framing.length;
  options.keep_alive = framing.keep_alive;
  require(write_request_head(out, request, options) == H1Error::none);
  H1Limits limits;
  limits.max_head *= 2;
  limits.max_start_line *= 2;
  limits.max_fields *= 2;
  HeadScanner scanner;
  const auto end = scanner.find_end(out.view(), limits);
  require(end && *end == out.size());
  Request again(arena);
  RequestFraming framing_again;
  require(parse_request_head(out.view(), limits, again, framing_again) == H1Error::none);
  require(again.path == request.path && again.query == request.query && again.authority == request.authority);
  require(again.method_text == request.method_text);
  const bool said_zero = framing.body == BodyKind::none && framing_again.body == BodyKind::length;
  require(said_zero || framing_again.body == framing.body);
  require(framing_again.length == framing.length && framing_again.keep_alive == framing.keep_alive);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const H1Limits limits;
  HeadScanner whole;
  const auto end = whole.find_end(bytes, limits);
  HeadScanner dripping;
  std::optional<size_t> dripped;
  for (size_t i = 1; i <= size && !dripped && dripping.error() == H1Error::none; ++i) {
    const std::string copy(bytes.substr(0, i));  // so that a read behind the end is seen
    dripped = dripping.find_end(copy, limits);
  }
  // Byte by byte a fault of the start line is seen before the end is; in one piece the parser sees it.
  if (dripped) require(dripped == end);

  Arena arena;
  Request request(arena);
  RequestFraming framing;
  const std::string_view head = end ? bytes.substr(0, *end) : bytes;
  const H1Error error = parse_request_head(head, limits, request, framing);
  if (!end) {
    require(error != H1Error::none);
    return 0;
  }
  if (error == H1Error::none) {
    require(dripped == end);
    check_accepted(request, framing);
    check_round_trip(request, framing);
  }
  require(error == H1Error::none || status_for(error) >= 400);
  return 0;
}
