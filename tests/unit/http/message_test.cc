#include "http/message.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace trellis::http {
namespace {

class Pieces final : public BodyReader {
 public:
  Pieces(std::vector<std::string> pieces, std::optional<uint64_t> length)
      : pieces_(std::move(pieces)), length_(length) {}
  Task<Result<Chunk>> read(Deadline) override {
    if (at_ == pieces_.size()) co_return Chunk();
    if (pieces_[at_] == "error") co_return fail(Code::unavailable, "broken");
    co_return Chunk::copy_of(pieces_[at_++]);
  }
  std::optional<uint64_t> length() const noexcept override { return length_; }

 private:
  std::vector<std::string> pieces_;
  std::optional<uint64_t> length_;
  size_t at_ = 0;
};

Result<std::string> read_now(BodyReader* body, uint64_t limit) {
  Task<Result<std::string>> task = read_all(body, limit, kNever);
  task.start();
  EXPECT_TRUE(task.done());
  return task.take();
}

TEST(Message, KnowsMethods) {
  for (const Method method : {Method::get, Method::head, Method::post, Method::put, Method::delete_, Method::patch,
                              Method::options, Method::trace, Method::connect}) {
    EXPECT_EQ(method_from(to_string(method)), method);
  }
  EXPECT_EQ(method_from("get"), Method::other);
  EXPECT_EQ(method_from(""), Method::other);
  EXPECT_EQ(method_from("PROPFIND"), Method::other);
  EXPECT_TRUE(is_safe(Method::head));
  EXPECT_FALSE(is_safe(Method::put));
  EXPECT_TRUE(is_idempotent(Method::delete_));
  EXPECT_FALSE(is_idempotent(Method::post));
  EXPECT_FALSE(is_idempotent(Method::patch));
}

TEST(Message, KnowsReasonPhrases) {
  EXPECT_EQ(reason_phrase(404), "Not Found");
  EXPECT_EQ(reason_phrase(299), "");
}

TEST(Body, KnowsItsLength) {
  EXPECT_EQ(Body().length(), 0U);
  EXPECT_EQ(Body(std::string("abc")).length(), 3U);
  EXPECT_EQ(Body(FileSlice{nullptr, 5, 7}).length(), 7U);
  EXPECT_EQ(
      Body(std::unique_ptr<BodyReader>(std::make_unique<Pieces>(std::vector<std::string>{}, std::nullopt))).length(),
      std::nullopt);
  EXPECT_EQ(Body(std::unique_ptr<BodyReader>(std::make_unique<Pieces>(std::vector<std::string>{}, 9))).length(), 9U);
}

TEST(FileHandle, ClosesItsFile) {
  const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  {
    const FileHandle handle(fd);
  }
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
}

TEST(ReadAll, JoinsPiecesUpToTheLimit) {
  EXPECT_EQ(read_now(nullptr, 0).value(), "");
  Pieces three({"ab", "c", "def"}, std::nullopt);
  EXPECT_EQ(read_now(&three, 6).value(), "abcdef");
  Pieces over({"ab", "c", "def"}, std::nullopt);
  const Result<std::string> refused = read_now(&over, 5);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::resource_exhausted);
  EXPECT_EQ(refused.error().side(), Side::client);
  Pieces announced({"never read"}, 100);
  EXPECT_FALSE(read_now(&announced, 99));
  Pieces broken({"ab", "error"}, std::nullopt);
  EXPECT_EQ(read_now(&broken, 99).error().code(), Code::unavailable);
}

}  // namespace
}  // namespace trellis::http
