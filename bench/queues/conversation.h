// What one connection of socket_load.h says: the next request, and what an answer means. One instance a connection, on
// the one thread of the load. Servers: Redis (RESP2) and NATS. Trusted servers of ours on the loopback; what does not
// look as it should is a failure, never read beyond.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace trellis::bench {

struct Reply {
  enum class Kind : uint8_t {
    partial,   // more bytes are needed
    ignored,   // not an answer to a request
    answered,  // the request was done
    failed,
  };
  Kind kind = Kind::partial;
  size_t bytes = 0;     // of the whole reply
  uint64_t events = 0;  // that were done with it
};

class Conversation {
 public:
  virtual ~Conversation() = default;
  // Appends the next request, and before the first one whatever the server wants to hear.
  virtual void say(std::string& out) = 0;
  virtual Reply hear(std::string_view bytes) = 0;
};

// XADD of one entry.
std::unique_ptr<Conversation> redis_producer(std::string stream, std::string payload);
// XREADGROUP of at most `most` entries, then XACK and XDEL of them in one request; the events are those of the XACK.
std::unique_ptr<Conversation> redis_consumer(std::string stream, std::string group, std::string name, size_t most);
// GET of random ones of the keys "key0" ... .
std::unique_ptr<Conversation> redis_reader(size_t keys, uint64_t seed);
// A publication into a JetStream stream, whose acknowledgement comes to a subject of its own.
std::unique_ptr<Conversation> nats_producer(std::string subject, size_t number, std::string payload);

}  // namespace trellis::bench
