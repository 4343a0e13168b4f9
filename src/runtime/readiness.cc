#include "runtime/readiness.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <new>
#include <utility>

namespace trellis {
inline namespace runtime {

namespace {

constexpr size_t kBlock = 128 * 1024;       // received bytes are carved from blocks of this size
constexpr size_t kSmallestRead = 8 * 1024;  // a block with less room left is replaced
constexpr int kReadsATurn = 256;            // so that a busy peer does not starve the others
constexpr uint32_t kGone = POLLRDHUP | POLLHUP | POLLERR;
constexpr size_t kSpareBlocks = 8;  // kept a core: 1 MiB

// WHY blocks are kept, and the one that came back last goes out first: what is received is then written to memory that
// the core's cache still holds. The heap hands blocks of this size out in turns, over more memory than the cache has
// room for, which made large answers twice as dear.
class SpareBlocks {
 public:
  ~SpareBlocks() {
    while (count_ > 0) ::operator delete(blocks_[--count_]);
  }
  void* take(size_t size) { return count_ > 0 ? blocks_[--count_] : ::operator new(size); }
  void give(void* block) noexcept {
    if (count_ < kSpareBlocks) {
      blocks_[count_++] = block;
    } else {
      ::operator delete(block);
    }
  }

 private:
  void* blocks_[kSpareBlocks];
  size_t count_ = 0;
};
thread_local SpareBlocks spare_blocks;

}  // namespace

class ReadBlock final : public ChunkOwner {
 public:
  static ReadBlock* make() { return new (spare_blocks.take(sizeof(ReadBlock) + kBlock)) ReadBlock; }
  char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
  size_t used = 0;

 private:
  void release() noexcept override {
    this->~ReadBlock();
    spare_blocks.give(this);
  }
};

ReadinessReader::~ReadinessReader() {
  if (block_) block_->drop();
}

void ReadinessReader::begin_turn() {
  reads_left_ = kReadsATurn;
  // A reader may close another one that waits here.
  while (!later_.empty() && reads_left_ > 0) {
    SocketState& state = *later_.front();
    later_.pop_front();
    if (!state.reader || state.queued > 0 || state.hands_off) continue;
    --reads_left_;
    read_now(state);
  }
}

void ReadinessReader::start(SocketState& state) {
  if (!state.readable || state.has_input()) return;
  if (reads_left_-- <= 0) {
    if (std::find(later_.begin(), later_.end(), &state) == later_.end()) later_.push_back(&state);
    return;
  }
  // The caller sees what came. The watcher must not hear of it from in here: it may destroy the coroutine that is
  // asking.
  GoneWatcher* const watcher = std::exchange(state.watcher, nullptr);
  read_now(state);
  state.watcher = watcher;
}

void ReadinessReader::ready(SocketState& state, uint32_t events) {
  if (!(events & (POLLIN | kGone))) return;
  state.readable = true;
  if (events & kGone) state.ended = true;
  if (state.hands_off) {
    if (state.reader) std::exchange(state.reader, nullptr)->io_done();
    return;
  }
  if (state.reader) {
    read_now(state);
    // An end that came with the bytes has no event of its own: who does not read on hears of it now.
    if (state.closed || state.reader || !state.ended || state.eof || state.recv_error != 0) return;
    if (state.watcher) state.watcher->gone(0);
    return;
  }
  if (!state.watcher) return;
  if ((events & POLLIN) && !state.ended) return state.watcher->input();
  if (!(events & kGone)) return;
  int error = 0;
  if (events & (POLLERR | POLLHUP)) {
    socklen_t length = sizeof error;
    ::getsockopt(state.fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == 0) error = ECONNRESET;
    state.recv_error = error;
  }
  state.watcher->gone(error);
}

void ReadinessReader::forget(const SocketState& state) noexcept {
  if (!later_.empty()) std::erase(later_, &state);
}

// One read into the current block. True when something was delivered (bytes, end or error).
bool ReadinessReader::read_now(SocketState& state) {
  if (!block_ || kBlock - block_->used < kSmallestRead) {
    if (block_) block_->drop();
    block_ = ReadBlock::make();
    block_->acquire();
  } else if (block_->count() == 1) {
    block_->used = 0;  // nobody holds a part of it: start over
  }
  const size_t room = kBlock - block_->used;
  char* const at = block_->bytes() + block_->used;
  ssize_t got = 0;
  do {
    got = ::recv(state.fd, at, room, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    state.readable = false;
    return false;
  }
  if (got <= 0) {
    state.readable = false;
    state.end_of_stream(got == 0 ? 0 : errno);
    return true;
  }
  if (got >= static_cast<ssize_t>(kSmallReceive)) {
    state.small_reads = 0;
  } else if (state.small_reads < UINT8_MAX) {
    ++state.small_reads;
  }
  // A short read means drained, unless the end stands behind the bytes.
  if (static_cast<size_t>(got) < room) state.readable = state.ended;
  block_->used += static_cast<size_t>(got);
  state.deliver(Chunk(block_, at, static_cast<size_t>(got)));
  return true;
}

bool send_now(SocketState& state) noexcept {
  while (state.vector_count > 0 && state.send_error == 0) {
    msghdr message{};
    message.msg_iov = state.vectors;
    message.msg_iovlen = std::min<size_t>(state.vector_count, IOV_MAX);
    const ssize_t sent = ::sendmsg(state.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      advance_vectors(state, static_cast<size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return false;
    } else if (errno != EINTR) {
      state.send_error = errno;
    }
  }
  return true;
}

}  // namespace runtime
}  // namespace trellis
