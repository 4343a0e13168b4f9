#include "load/request_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/rng.h"

namespace trellis::load {

namespace {

// A whole binary message as a client sends it, RFC 6455 section 5.2.
std::string masked_frame(size_t size) {
  constexpr size_t kShort = 125;
  constexpr char kMask[] = {'m', 'a', 's', 'k'};
  std::string frame("\x82");
  if (size <= kShort) {
    frame += static_cast<char>(0x80 | size);
  } else {
    frame += '\xfe';
    frame += static_cast<char>(size >> 8);
    frame += static_cast<char>(size & 0xff);
  }
  frame.append(kMask, sizeof kMask);
  for (size_t i = 0; i < size; ++i) frame += static_cast<char>('x' ^ kMask[i % sizeof kMask]);
  return frame;
}

}  // namespace

RequestSet::RequestSet(const Options& options) {
  std::string tail = fmt::format(" HTTP/1.1\r\nHost: {}:{}\r\n", options.host, options.port);
  for (const std::string& header : options.headers) tail += header + "\r\n";
  if (options.reconnect) tail += "Connection: close\r\n";
  if (options.echo > 0) {
    tail +=
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    message_ = masked_frame(options.echo);
  }
  if (!options.body.empty() || options.method == "POST" || options.method == "PUT" || options.method == "PATCH") {
    tail += fmt::format("Content-Length: {}\r\n", options.body.size());
  }
  tail += "\r\n";
  tail += options.body;
  ends_.reserve(options.paths.size() + 1);
  for (const std::string& path : options.paths) {
    bytes_ += options.method;
    bytes_ += ' ';
    bytes_ += path;
    bytes_ += tail;
    ends_.push_back(bytes_.size());
  }
}

Picker::Picker(const Options& options, size_t paths, unsigned worker)
    : paths_(paths), at_(paths * worker / options.threads) {
  if (!options.zipf || paths == 1) return;
  std::vector<double> cumulative(paths);
  double sum = 0;
  for (size_t i = 0; i < paths; ++i) cumulative[i] = sum += std::pow(static_cast<double>(i + 1), -*options.zipf);
  Rng rng(0x7265'6c6c'6973 + worker);
  constexpr size_t kDrawn = 1 << 18;
  drawn_.reserve(kDrawn);
  for (size_t i = 0; i < kDrawn; ++i) {
    double point = rng.unit() * sum;
    auto found = std::ranges::upper_bound(cumulative, point);
    drawn_.push_back(static_cast<uint32_t>(std::min<size_t>(std::distance(cumulative.begin(), found), paths - 1)));
  }
  at_ = 0;
}

}  // namespace trellis::load
