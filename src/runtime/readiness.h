// Reading and sending on descriptors that the kernel says are ready, by plain system calls: all of the epoll backend,
// and the large pieces of the io_uring one. What was just received is sent on while it is in the core's cache. One
// instance a loop, on the loop's thread.
#pragma once

#include <cstdint>
#include <deque>

#include "runtime/io.h"

namespace trellis {
inline namespace runtime {

class ReadBlock;

class ReadinessReader {
 public:
  ReadinessReader() = default;
  ~ReadinessReader();
  ReadinessReader(const ReadinessReader&) = delete;
  ReadinessReader& operator=(const ReadinessReader&) = delete;

  // Begins a turn: those that wanted more than the last turn's share read first.
  void begin_turn();
  bool has_waiting() const noexcept { return !later_.empty(); }

  // Input is wanted: delivers at once if there is some. The state's watcher does not hear of it.
  void start(SocketState& state);
  // The kernel said so: `events` of poll(2). Calls the reader, or the watcher where nobody reads.
  void ready(SocketState& state, uint32_t events);
  // The state is about to go.
  void forget(const SocketState& state) noexcept;

 private:
  bool read_now(SocketState& state);

  ReadBlock* block_ = nullptr;
  int reads_left_ = 0;
  std::deque<SocketState*> later_;  // wanted to read when the turn's share was spent
};

// Sends of the state's vectors what the kernel takes now. True: all of it, or it failed (send_error).
bool send_now(SocketState& state) noexcept;

}  // namespace runtime
}  // namespace trellis
