#include "http/explain.h"

#include <gtest/gtest.h>

#include "base/arena.h"
#include "runtime/loop.h"
#include "tests/fakes/manual_clock.h"

namespace trellis::http {
namespace {

using namespace std::chrono_literals;

class ExplainTest : public testing::Test {
 protected:
  ExplainTest() {
    LoopOptions options;
    options.io = IoKind::epoll;
    options.clock = &clock_;
    loop_ = *Loop::make(options);
  }
  std::vector<std::string> written(const Explain& explain) {
    fields_.clear();
    explain.write(fields_);
    std::vector<std::string> lines;
    for (const Field& field : fields_) {
      if (field.id == FieldId::x_trellis_explain) lines.emplace_back(field.value);
    }
    return lines;
  }

  fakes::ManualClock clock_;
  std::unique_ptr<Loop> loop_;
  Arena arena_;
  Fields fields_{arena_};
};

TEST_F(ExplainTest, WritesEachDecisionWithItsMoment) {
  Explain explain(*loop_, loop_->now());
  explain.add("route", "api: path /**");
  clock_.advance(1500us);
  explain.add("pick", "10.0.0.1:80");
  EXPECT_EQ(written(explain),
            (std::vector<std::string>{"route;t=0.000;d=\"api: path /**\"", "pick;t=1.500;d=\"10.0.0.1:80\""}));
}

TEST_F(ExplainTest, ForeignBytesCannotLeaveTheirString) {
  Explain explain(*loop_, loop_->now());
  explain.add("route", "a\"b\\c\r\nSet-Cookie: x\xC3\xA9");
  EXPECT_EQ(written(explain), std::vector<std::string>{R"(route;t=0.000;d="a\"b\\c? | Set-Cookie: x??")"});
}

TEST_F(ExplainTest, IsBounded) {
  Explain explain(*loop_, loop_->now());
  for (int i = 0; i < 100; ++i) explain.add("pick", std::string(5000, 'x'));
  const std::vector<std::string> lines = written(explain);
  size_t sum = 0;
  for (const std::string& line : lines) sum += line.size();
  EXPECT_LE(sum, Explain::kMaxText + 100);
  EXPECT_TRUE(lines.back().starts_with("more;d=\"")) << lines.back();
}

TEST_F(ExplainTest, KeepsTheAnswerOutOfCaches) {
  Explain explain(*loop_, loop_->now());
  Fields fields(arena_);
  fields.add(FieldId::cache_control, "max-age=60");
  fields.add("CDN-Cache-Control", "max-age=600");
  fields.add("Surrogate-Control", "max-age=600");
  explain.write(fields);
  EXPECT_EQ(fields.joined(FieldId::cache_control), "no-store");
  EXPECT_FALSE(fields.find("CDN-Cache-Control")) << "a CDN goes by it first (RFC 9213 section 2.2)";
  EXPECT_FALSE(fields.find("Surrogate-Control"));
}

}  // namespace
}  // namespace trellis::http
