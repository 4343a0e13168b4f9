// What the tests of the HTTP/1.1 codec share: a head read as the server and the client read it, scanner first.
#pragma once

#include <string>
#include <string_view>

#include "base/arena.h"
#include "http/h1_parser.h"

namespace trellis::http {

struct ReadRequest {
  explicit ReadRequest(std::string bytes, H1Limits limits = {}) : text(std::move(bytes)), request(arena) {
    HeadScanner scanner;
    const auto end = scanner.find_end(text, limits);
    error = scanner.error();
    complete = end.has_value();
    if (end) {
      size = *end;
      error = parse_request_head(std::string_view(text).substr(0, size), limits, request, framing);
    }
  }
  // Refused now, or never answered: either way nothing is passed on.
  bool accepted() const { return complete && error == H1Error::none; }

  std::string text;
  Arena arena;
  Request request;
  RequestFraming framing;
  H1Error error = H1Error::none;
  bool complete = false;
  size_t size = 0;
};

struct ReadResponse {
  explicit ReadResponse(std::string bytes, Method method = Method::get, H1Limits limits = {})
      : text(std::move(bytes)), response(arena) {
    HeadScanner scanner(HeadKind::response);
    const auto end = scanner.find_end(text, limits);
    error = scanner.error();
    complete = end.has_value();
    if (end) error = parse_response_head(std::string_view(text).substr(0, *end), limits, method, response, framing);
  }
  bool accepted() const { return complete && error == H1Error::none; }

  std::string text;
  Arena arena;
  ResponseHead response;
  ResponseFraming framing;
  H1Error error = H1Error::none;
  bool complete = false;
};

// Printable form of bytes, for messages of failed tests.
inline std::string shown(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c == 0x7f) {
      constexpr char kDigits[] = "0123456789abcdef";
      out += "\\x";
      out += kDigits[static_cast<unsigned char>(c) >> 4];
      out += kDigits[c & 15];
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace trellis::http
