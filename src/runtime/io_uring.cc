// The io_uring backend: one ring a loop, entered once a turn. Multishot accept and receive, received bytes land in a
// ring of provided buffers, everything queued in a turn leaves in one system call (docs/io.md says what each of these
// is worth). Large pieces go another way: the ring only tells that they are there, and each is received and sent on by
// itself, because those of all sockets of a turn together do not fit into the core's cache.
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <new>

#include "runtime/io.h"
#include "runtime/readiness.h"

namespace trellis {
inline namespace runtime {

namespace {

// Newer than Debian 12's header; the kernel says whether it knows them.
constexpr uint16_t kIncremental = 2;       // IOU_PBUF_RING_INC, Linux 6.12: a buffer is filled by several receives
constexpr uint32_t kBufferMore = 1U << 4;  // IORING_CQE_F_BUF_MORE: the kernel goes on filling this buffer

constexpr unsigned kEntries = 1024;
constexpr unsigned kCompletions = 8192;
constexpr int kGroup = 0;
constexpr size_t kInRing = 4;                // buffers the kernel has while few are in use: small stays in the caches
constexpr size_t kLowBuffers = 2;            // with fewer left, received bytes are copied out at once
constexpr size_t kLargeReceive = 32 * 1024;  // from one of this size on, the socket's bytes are received by readiness
constexpr uint8_t kSmallReads = 16;          // and after so many small ones in a row by the ring again
constexpr size_t kLargeSend = 16 * 1024;     // leaves at once, not with the turn
constexpr size_t kHeapReceive = 16 * 1024;   // without any left, a receive goes to the heap

// What a completion belongs to: a pointer with the kind in its low bits.
enum class Op : uint64_t { ignore, recv, recv_heap, readiness, send, room, accept, wake };
constexpr uint64_t kOpMask = 7;
uint64_t tag(const void* pointer, Op op) noexcept {
  return reinterpret_cast<uint64_t>(pointer) | static_cast<uint64_t>(op);
}

class UringIo;

// One provided buffer. Its count holds one for the kernel while the kernel may write into it.
class ProvidedBuffer final : public ChunkOwner {
 public:
  void release() noexcept override;
  UringIo* io = nullptr;
  char* base = nullptr;
  uint32_t filled = 0;
  uint16_t id = 0;
};

class HeapBuffer final : public ChunkOwner {
 public:
  static HeapBuffer* make() { return new (::operator new(sizeof(HeapBuffer) + kHeapReceive)) HeapBuffer; }
  char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }

 private:
  void release() noexcept override {
    this->~HeapBuffer();
    ::operator delete(this);
  }
};

class UringIo final : public Io {
 public:
  ~UringIo() override;
  Result<> open();

  std::string_view name() const noexcept override { return "io_uring"; }
  void turn(Duration max_wait) override;
  void wake() noexcept override {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t wrote = ::write(wake_fd_, &one, sizeof one);
  }
  void attach(SocketState&) override {}
  void start_recv(SocketState& state) override;
  void start_readable(SocketState& state) override {
    if (!state.registered) start_readiness(state);
  }
  void start_send(SocketState& state) override;
  void start_connect(SocketState& state, socklen_t length) override;
  void start_writable(SocketState& state) override;
  void cancel_send(SocketState& state) noexcept override;
  void close(SocketState& state) noexcept override;
  bool wants_nonblocking() const noexcept override { return false; }
  void start_accept(AcceptState& state) override;
  void stop_accept(AcceptState& state) noexcept override;

  void recycle(ProvidedBuffer& buffer) noexcept;
  void provide(ProvidedBuffer& buffer) noexcept;
  void replenish() noexcept;

 private:
  io_uring_sqe* sqe() noexcept {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    while (!entry) [[unlikely]] {
      io_uring_submit(&ring_);
      entry = io_uring_get_sqe(&ring_);
    }
    return entry;
  }
  Result<> open_buffers();
  bool try_buffers(size_t count, size_t size, uint16_t flags) noexcept;
  void watch_wake() noexcept;
  void complete(uint64_t data, int result, uint32_t flags);
  void on_recv(SocketState& state, int result, uint32_t flags);
  void on_recv_heap(SocketState& state, int result);
  void on_readiness(SocketState& state, int result, uint32_t flags);
  void start_readiness(SocketState& state) noexcept;
  void cancel(const void* pointer, Op op, unsigned flags = 0) noexcept;
  void on_send(SocketState& state, int result);
  void on_accept(AcceptState& state, int result, uint32_t flags);
  void queue_send(SocketState& state) noexcept;
  void recv_to_heap(SocketState& state);
  void let_go(SocketState& state) noexcept {
    if (--state.in_flight > 0 || !state.closed) return;
    --dying_;
    delete &state;
  }

  io_uring ring_{};
  bool ring_open_ = false;
  int wake_fd_ = -1;
  size_t dying_ = 0;  // closed states that wait for their last completion
  ReadinessReader reads_;

  bool incremental_ = false;
  size_t buffer_size_ = 0;
  size_t buffer_count_ = 0;
  size_t kernel_buffers_ = 0;  // how many the kernel has to fill
  size_t in_ring_ = 0;         // how many it should have
  std::vector<ProvidedBuffer*> spare_;
  char* memory_ = nullptr;
  size_t memory_size_ = 0;
  io_uring_buf* entries_ = nullptr;  // the ring of buffers, shared with the kernel
  uint16_t tail_ = 0;
  std::unique_ptr<ProvidedBuffer[]> buffers_;

  // A receive to the heap in flight, by its socket.
  struct HeapReceive {
    SocketState* state;
    HeapBuffer* buffer;
  };
  std::vector<HeapReceive> heap_receives_;
};

void ProvidedBuffer::release() noexcept { io->recycle(*this); }

Result<> UringIo::open() {
  io_uring_params params{};
  params.flags =
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;
  params.cq_entries = kCompletions;
  if (const int error = io_uring_queue_init_params(kEntries, &ring_, &params); error < 0) {
    return fail(errno_error("io_uring", -error));
  }
  ring_open_ = true;
  if (!(params.features & IORING_FEAT_EXT_ARG)) return fail(Code::unimplemented, "io_uring is too old here");
  TRY_VOID(open_buffers());
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) return fail(errno_error("eventfd", errno));
  watch_wake();
  return {};
}

Result<> UringIo::open_buffers() {
  // Address space, touched only as far as traffic needs it.
  if (try_buffers(64, 256 * 1024, kIncremental)) {
    incremental_ = true;
    return {};
  }
  if (try_buffers(256, 32 * 1024, 0)) return {};
  return fail(Code::unimplemented, "io_uring has no provided buffer rings here");
}

bool UringIo::try_buffers(size_t count, size_t size, uint16_t flags) noexcept {
  const size_t ring_bytes = count * sizeof(io_uring_buf);
  memory_size_ = count * size + 4096;  // the ring itself lies in the first page
  void* memory = ::mmap(nullptr, memory_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  TRELLIS_ASSERT(ring_bytes <= 4096);
  io_uring_buf_reg reg{};
  reg.ring_addr = reinterpret_cast<uint64_t>(memory);
  reg.ring_entries = static_cast<uint32_t>(count);
  reg.bgid = kGroup;
  // liburing 2.3 calls this field `pad`; the kernel reads it as flags.
  reg.pad = flags;
  if (io_uring_register_buf_ring(&ring_, &reg, 0) < 0) {
    ::munmap(memory, memory_size_);
    return false;
  }
  memory_ = static_cast<char*>(memory);
  // WHY not io_uring_buf_ring::bufs: compiled as C++ the header puts it 8 bytes too far.
  entries_ = reinterpret_cast<io_uring_buf*>(memory_);
  buffer_count_ = count;
  buffer_size_ = size;
  buffers_ = std::make_unique<ProvidedBuffer[]>(count);
  spare_.reserve(count);
  in_ring_ = flags == kIncremental ? kInRing : count / 4;
  for (size_t i = count; i-- > 0;) {
    buffers_[i].io = this;
    buffers_[i].id = static_cast<uint16_t>(i);
    buffers_[i].base = memory_ + 4096 + i * size;
    recycle(buffers_[i]);
  }
  return true;
}

// A buffer nobody uses any more: back to the kernel if it has too few, else kept, the last one first.
void UringIo::recycle(ProvidedBuffer& buffer) noexcept {
  if (!ring_open_) return;
  buffer.filled = 0;
  if (kernel_buffers_ >= in_ring_) {
    spare_.push_back(&buffer);
  } else {
    provide(buffer);
  }
}

// The kernel has filled one: it gets another while there is one.
void UringIo::replenish() noexcept {
  while (kernel_buffers_ < in_ring_ && !spare_.empty()) {
    ProvidedBuffer* buffer = spare_.back();
    spare_.pop_back();
    provide(*buffer);
  }
}

void UringIo::provide(ProvidedBuffer& buffer) noexcept {
  buffer.acquire();  // the kernel's
  io_uring_buf& entry = entries_[tail_ & (buffer_count_ - 1)];
  entry.addr = reinterpret_cast<uint64_t>(buffer.base);
  entry.len = static_cast<uint32_t>(buffer_size_);
  entry.bid = buffer.id;
  ++tail_;
  // The tail lies over the reserved word of the first entry.
  __atomic_store_n(&entries_[0].resv, tail_, __ATOMIC_RELEASE);
  ++kernel_buffers_;
}

UringIo::~UringIo() {
  if (ring_open_) {
    io_uring_submit(&ring_);  // closes that were queued since the last turn
    for (int patience = 100; dying_ > 0 && patience > 0; --patience) turn(std::chrono::milliseconds(10));
    ring_open_ = false;
    io_uring_queue_exit(&ring_);
  }
  for (const HeapReceive& receive : heap_receives_) receive.buffer->drop();
  if (wake_fd_ >= 0) ::close(wake_fd_);
  if (memory_) ::munmap(memory_, memory_size_);
}

void UringIo::watch_wake() noexcept {
  io_uring_sqe* entry = sqe();
  io_uring_prep_poll_multishot(entry, wake_fd_, POLLIN);
  entry->user_data = tag(nullptr, Op::wake);
}

void UringIo::turn(Duration max_wait) {
  io_uring_cqe* first = nullptr;
  if (max_wait <= Duration::zero() || reads_.has_waiting()) {
    io_uring_submit_and_get_events(&ring_);
  } else {
    const auto secs = std::chrono::duration_cast<std::chrono::seconds>(max_wait);
    __kernel_timespec ts{};
    ts.tv_sec = std::min<int64_t>(secs.count(), 3600);
    ts.tv_nsec = secs.count() >= 3600 ? 0 : (max_wait - secs).count();
    io_uring_submit_and_wait_timeout(&ring_, &first, 1, &ts, nullptr);
  }
  Loop::current().woke();
  reads_.begin_turn();
  // What completions start is submitted next turn, so a turn handles what is there now.
  unsigned head = 0;
  unsigned seen = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    complete(cqe->user_data, cqe->res, cqe->flags);
    if (++seen == 256) {
      io_uring_cq_advance(&ring_, seen);
      seen = 0;
    }
  }
  io_uring_cq_advance(&ring_, seen);
}

void UringIo::complete(uint64_t data, int result, uint32_t flags) {
  auto* const state = reinterpret_cast<SocketState*>(data & ~kOpMask);
  switch (static_cast<Op>(data & kOpMask)) {
    case Op::ignore: return;
    case Op::recv: return on_recv(*state, result, flags);
    case Op::recv_heap: return on_recv_heap(*state, result);
    case Op::send: return on_send(*state, result);
    case Op::readiness: return on_readiness(*state, result, flags);
    case Op::room: {
      const bool waiting = state->writer != nullptr;
      if (waiting) {
        state->sending = false;
        state->send_error = result < 0 ? -result : 0;
        IoWaiter* writer = std::exchange(state->writer, nullptr);
        // The waiter may close and free the state: let go only afterwards.
        writer->io_done();
      }
      return let_go(*state);
    }
    case Op::accept: return on_accept(*reinterpret_cast<AcceptState*>(data & ~kOpMask), result, flags);
    case Op::wake: {
      uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake_fd_, &count, sizeof count);
      if (!(flags & IORING_CQE_F_MORE)) watch_wake();
      return;
    }
  }
}

// Of the pointer's operation; its own completion says so.
void UringIo::cancel(const void* pointer, Op op, unsigned flags) noexcept {
  io_uring_sqe* entry = sqe();
  io_uring_prep_cancel64(entry, tag(pointer, op), static_cast<int>(flags));
  entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
  entry->user_data = tag(nullptr, Op::ignore);
}

// --- receive ---

void UringIo::start_recv(SocketState& state) {
  // WHY a receive that is under way is waited for: its bytes come before those that a read would get.
  if (state.recv_armed || state.has_input()) return;
  if (state.by_readiness && state.small_reads >= kSmallReads) {
    state.by_readiness = false;
    if (state.registered) cancel(&state, Op::readiness);
  }
  if (state.by_readiness) {
    if (!state.registered) start_readiness(state);
    return reads_.start(state);
  }
  io_uring_sqe* entry = sqe();
  io_uring_prep_recv_multishot(entry, state.fd, nullptr, 0, 0);
  entry->flags |= IOSQE_BUFFER_SELECT;
  entry->buf_group = kGroup;
  entry->user_data = tag(&state, Op::recv);
  state.recv_armed = true;
  ++state.in_flight;
}

void UringIo::recv_to_heap(SocketState& state) {
  HeapBuffer* buffer = HeapBuffer::make();
  buffer->acquire();
  heap_receives_.push_back({&state, buffer});
  io_uring_sqe* entry = sqe();
  io_uring_prep_recv(entry, state.fd, buffer->bytes(), kHeapReceive, 0);
  entry->user_data = tag(&state, Op::recv_heap);
  state.recv_armed = true;
  ++state.in_flight;
}

void UringIo::on_recv(SocketState& state, int result, uint32_t flags) {
  const bool last = !(flags & IORING_CQE_F_MORE);
  if (last) state.recv_armed = false;
  Chunk chunk;
  if (flags & IORING_CQE_F_BUFFER) {
    ProvidedBuffer& buffer = buffers_[flags >> IORING_CQE_BUFFER_SHIFT];
    const auto size = static_cast<uint32_t>(result > 0 ? result : 0);
    const char* const at = buffer.base + buffer.filled;
    buffer.filled += size;
    const bool done = !(incremental_ && (flags & kBufferMore));
    if (done) {
      --kernel_buffers_;
      replenish();
    }
    if (size > 0 && !state.closed) {
      // Few left: whoever holds bytes for long would starve the others.
      chunk = kernel_buffers_ < kLowBuffers ? Chunk::copy_of({at, size}) : Chunk(&buffer, at, size);
    }
    if (done) buffer.drop();
  }
  if (state.closed) {
    if (last) let_go(state);
    return;
  }
  if (result > 0) {
    // Large pieces, or back-pressure because nobody reads: from now on the bytes stay in the kernel.
    const bool unread = !state.reader && state.queued + chunk.size() >= kMaxQueuedInput;
    if ((unread || chunk.size() >= kLargeReceive) && !state.by_readiness) {
      state.by_readiness = true;
      state.readable = false;  // the ring will say
      state.small_reads = 0;
      if (!last) cancel(&state, Op::recv);
    }
    state.deliver(std::move(chunk));
  } else if (result == -ENOBUFS) {
    recv_to_heap(state);
  } else if (result == -ECANCELED || result == -EINTR || result == -EAGAIN) {
    if (last && state.reader && !state.has_input()) start_recv(state);
  } else {
    state.end_of_stream(-result);
  }
  // Also where nobody reads: the end of the connection must be heard of.
  const bool over = state.closed || state.eof || state.recv_error != 0;
  if (last && !over && state.by_readiness && !state.recv_armed && !state.registered) start_readiness(state);
  if (last) let_go(state);
}

void UringIo::on_recv_heap(SocketState& state, int result) {
  auto found = std::find_if(heap_receives_.begin(), heap_receives_.end(),
                            [&](const HeapReceive& receive) { return receive.state == &state; });
  HeapBuffer* buffer = found->buffer;
  *found = heap_receives_.back();
  heap_receives_.pop_back();
  state.recv_armed = false;
  Chunk chunk;
  if (result > 0) chunk = Chunk(buffer, buffer->bytes(), static_cast<size_t>(result));
  buffer->drop();
  if (!state.closed) {
    if (result > 0) {
      state.deliver(std::move(chunk));
    } else if (result == -EINTR || result == -EAGAIN || result == -ECANCELED) {
      if (state.reader) start_recv(state);
    } else {
      state.end_of_stream(-result);
    }
  }
  let_go(state);
}

// --- large pieces ---

void UringIo::start_readiness(SocketState& state) noexcept {
  io_uring_sqe* entry = sqe();
  io_uring_prep_poll_multishot(entry, state.fd, POLLIN | POLLRDHUP);
  entry->user_data = tag(&state, Op::readiness);
  state.registered = true;
  ++state.in_flight;
}

void UringIo::on_readiness(SocketState& state, int result, uint32_t flags) {
  const bool last = !(flags & IORING_CQE_F_MORE);
  if (last) state.registered = false;
  if (!state.closed && state.by_readiness && !state.recv_armed) {
    if (last) start_readiness(state);
    if (result > 0) reads_.ready(state, static_cast<uint32_t>(result));
  }
  if (last) let_go(state);
}

// --- send ---

void UringIo::start_send(SocketState& state) {
  state.sending = true;
  size_t size = 0;
  for (size_t i = 0; i < state.vector_count && size < kLargeSend; ++i) size += state.vectors[i].iov_len;
  if (size >= kLargeSend && send_now(state)) {
    state.sending = false;
  } else {
    queue_send(state);
  }
}

void UringIo::queue_send(SocketState& state) noexcept {
  io_uring_sqe* entry = sqe();
  if (state.vector_count == 1) {
    io_uring_prep_send(entry, state.fd, state.vectors->iov_base, state.vectors->iov_len, MSG_NOSIGNAL | MSG_WAITALL);
  } else {
    state.message = {};
    state.message.msg_iov = state.vectors;
    state.message.msg_iovlen = std::min<size_t>(state.vector_count, 1024);
    io_uring_prep_sendmsg(entry, state.fd, &state.message, MSG_NOSIGNAL | MSG_WAITALL);
  }
  entry->user_data = tag(&state, Op::send);
  ++state.in_flight;
}

void UringIo::on_send(SocketState& state, int result) {
  if (state.writer) {
    if (result > 0) {
      advance_vectors(state, static_cast<size_t>(result));
      if (state.vector_count > 0) {
        queue_send(state);
        return let_go(state);
      }
    } else if (result == -EINTR || result == -EAGAIN) {
      queue_send(state);
      return let_go(state);
    } else {
      state.send_error = result == 0 ? EPIPE : -result;
    }
    state.sending = false;
    std::exchange(state.writer, nullptr)->io_done();
  }
  let_go(state);
}

void UringIo::cancel_send(SocketState& state) noexcept {
  if (!state.sending) return;
  state.sending = false;
  state.send_error = ECANCELED;
  // Rare (a client left in the middle of an answer, a deadline): worth two system calls to be sure of the caller's
  // memory.
  io_uring_submit(&ring_);
  io_uring_sync_cancel_reg reg{};
  reg.timeout.tv_sec = -1;
  reg.timeout.tv_nsec = -1;
  for (const Op op : {Op::send, Op::room}) {
    reg.addr = tag(&state, op);
    io_uring_register_sync_cancel(&ring_, &reg);
  }
}

void UringIo::start_connect(SocketState& state, socklen_t length) {
  state.sending = true;
  io_uring_sqe* entry = sqe();
  io_uring_prep_connect(entry, state.fd, reinterpret_cast<sockaddr*>(state.address.get()), length);
  entry->user_data = tag(&state, Op::room);
  ++state.in_flight;
}

void UringIo::start_writable(SocketState& state) {
  state.sending = true;
  io_uring_sqe* entry = sqe();
  io_uring_prep_poll_add(entry, state.fd, POLLOUT);
  entry->user_data = tag(&state, Op::room);
  ++state.in_flight;
}

void UringIo::close(SocketState& state) noexcept {
  state.closed = true;
  state.reader = nullptr;
  state.watcher = nullptr;
  state.first = Chunk();
  state.rest.clear();
  state.queued = 0;
  if (state.recv_armed) {
    cancel(&state, Op::recv, IORING_ASYNC_CANCEL_ALL);
    const bool on_heap = std::any_of(heap_receives_.begin(), heap_receives_.end(),
                                     [&](const HeapReceive& receive) { return receive.state == &state; });
    if (on_heap) cancel(&state, Op::recv_heap);
  }
  if (state.registered) cancel(&state, Op::readiness);
  reads_.forget(state);
  io_uring_sqe* entry = sqe();
  io_uring_prep_close(entry, state.fd);
  entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
  entry->user_data = tag(nullptr, Op::ignore);
  if (state.in_flight == 0) {
    delete &state;
  } else {
    ++dying_;
  }
}

// --- accept ---

void UringIo::start_accept(AcceptState& state) {
  if (state.armed) return;
  state.armed = true;
  io_uring_sqe* entry = sqe();
  io_uring_prep_multishot_accept(entry, state.fd, nullptr, nullptr, SOCK_CLOEXEC);
  entry->user_data = tag(&state, Op::accept);
}

void UringIo::on_accept(AcceptState& state, int result, uint32_t flags) {
  if (!(flags & IORING_CQE_F_MORE)) state.armed = false;
  if (!state.owner) {
    if (result >= 0) ::close(result);
    if (!state.armed) {
      --dying_;
      delete &state;
    }
    return;
  }
  if (result == -ECANCELED && state.stopped) return;
  AcceptWaiter* owner = state.owner;
  owner->accepted(result);
  if (result >= 0 && !state.armed && !state.stopped) start_accept(state);
}

void UringIo::stop_accept(AcceptState& state) noexcept {
  if (state.armed) {
    cancel(&state, Op::accept);
    if (!state.owner) ++dying_;
  } else if (!state.owner) {
    delete &state;
  }
}

}  // namespace

Result<std::unique_ptr<Io>> make_uring_io() {
  auto io = std::make_unique<UringIo>();
  TRY_VOID(io->open());
  return io;
}

}  // namespace runtime
}  // namespace trellis
