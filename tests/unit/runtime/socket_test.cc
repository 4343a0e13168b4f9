// The same behaviours on both backends.
#include "runtime/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/rng.h"
#include "runtime/blocking_pool.h"
#include "runtime/sync.h"
#include "tests/fakes/run_task.h"

namespace trellis {
namespace {

class OnBothBackends : public testing::TestWithParam<IoKind> {
 protected:
  void SetUp() override {
    auto made = Loop::make({.io = GetParam()});
    if (!made && GetParam() == IoKind::uring) GTEST_SKIP() << "no io_uring here: " << made.error().to_string();
    ASSERT_TRUE(made) << made.error().to_string();
    loop_ = *std::move(made);
  }
  std::pair<Socket, Socket> pair() {
    int fds[2];
    const int type = SOCK_STREAM | (loop_->io().wants_nonblocking() ? SOCK_NONBLOCK : 0);
    EXPECT_EQ(::socketpair(AF_UNIX, type, 0, fds), 0);
    return {Socket::adopt(fds[0]), Socket::adopt(fds[1])};
  }
  Deadline soon() { return after(loop_->now(), std::chrono::seconds(5)); }
  std::unique_ptr<Loop> loop_;
};

Task<Result<>> send_text(Socket& socket, std::string text, Deadline deadline) {
  iovec vector{text.data(), text.size()};
  auto sent = co_await socket.send({&vector, 1}, deadline);
  co_return sent;
}
Task<Result<std::string>> receive(Socket& socket, size_t size, Deadline deadline) {
  std::string text;
  while (text.size() < size) {
    CO_TRY(Chunk chunk, co_await socket.recv(deadline));
    if (chunk.empty()) break;
    text += chunk.view();
  }
  co_return text;
}
Task<> into(Task<Result<>> task, Result<>& out) { out = co_await task; }

TEST_P(OnBothBackends, BytesArriveInOrder) {
  auto [a, b] = pair();
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(a, "hello ", soon())));
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(a, "world", soon())));
  auto text = fakes::run_task(*loop_, receive(b, 11, soon()));
  ASSERT_TRUE(text);
  EXPECT_EQ(*text, "hello world");
}

Task<Result<>> send_pieces(Socket& socket, std::vector<std::string> pieces, Deadline deadline) {
  std::vector<iovec> vectors;
  for (std::string& piece : pieces) vectors.push_back({piece.data(), piece.size()});
  auto sent = co_await socket.send(vectors, deadline);
  co_return sent;
}

TEST_P(OnBothBackends, EmptyPiecesAreNothingToSend) {
  auto [a, b] = pair();
  EXPECT_TRUE(fakes::run_task(*loop_, send_pieces(a, {}, soon())));
  EXPECT_TRUE(fakes::run_task(*loop_, send_pieces(a, {"", ""}, soon())));
  EXPECT_TRUE(fakes::run_task(*loop_, send_pieces(a, {"", "one ", "", "two", "", ""}, soon())));
  auto text = fakes::run_task(*loop_, receive(b, 7, soon()));
  ASSERT_TRUE(text);
  EXPECT_EQ(*text, "one two");
}

Task<> wait_readable(Socket& socket, Deadline deadline, int& out) {
  const bool there = co_await socket.readable(deadline);
  out = there ? 1 : 0;
}

TEST_P(OnBothBackends, TellsWhoReadsDatagramsHimself) {
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
  Socket socket = Socket::adopt_datagrams(fds[0]);
  char room[16];
  for (int round = 0; round < 3; ++round) {
    // Nothing is there yet.
    EXPECT_LT(::recv(fds[0], room, sizeof room, MSG_DONTWAIT), 0);
    socket.drained();
    int told = -1;
    TaskGroup group;
    group.spawn(wait_readable(socket, soon(), told));
    loop_->run_once(Duration::zero());
    EXPECT_EQ(told, -1);
    ASSERT_EQ(::send(fds[1], "one", 3, 0), 3);
    while (told < 0) loop_->run_once(std::chrono::seconds(5));
    EXPECT_EQ(told, 1);
    EXPECT_FALSE(socket.has_bytes()) << "nobody read it for us";
    EXPECT_EQ(::recv(fds[0], room, sizeof room, MSG_DONTWAIT), 3);
  }
  socket.drained();
  int late = -1;
  fakes::run_task(*loop_, wait_readable(socket, after(loop_->now(), std::chrono::milliseconds(5)), late));
  EXPECT_EQ(late, 0);
  ::close(fds[1]);
}

TEST_P(OnBothBackends, AMegabyteBothWaysWhileBothSidesSend) {
  auto [a, b] = pair();
  std::string large(1 << 20, 'x');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>('a' + i % 23);
  TaskGroup group;
  Result<> sent_a;
  Result<> sent_b;
  group.spawn(into(send_text(a, large, soon()), sent_a));
  group.spawn(into(send_text(b, large, soon()), sent_b));
  auto at_b = fakes::run_task(*loop_, receive(b, large.size(), soon()));
  auto at_a = fakes::run_task(*loop_, receive(a, large.size(), soon()));
  ASSERT_TRUE(at_a && at_b);
  EXPECT_TRUE(*at_a == large);
  EXPECT_TRUE(*at_b == large);
}

TEST_P(OnBothBackends, EndOfStreamIsAnEmptyChunkAlsoBehindBytes) {
  auto [a, b] = pair();
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(a, "last", soon())));
  a.close();
  auto text = fakes::run_task(*loop_, receive(b, 100, soon()));
  ASSERT_TRUE(text);
  EXPECT_EQ(*text, "last");
}

TEST_P(OnBothBackends, AReceiveEndsAtItsDeadline) {
  auto [a, b] = pair();
  auto text = fakes::run_task(*loop_, receive(b, 1, after(loop_->now(), std::chrono::milliseconds(5))));
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code(), Code::deadline_exceeded);
}

TEST_P(OnBothBackends, ASendToAPeerThatNeverReadsEndsAtItsDeadline) {
  auto [a, b] = pair();
  auto sent = fakes::run_task(
      *loop_, send_text(a, std::string(8 << 20, 'x'), after(loop_->now(), std::chrono::milliseconds(5))));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), Code::deadline_exceeded);
}

TEST_P(OnBothBackends, DestroyingAWaitingSendLeavesTheMemoryAlone) {
  auto [a, b] = pair();
  {
    TaskGroup group;
    Result<> ignored;
    group.spawn(into(send_text(a, std::string(8 << 20, 'x'), soon()), ignored));
    loop_->run_once(Duration::zero());
    EXPECT_EQ(group.size(), 1U);
  }
  a.close();
  for (int i = 0; i < 3; ++i) loop_->run_once(Duration::zero());
}

TEST_P(OnBothBackends, AReaderThatDoesNotReadStopsTheSender) {
  auto [a, b] = pair();
  TaskGroup group;
  Result<> sent;
  group.spawn(into(send_text(a, std::string(16 << 20, 'x'), soon()), sent));
  b.want_input();
  for (int i = 0; i < 200; ++i) loop_->run_once(Duration::zero());
  EXPECT_EQ(group.size(), 1U) << "sixteen megabytes went somewhere";
  auto text = fakes::run_task(*loop_, receive(b, 16 << 20, soon()));
  ASSERT_TRUE(text);
  EXPECT_EQ(text->size(), 16U << 20);
}

// A reader that takes everything at once: the kernel's buffer is never full, so no edge announces room.
TEST_P(OnBothBackends, AFileGoesOutWholeToAFastReader) {
  const std::string path = testing::TempDir() + "trellis_send_file_" + std::to_string(::getpid());
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ASSERT_GE(file, 0);
  ::unlink(path.c_str());
  ASSERT_EQ(::ftruncate(file, 9 << 20), 0);
  const int listening = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(listening, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(listening, 1), 0);
  ::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &length);
  const int near = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int room = 8 << 20;
  ::setsockopt(near, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  ASSERT_EQ(::connect(near, reinterpret_cast<sockaddr*>(&address), length), 0);
  const int far = ::accept(listening, nullptr, nullptr);
  ::close(listening);
  if (loop_->io().wants_nonblocking()) {
    ::fcntl(near, F_SETFL, O_NONBLOCK);
    ::fcntl(far, F_SETFL, O_NONBLOCK);
  }
  Socket a = Socket::adopt(near);
  Socket b = Socket::adopt(far);
  TaskGroup group;
  Result<> sent = fail(Code::internal, "not yet");
  group.spawn(into(a.send_file(file, 0, 9 << 20, std::chrono::milliseconds(500)), sent));
  auto text = fakes::run_task(*loop_, receive(b, 9 << 20, soon()));
  ASSERT_TRUE(text);
  EXPECT_EQ(text->size(), 9U << 20);
  while (group.size() > 0) loop_->run_once(std::chrono::milliseconds(10));
  EXPECT_TRUE(sent) << sent.error().to_string();
  ::close(file);
}

class Watch final : public GoneWatcher {
 public:
  void gone(int error) noexcept override {
    ++times;
    last = error;
  }
  int times = 0;
  int last = -1;
};

TEST_P(OnBothBackends, AWatcherLearnsThatThePeerLeft) {
  auto [a, b] = pair();
  Watch watch;
  b.watch(&watch);
  b.want_input();
  loop_->run_once(Duration::zero());
  EXPECT_EQ(watch.times, 0);
  a.close();
  for (int i = 0; i < 10 && watch.times == 0; ++i) loop_->run_once(std::chrono::milliseconds(10));
  EXPECT_GE(watch.times, 1);
}

// Sends pieces of the sizes in turn, each byte telling its place in the stream.
Task<Result<>> send_pieces(Socket& socket, std::span<const size_t> sizes, Deadline deadline) {
  size_t at = 0;
  for (const size_t size : sizes) {
    std::string piece(size, ' ');
    for (char& c : piece) c = static_cast<char>('a' + at++ % 23);
    auto sent = co_await send_text(socket, std::move(piece), deadline);
    CO_TRY_VOID(std::move(sent));
  }
  co_return Result<>();
}

// Large pieces and small ones may be received in different ways: the order is that of the sender all the same.
TEST_P(OnBothBackends, PiecesOfAllSizesArriveInOrder) {
  Rng rng(7);
  for (int round = 0; round < 20; ++round) {
    auto [a, b] = pair();
    std::vector<size_t> sizes;
    size_t all = 0;
    for (int i = 0; i < 60; ++i) {
      // Runs of small ones, long enough to change the way, between large ones.
      const bool small = i / 25 % 2 == 0 ? rng.below(8) != 0 : rng.below(2) == 0;
      sizes.push_back(small ? 1 + rng.below(2000) : 40'000 + rng.below(200'000));
      all += sizes.back();
    }
    TaskGroup group;
    Result<> sent;
    group.spawn(into(send_pieces(a, sizes, soon()), sent));
    std::string text;
    while (text.size() < all) {
      auto more =
          fakes::run_task(*loop_, receive(b, std::min<size_t>(all - text.size(), 1 + rng.below(3) * 30000), soon()));
      ASSERT_TRUE(more) << more.error().to_string();
      ASSERT_FALSE(more->empty()) << "after " << text.size() << " of " << all;
      text += *more;
      if (rng.below(4) == 0) loop_->run_once(Duration::zero());  // nobody reads for a turn
    }
    ASSERT_EQ(text.size(), all);
    for (size_t i = 0; i < all; ++i) ASSERT_EQ(text[i], static_cast<char>('a' + i % 23)) << i;
    EXPECT_TRUE(sent);
  }
}

TEST_P(OnBothBackends, AConnectionThatBroughtLargePiecesIsQuietAndHearsOfItsEnd) {
  auto [a, b] = pair();
  Watch watch;
  b.watch(&watch);
  TaskGroup group;
  Result<> sent;
  group.spawn(into(send_text(a, std::string(300'000, 'x'), soon()), sent));
  auto text = fakes::run_task(*loop_, receive(b, 300'000, soon()));
  ASSERT_TRUE(text);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(b.quiet() || i == 0);
    loop_->run_once(Duration::zero());
  }
  EXPECT_EQ(watch.times, 0);
  a.close();
  for (int i = 0; i < 10 && watch.times == 0; ++i) loop_->run_once(std::chrono::milliseconds(10));
  EXPECT_GE(watch.times, 1);
  EXPECT_FALSE(b.has_bytes());
}

TEST_P(OnBothBackends, AnEndIsHeardOfAlsoBehindBytesThatNobodyReads) {
  auto [a, b] = pair();
  Watch watch;
  b.watch(&watch);
  b.want_input();
  TaskGroup group;
  Result<> sent;
  group.spawn(into(send_text(a, std::string(4 << 20, 'x'), soon()), sent));
  for (int i = 0; i < 100; ++i) loop_->run_once(Duration::zero());
  ASSERT_EQ(group.size(), 1U) << "four megabytes went somewhere";
  group.cancel_all();
  a.close();
  for (int i = 0; i < 100 && watch.times == 0; ++i) loop_->run_once(std::chrono::milliseconds(10));
  EXPECT_GE(watch.times, 1);
}

// The end is in the kernel but not announced yet when the reader asks: the reader learns it, and nobody is called from
// inside.
TEST_P(OnBothBackends, AWatcherIsNeverCalledFromInsideAReceive) {
  for (const bool reset : {false, true}) {
    auto [a, b] = pair();
    Watch watch;
    b.watch(&watch);
    loop_->run_once(Duration::zero());
    if (reset) {
      const std::string unread = "never read, so closing resets";
      ASSERT_EQ(::send(b.fd(), unread.data(), unread.size(), 0), static_cast<ssize_t>(unread.size()));
    }
    a.close();
    if (!loop_->io().wants_nonblocking()) loop_->run_once(Duration::zero());  // submits the close
    const int before = watch.times;
    Task<Result<std::string>> reading = receive(b, 1, soon());
    reading.start();
    EXPECT_EQ(watch.times, before);
    while (!reading.done()) loop_->run_once(std::chrono::milliseconds(10));
  }
}

Task<Result<int>> doubled(int x) {
  auto result = co_await blocking([x]() -> Result<int> { return 2 * x; });
  co_return result;
}

TEST(BlockingPool, RunsAndComesBackToTheCallersLoop) {
  BlockingPool pool(2);
  auto loop = Loop::make({.pool = &pool});
  ASSERT_TRUE(loop);
  auto result = fakes::run_task(**loop, doubled(21));
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, 42);
  pool.close();  // its work comes back to the loop
}

INSTANTIATE_TEST_SUITE_P(Io, OnBothBackends, testing::Values(IoKind::uring, IoKind::epoll),
                         [](const auto& p) { return p.param == IoKind::uring ? "uring" : "epoll"; });

}  // namespace
}  // namespace trellis
