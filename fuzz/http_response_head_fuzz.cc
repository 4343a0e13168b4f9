// A response head, read as the answer to each kind of request: never a crash, and what is accepted can be written to a
// client and is then read with the same status and length.
#include <cstdint>
#include <cstdlib>
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

void check(std::string_view head, Method method) {
  const H1Limits limits;
  Arena arena;
  ResponseHead parsed(arena);
  ResponseFraming framing;
  if (parse_response_head(head, limits, method, parsed, framing) != H1Error::none) return;
  require(parsed.status >= 100 && parsed.status <= 599);
  require(!parsed.fields.has(FieldId::transfer_encoding));
  require(framing.body != BodyKind::until_close || !framing.keep_alive);
  if (method == Method::head || parsed.status < 200 || parsed.status == 204 || parsed.status == 304) {
    require(framing.body == BodyKind::none);
  } else {
    require(!parsed.fields.has(FieldId::content_length));
  }

  Response response(arena, parsed.status);
  for (const Field& field : parsed.fields) response.fields.add(field);
  remove_hop_by_hop(response.fields, parsed.status == 101);
  OutBuffer out(arena);
  ResponseHeadOptions options;
  options.framing = framing;
  options.method = method;
  options.date = "Sun, 06 Nov 1994 08:49:37 GMT";
  require(write_response_head(out, response, options) == H1Error::none);
  H1Limits wide;
  wide.max_head *= 2;
  wide.max_fields *= 2;
  HeadScanner scanner(HeadKind::response);
  const auto end = scanner.find_end(out.view(), wide);
  require(end && *end == out.size());
  ResponseHead again(arena);
  ResponseFraming framing_again;
  require(parse_response_head(out.view(), wide, method, again, framing_again) == H1Error::none);
  require(again.status == parsed.status && framing_again.body == framing.body);
  require(framing_again.length == framing.length && framing_again.switched == framing.switched);
  if (!framing.interim && !framing.switched) require(framing_again.keep_alive == framing.keep_alive);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  HeadScanner scanner(HeadKind::response);
  const auto end = scanner.find_end(bytes);
  const std::string_view head = end ? bytes.substr(0, *end) : bytes;
  for (const Method method : {Method::get, Method::head, Method::connect}) check(head, method);
  return 0;
}
