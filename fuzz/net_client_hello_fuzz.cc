// A connection's first bytes where it is routed by them: the same answer in one piece as in pieces, within the limit,
// and a name that is none of the characters it must not have.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "net/client_hello.h"

using namespace trellis;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  net::ClientHello hello;
  const net::HelloState state = net::ClientHelloReader().read(bytes, hello);
  if (state == net::HelloState::incomplete && size >= net::kMaxClientHello) std::abort();
  net::ClientHello slow;
  net::ClientHelloReader reader;
  net::HelloState slow_state = net::HelloState::incomplete;
  const size_t step = size > 1000 ? 97 : 1;
  for (size_t i = 0; slow_state == net::HelloState::incomplete; i += step) {
    const size_t there = i < size ? i : size;
    slow_state = reader.read(bytes.substr(0, there), slow);
    if (there == size) break;
  }
  // Beyond the limit the two may see the end of different pieces.
  if (size < net::kMaxClientHello && slow_state != state) std::abort();
  if (state != net::HelloState::complete) return 0;
  if (size < net::kMaxClientHello && (slow.server_name != hello.server_name || slow.alpn != hello.alpn)) std::abort();
  if (hello.server_name.size() > 253 || hello.server_name.find_first_of(" /\\\"\n\r") != hello.server_name.npos) {
    std::abort();
  }
  return 0;
}
