// One HTTP request of the command line to a node, blocking: for `trellis ctl` and `trellis links`. Not for loops.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace trellis::app {

struct CallAnswer {
  int status = 0;
  std::string body;
  std::vector<std::pair<std::string, std::string>> fields = {};
};
struct Call {
  std::string method = "GET";
  std::string url;           // http://host:port/path
  std::string connect = {};  // HOST:PORT to ask instead of the URL's
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> fields = {};  // further ones
  bool as_client = false;  // for a page: only the fields that are given, and a User-Agent
  std::string key;         // an API key, "" for none
};
// The URL of a path at a node, whose address may end in a slash, as browsers show it.
std::string url_at(std::string_view node, std::string_view path);
// unavailable when the node is not reached, with a hint.
Result<CallAnswer> call(const Call& request);

// A long one: the body is read from a descriptor (-1: none) while it is sent, and what comes of a good answer is handed
// on while it arrives; the answer has the body of another status only. Waits for ten minutes where nothing moves.
// `take` ends it by an error; one of Code::cancelled is the call's own.
struct Streams {
  int source = -1;
  std::function<void(uint64_t sent)> sent;  // bytes so far
  std::function<Result<void>(std::string_view piece)> take;
};
Result<CallAnswer> call_streaming(const Call& request, const Streams& streams);

}  // namespace trellis::app
