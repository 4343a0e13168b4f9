// The HTTP/1.1 server side of one listener on one core: keep-alive, pipelining, bodies both ways with back-pressure,
// time limits for slow clients, cancellation when the client leaves, drain. An idle connection holds its socket's state
// and one small coroutine frame; everything of a request lives in an Exchange that exists only while there is one.
//
// RFC 9112. Faults of the client are answered (4xx, 501, 505) and the connection is closed, lingering so that the
// answer arrives.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/time.h"
#include "http/h1_parser.h"
#include "http/handler.h"
#include "runtime/socket.h"
#include "runtime/sync.h"

namespace trellis::net {
class AddressSet;
}

namespace trellis::http {

struct ServerOptions {
  std::string listener;  // name, for logs and metrics
  H1Limits limits;
  Duration idle_timeout = std::chrono::seconds(75);  // between requests, and before the first byte
  Duration head_timeout = std::chrono::seconds(10);  // for a whole head, from its first byte
  Duration body_timeout = std::chrono::seconds(30);  // between two pieces of a body
  uint64_t min_body_rate = 500;                      // bytes a second a body must keep up after body_timeout; 0: none
  Duration send_timeout = std::chrono::seconds(30);  // a client that takes nothing for so long is closed
  Duration half_close_grace = std::chrono::seconds(1);  // how long a request goes on after its client ended its stream
  size_t max_connections = 100'000;                     // of this core; beyond it new ones are closed at once
  // Every connection begins with a PROXY header, and comes from one of these addresses; null: none does.
  std::shared_ptr<const net::AddressSet> header_from;
  Duration header_timeout = std::chrono::seconds(5);
};

// What became of one exchange, for the access log and metrics.
struct Sent {
  int status = 0;
  uint64_t bytes_in = 0;   // body, and what came through an upgraded connection
  uint64_t bytes_out = 0;  // head and body, likewise
  Time first_byte{};       // when the head was handed to the kernel
  bool complete = false;   // false: the client left or the body broke
};

// Hears of the end of an upgraded connection.
class UpgradeEnd {
 public:
  virtual ~UpgradeEnd() = default;
  virtual void finished(const Request& request, RequestContext& context, const Sent& sent) noexcept = 0;
};

// What stands behind a server: answers requests and hears how they ended. finished() comes once for every request that
// handle() was called for; refused() for bytes that were no acceptable request.
class Application : public Handler {
 public:
  virtual void finished(const Request& request, RequestContext& context, const Sent& sent) noexcept = 0;
  virtual void refused(std::string_view client, int status, H1Error why) noexcept = 0;
  // A connection without the PROXY header that it should begin with, or from an address that may not send one.
  virtual void header_refused(std::string_view address, std::string_view why) noexcept {
    (void)address;
    (void)why;
  }
  // A 101 was sent, and the connection goes on as something else, for hours perhaps. Who is given back hears of its end
  // instead of finished(), so that the connection need not keep this application alive, which a reload may replace.
  virtual std::unique_ptr<UpgradeEnd> upgraded(Request& /*request*/, RequestContext& /*context*/,
                                               const Sent& /*sent*/) {
    return nullptr;
  }
  virtual void opened() noexcept {}       // a connection
  virtual void closed() noexcept {}       // one that was opened
  virtual void turned_away() noexcept {}  // one that was closed at once, beyond max_connections
};

class Server {
 public:
  struct Impl;  // server.cc's own

  // On the loop's thread, where it also must be destroyed.
  Server(ServerOptions options, std::shared_ptr<Application> application);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Takes over an accepted descriptor.
  void accept(int fd);
  // Requests that begin from now on go to this application; those in flight keep theirs.
  void set_application(std::shared_ptr<Application> application);
  void set_options(ServerOptions options);
  // Lets requests in flight finish and closes after them. An idle connection may ask once more within half a second, is
  // told the end in the answer, and is closed when it did not. True when none is left before the deadline.
  Task<bool> drain(Deadline deadline);

  size_t connections() const noexcept;  // any thread
  size_t in_flight() const noexcept;
  uint64_t accepted() const noexcept;
  uint64_t turned_away() const noexcept;  // beyond max_connections; any thread

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace trellis::http
