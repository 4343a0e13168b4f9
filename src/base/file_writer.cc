#include "base/file_writer.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <bitset>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "base/log.h"

namespace trellis {
inline namespace base {
namespace {

constexpr size_t kLanes = 65;  // threads that write at once with a ring of their own; any more share the last one
constexpr size_t kSharedLane = kLanes - 1;
constexpr size_t kMinBuffer = 4096;
constexpr size_t kMaxBuffer = size_t{1} << 30;
constexpr int kTickMillis = 100;
constexpr size_t kPipePiece = 4096;  // PIPE_BUF: what a pipe that is ready takes without blocking

// A small number for each living thread, given back when it ends: its lane in every writer. The lock also orders what
// two threads that have the same number one after the other do to a lane.
class ThreadNumbers {
 public:
  size_t take() noexcept {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < kSharedLane; ++i) {
      if (!taken_[i]) {
        taken_[i] = true;
        return i;
      }
    }
    return kSharedLane;
  }
  void give_back(size_t number) noexcept {
    if (number == kSharedLane) return;
    const std::lock_guard lock(mutex_);
    taken_[number] = false;
  }

 private:
  std::mutex mutex_;
  std::bitset<kLanes> taken_;
};

ThreadNumbers& thread_numbers() noexcept {
  static ThreadNumbers* numbers = new ThreadNumbers;  // outlives every thread
  return *numbers;
}

struct ThreadNumber {
  size_t value = thread_numbers().take();
  ~ThreadNumber() { thread_numbers().give_back(value); }
};

size_t lane_number() noexcept {
  thread_local const ThreadNumber number;
  return number.value;
}

// A ring of bytes. Positions count up for ever; a line never wraps: where it would, the rest of the ring stays empty
// (the gap). At most one gap lies between tail and head, as both are less than one ring apart, so its place is a single
// number.
struct Lane {
  explicit Lane(size_t size) : bytes(new(std::nothrow) char[size]), capacity(size) {}

  std::unique_ptr<char[]> bytes;
  const size_t capacity;

  // The producer's.
  alignas(64) std::atomic<uint64_t> head{0};
  uint64_t known_tail = 0;
  uint64_t begun = 0;  // where the line between try_begin and commit starts
  std::atomic<uint64_t> dropped{0};
  std::atomic_flag shared_lock = ATOMIC_FLAG_INIT;

  // Stored by the producer before the head that passes it.
  alignas(64) std::atomic<uint64_t> gap{0};

  // The background thread's.
  alignas(64) std::atomic<uint64_t> tail{0};
  uint64_t partial = 0;  // bytes behind the tail that are written already: a line that a full disk cut

  char* begin(size_t max) noexcept {
    const uint64_t at = head.load(std::memory_order_relaxed);
    const uint64_t offset = at & (capacity - 1);
    begun = offset + max > capacity ? at + (capacity - offset) : at;
    if (begun + max - known_tail > capacity) {
      known_tail = tail.load(std::memory_order_acquire);
      if (begun + max - known_tail > capacity) return nullptr;
    }
    return bytes.get() + (begun & (capacity - 1));
  }

  // Gives the bytes that wait, as far as the producer knows.
  uint64_t commit(size_t size) noexcept {
    if ((begun & (capacity - 1)) == 0) gap.store(head.load(std::memory_order_relaxed), std::memory_order_relaxed);
    head.store(begun + size, std::memory_order_release);
    return begun + size - known_tail;
  }

  void count_dropped(uint64_t lines) noexcept { dropped.fetch_add(lines, std::memory_order_relaxed); }

  // The next run of bytes in [from, until) without the gap; moves `from` over the gap.
  std::string_view run(uint64_t& from, uint64_t until) const noexcept {
    const uint64_t boundary = (from | (capacity - 1)) + 1;
    uint64_t end = until;
    if (until > boundary) {
      end = gap.load(std::memory_order_relaxed);
      if (from == end) {
        from = boundary;
        end = until;
      }
    }
    return {bytes.get() + (from & (capacity - 1)), end - from};
  }
};

uint64_t count_lines(std::string_view bytes) noexcept {
  return static_cast<uint64_t>(std::count(bytes.begin(), bytes.end(), '\n'));
}

// Adds to a number that one thread alone writes.
void add_owned(std::atomic<uint64_t>& number, uint64_t n) noexcept {
  number.store(number.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

class Flusher;

}  // namespace

struct FileWriter::Impl {
  Options options;
  int fd = -1;
  int standard = -1;    // 1 or 2 when the path names a standard stream
  bool regular = true;  // else a pipe, a socket or a terminal, which may block
  std::shared_ptr<Flusher> flusher;
  std::atomic<Lane*> lanes[kLanes]{};
  std::atomic<uint64_t> reopens{0};   // asked for
  std::atomic<uint64_t> unplaced{0};  // lines dropped for want of a lane
  uint64_t reopened = 0;              // done
  std::atomic<bool> stalled{
      false};             // the file took no more at the last pass: only the tick tries again, no producer wakes
  size_t first_lane = 0;  // where the next pass begins: a line that was cut goes on before any other
  std::atomic<uint64_t> failures{0};
  std::atomic<uint64_t> written{0};
  LogThrottle throttle{std::chrono::seconds(10)};

  ~Impl() {
    for (auto& lane : lanes) delete lane.load(std::memory_order_acquire);
    if (fd >= 0) ::close(fd);
  }

  Lane* lane(size_t number) noexcept {
    Lane* found = lanes[number].load(std::memory_order_acquire);
    if (found != nullptr) [[likely]]
      return found;
    Lane* made = new (std::nothrow) Lane(options.buffer);
    if (made == nullptr || !made->bytes) {
      delete made;
      return nullptr;
    }
    if (lanes[number].compare_exchange_strong(found, made, std::memory_order_acq_rel, std::memory_order_acquire))
      return made;
    delete made;  // two threads met at the shared lane
    return found;
  }

  // Replaces the descriptor; on failure the old one stays and errno says why.
  bool open_path() noexcept {
    // O_NONBLOCK: opening a pipe that nobody reads must fail, not wait. It means nothing to a regular file.
    const int fresh = standard >= 0
                          ? ::fcntl(standard, F_DUPFD_CLOEXEC, 3)
                          : ::open(options.path.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, options.mode);
    if (fresh < 0) return false;
    struct stat info{};
    regular = ::fstat(fresh, &info) == 0 && S_ISREG(info.st_mode);
    if (fd >= 0) ::close(fd);
    fd = fresh;
    return true;
  }

  // write(2) that does not block on a pipe whose reader is slow: one stuck reader must not stop the files of all
  // others.
  ssize_t write_some(std::string_view bytes) const noexcept {
    if (!regular) {
      pollfd ready{fd, POLLOUT, 0};
      if (::poll(&ready, 1, 0) <= 0) {
        errno = EAGAIN;
        return -1;
      }
      bytes = bytes.substr(0, kPipePiece);
    }
    return ::write(fd, bytes.data(), bytes.size());
  }

  void failed(std::string_view what, int err) noexcept {
    failures.fetch_add(1, std::memory_order_relaxed);
    log_every(throttle, LogLevel::error, what,
              {{"path", options.path}, {"error", std::strerror(err)}, {"lines_dropped", lines_dropped()}});
  }

  uint64_t lines_dropped() const noexcept {
    uint64_t sum = unplaced.load(std::memory_order_relaxed);
    for (const auto& place : lanes) {
      if (const Lane* lane = place.load(std::memory_order_acquire))
        sum += lane->dropped.load(std::memory_order_relaxed);
    }
    return sum;
  }

  // Writes what the lane held when called. false: the file takes no more for now.
  bool drain(Lane& lane) noexcept {
    const uint64_t until = lane.head.load(std::memory_order_acquire);
    uint64_t at = lane.tail.load(std::memory_order_relaxed);
    while (at < until) {
      const std::string_view run = lane.run(at, until);
      const std::string_view rest = run.substr(lane.partial);
      const ssize_t n = write_some(rest);
      if (n < 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) failed("cannot write", errno);
        return false;
      }
      add_owned(written, static_cast<uint64_t>(n));
      const size_t done = lane.partial + static_cast<size_t>(n);
      if (done == run.size()) {
        at += done;
        lane.partial = 0;
      } else {
        // Whole lines leave the ring; of the one that was cut the rest follows.
        const size_t line_feed = run.substr(0, done).rfind('\n');
        const size_t whole = line_feed == std::string_view::npos ? 0 : line_feed + 1;
        at += whole;
        lane.partial = done - whole;
      }
      lane.tail.store(at, std::memory_order_release);
    }
    return true;
  }

  void drain_all() noexcept {
    const size_t first = first_lane;
    for (size_t i = 0; i < kLanes; ++i) {
      const size_t number = (first + i) % kLanes;
      Lane* lane = lanes[number].load(std::memory_order_acquire);
      if (lane == nullptr || drain(*lane)) continue;
      first_lane = number;
      stalled.store(true, std::memory_order_relaxed);
      return;
    }
    stalled.store(false, std::memory_order_relaxed);
  }

  // The background thread's turn with this writer.
  void pass() noexcept {
    const uint64_t asked = reopens.load(std::memory_order_acquire);
    drain_all();
    if (asked == reopened) return;
    // Heads were read after the request was seen: all that was written before it is in the old file now.
    if (!open_path()) return failed("cannot reopen", errno);
    reopened = asked;
    // A line that the old file cut is written whole to the new one.
    for (auto& place : lanes) {
      if (Lane* lane = place.load(std::memory_order_acquire)) lane->partial = 0;
    }
  }

  uint64_t lines_left() const noexcept {
    uint64_t lines = 0;
    for (const auto& place : lanes) {
      const Lane* lane = place.load(std::memory_order_acquire);
      if (lane == nullptr) continue;
      const uint64_t until = lane->head.load(std::memory_order_acquire);
      for (uint64_t at = lane->tail.load(std::memory_order_relaxed); at < until;) {
        const std::string_view run = lane->run(at, until);
        lines += count_lines(run);
        at += run.size();
      }
    }
    return lines;
  }

  void wake() noexcept;
};

namespace {

// The background thread and the writers that it serves. Lives while there is a writer.
class Flusher {
 public:
  static std::shared_ptr<Flusher> get() {
    static std::mutex mutex;
    static std::weak_ptr<Flusher> current;
    const std::lock_guard lock(mutex);
    std::shared_ptr<Flusher> flusher = current.lock();
    if (!flusher) {
      flusher = std::make_shared<Flusher>();
      current = flusher;
    }
    return flusher;
  }

  Flusher() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    TRELLIS_ASSERT(event_ >= 0);
    // Signals are the main thread's and the loops' affair.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  ~Flusher() {
    stop_.store(true, std::memory_order_release);
    wake();
    thread_.join();
    ::close(event_);
  }

  // Any thread, no lock. Much of the time somebody has called already.
  void wake() noexcept {
    if (woken_.load(std::memory_order_relaxed) || woken_.exchange(true, std::memory_order_acq_rel)) return;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(event_, &one, sizeof(one));
  }

  void add(FileWriter::Impl& writer) {
    const std::lock_guard lock(mutex_);
    writers_.push_back(&writer);
  }

  void remove(FileWriter::Impl& writer) noexcept {
    const std::lock_guard lock(mutex_);
    std::erase(writers_, &writer);
  }

  void flush() noexcept {
    std::unique_lock lock(mutex_);
    const uint64_t ticket = ++flushes_asked_;
    wake();
    done_.wait(lock, [this, ticket] { return flushes_done_ >= ticket; });
  }

 private:
  void run() noexcept {
    while (!stop_.load(std::memory_order_acquire)) {
      pollfd ready{event_, POLLIN, 0};
      if (::poll(&ready, 1, kTickMillis) > 0) {
        uint64_t count;
        [[maybe_unused]] const ssize_t n = ::read(event_, &count, sizeof(count));
      }
      woken_.store(false, std::memory_order_seq_cst);  // before the work, so that a later call is not lost
      // WHY: a lock over write(2); whoever waits for it opens, closes or flushes a writer, never a thread that writes
      // lines.
      const std::lock_guard lock(mutex_);
      const uint64_t asked = flushes_asked_;
      for (FileWriter::Impl* writer : writers_) writer->pass();
      flushes_done_ = asked;
      done_.notify_all();
    }
  }

  const int event_;
  std::atomic<bool> woken_{false};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<FileWriter::Impl*> writers_;
  uint64_t flushes_asked_ = 0;
  uint64_t flushes_done_ = 0;
  std::thread thread_;
};

}  // namespace

void FileWriter::Impl::wake() noexcept {
  if (!stalled.load(std::memory_order_relaxed)) flusher->wake();
}

Result<std::unique_ptr<FileWriter>> FileWriter::open(Options options) {
  auto impl = std::make_unique<Impl>();
  options.buffer = std::bit_ceil(std::clamp(options.buffer, kMinBuffer, kMaxBuffer));
  if (options.path == "stdout") impl->standard = STDOUT_FILENO;
  if (options.path == "stderr") impl->standard = STDERR_FILENO;
  impl->options = std::move(options);
  if (!impl->open_path()) return fail(errno_error("open " + impl->options.path, errno));
  impl->flusher = Flusher::get();
  impl->flusher->add(*impl);
  return std::unique_ptr<FileWriter>(new FileWriter(std::move(impl)));
}

FileWriter::FileWriter(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

FileWriter::~FileWriter() {
  impl_->flusher->flush();
  impl_->flusher->remove(*impl_);
  if (const uint64_t lines = impl_->lines_left()) {
    log_error("lines lost at the end", {{"path", impl_->options.path}, {"lines", lines}});
  }
}

char* FileWriter::try_begin(size_t max) noexcept {
  const size_t number = lane_number();
  Lane* lane = impl_->lane(number);
  if (lane == nullptr) [[unlikely]] {
    impl_->unplaced.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  // WHY: a spin lock; only threads beyond the 64th meet here, and they hold it for the formatting of one line.
  if (number == kSharedLane) [[unlikely]] {
    while (lane->shared_lock.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
  }
  // Half a ring at most: more might never fit, as a line does not wrap.
  char* room = max <= lane->capacity / 2 ? lane->begin(max) : nullptr;
  if (room == nullptr) [[unlikely]] {
    lane->count_dropped(1);
    if (number == kSharedLane) lane->shared_lock.clear(std::memory_order_release);
    impl_->wake();
  }
  return room;
}

void FileWriter::commit(size_t size) noexcept {
  const size_t number = lane_number();
  Lane& lane = *impl_->lanes[number].load(std::memory_order_relaxed);
  if (size > 0) {
    if (lane.commit(size) > lane.capacity / 4) {
      lane.known_tail = lane.tail.load(std::memory_order_acquire);
      if (lane.begun + size - lane.known_tail > lane.capacity / 4) impl_->wake();
    }
  }
  if (number == kSharedLane) [[unlikely]]
    lane.shared_lock.clear(std::memory_order_release);
}

bool FileWriter::try_write(std::string_view lines) noexcept {
  if (lines.empty()) return true;
  char* room = try_begin(lines.size());
  if (room == nullptr) return false;
  std::memcpy(room, lines.data(), lines.size());
  commit(lines.size());
  return true;
}

void FileWriter::reopen() noexcept {
  impl_->reopens.fetch_add(1, std::memory_order_acq_rel);
  impl_->flusher->wake();
}

void FileWriter::flush() noexcept { impl_->flusher->flush(); }

uint64_t FileWriter::dropped() const noexcept { return impl_->lines_dropped(); }
uint64_t FileWriter::write_failures() const noexcept { return impl_->failures.load(std::memory_order_relaxed); }
uint64_t FileWriter::written_bytes() const noexcept { return impl_->written.load(std::memory_order_relaxed); }
const std::string& FileWriter::path() const noexcept { return impl_->options.path; }

}  // namespace base
}  // namespace trellis
