// The HTTP/1.1 client side: one exchange over one connection to an upstream. It sends the request (its body streams
// while the answer may already come), reads the answer's head strictly (what is malformed is data_loss of the upstream,
// so a 502) and hands out the body as a stream or, when it came with the head, as bytes. A connection that was read to
// its clean end goes home to its pool. Everything on the core that made the connection.
#pragma once

#include <cstdint>
#include <memory>

#include "base/time.h"
#include "http/h1_writer.h"
#include "http/handler.h"
#include "runtime/socket.h"

namespace trellis::http {

struct ClientTimeouts {
  Duration first_byte = std::chrono::seconds(10);  // from the request's end to the answer's head
  Duration idle = std::chrono::seconds(60);        // between two pieces of a body, either way
  Duration upgraded = std::chrono::hours(1);       // of an upgraded connection, with nothing either way; 0: no limit
};

class ClientConnection;

// Takes back connections that can be used again.
class ConnectionHome {
 public:
  virtual void give_back(std::unique_ptr<ClientConnection> connection) noexcept = 0;
  virtual void closed() noexcept = 0;  // one that it once handed out, wherever it was

 protected:
  ~ConnectionHome() = default;
};

class ClientConnection final : public GoneWatcher {
 public:
  ClientConnection(Socket stream, std::shared_ptr<ConnectionHome> pool) noexcept;
  ~ClientConnection();

  Socket socket;
  std::shared_ptr<ConnectionHome> home;
  uint64_t exchanges = 0;  // that were finished on it
  Time made{};
  Time idle_since{};

  // While pooled: called when the upstream closed it, or sent what nobody asked for.
  void gone(int error) noexcept override;
  void input() noexcept override { gone(0); }
  void (*on_gone)(ClientConnection& connection, void* owner) noexcept = nullptr;
  void* owner = nullptr;
  ClientConnection* pool_next = nullptr;
  ClientConnection* pool_prev = nullptr;
};

// What of the request concerns one hop is taken from it, not from `head`: with request.upgrade the upstream is asked to
// switch, and a 101 becomes a Response with `upgraded`, which relays between the client and this connection (http/
// tunnel.h); "TE: trailers" goes on; interim answers go to request.interim.
//
// Error::retry() is if_reused when the connection broke before a byte of an answer came and nothing of a request body
// was taken: the caller may repeat an idempotent request on another connection. `connection` is consumed in any case.
Task<Result<Response>> exchange(std::unique_ptr<ClientConnection> connection, Request& request, RequestContext& context,
                                const RequestHeadOptions& head, const ClientTimeouts& timeouts);

}  // namespace trellis::http
