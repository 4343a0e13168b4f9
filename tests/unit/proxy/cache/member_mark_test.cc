#include "proxy/cache/member_mark.h"

#include <gtest/gtest.h>

#include <string>

#include "base/arena.h"
#include "tests/fakes/manual_clock.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kKey = "the key of the cluster";

class MemberMarkTest : public testing::Test {
 protected:
  MemberMarkTest() : request_(arena_) {
    request_.method_text = "GET";
    request_.authority = "a.com";
    request_.path = "/x";
    request_.query = "q";
  }
  void mark(MemberPurpose purpose, std::string_view extra = "http", std::string_view key = kKey) {
    request_.fields.set(kMemberField, arena_.copy(make_member_mark(key, purpose, request_, 42, extra, clock_.wall())));
  }
  std::optional<MemberMark> read(MemberPurpose purpose = MemberPurpose::fetch) const {
    return member_mark_of(request_, kKey, purpose, clock_.wall());
  }
  Arena arena_;
  http::Request request_;
  fakes::ManualClock clock_;
};

TEST_F(MemberMarkTest, TellsWhoSentTheRequest) {
  EXPECT_FALSE(read());
  mark(MemberPurpose::fetch);
  ASSERT_TRUE(read());
  EXPECT_EQ(read()->sender, 42u);
  EXPECT_EQ(read()->extra, "http");
}

TEST_F(MemberMarkTest, IsGoodForItsRequestPurposeKeyAndTimeOnly) {
  mark(MemberPurpose::fetch);
  EXPECT_FALSE(read(MemberPurpose::message));
  for (std::string_view* const part : {&request_.method_text, &request_.authority, &request_.path, &request_.query}) {
    const std::string_view before = std::exchange(*part, "other");
    EXPECT_FALSE(read());
    *part = before;
  }
  EXPECT_TRUE(read());
  clock_.advance(6min);
  EXPECT_FALSE(read());
  mark(MemberPurpose::fetch, "http", "another key");
  EXPECT_FALSE(read());
  clock_.advance(-6min);
  mark(MemberPurpose::fetch);
  clock_.advance(-6min);
  EXPECT_FALSE(read());
}

TEST_F(MemberMarkTest, NoneOfItsBytesMayChange) {
  mark(MemberPurpose::message, "abc");
  const std::string good(*request_.fields.find(kMemberField));
  ASSERT_TRUE(read(MemberPurpose::message));
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = bad[i] == '0' ? '1' : '0';
    request_.fields.set(kMemberField, bad);
    EXPECT_FALSE(read(MemberPurpose::message)) << bad;
    request_.fields.set(kMemberField, std::string_view(good).substr(0, i));
    EXPECT_FALSE(read(MemberPurpose::message)) << i;
  }
}

TEST(MemberHop, SaysTheSchemeAndWhatItsNodeKnows) {
  const std::string extra = hop_extra("https", {{.origin = 0xFF, .known = 7}, {.origin = 1, .known = 0}});
  const auto hop = parse_hop_extra(extra);
  ASSERT_TRUE(hop);
  EXPECT_EQ(hop->scheme, "https");
  EXPECT_EQ(hop->marks, (std::vector<cache::PurgeMark>{{.origin = 0xFF, .known = 7, .let_go = 0}}));
  EXPECT_TRUE(parse_hop_extra("http"));
  for (const char* bad : {"", "ftp", "http+", "http+1", "http+1:", "http+x:1", "http+1:x", "http+1:1+"}) {
    const auto parsed = parse_hop_extra(bad);
    EXPECT_TRUE(!parsed || std::string_view(bad).ends_with('+')) << bad;
  }
}

TEST(MemberHop, OfVeryManyNodesItTellsTheNewestPurges) {
  std::vector<cache::PurgeMark> marks;
  for (uint64_t i = 1; i <= 1000; ++i) marks.push_back({.origin = i, .known = i * 9 % 1001, .let_go = 0});
  const auto hop = parse_hop_extra(hop_extra("http", marks));
  ASSERT_TRUE(hop);
  EXPECT_EQ(hop->marks.size(), 256u);
  for (const cache::PurgeMark& mark : hop->marks) EXPECT_GT(mark.known, 1000u - 256);
}

}  // namespace
}  // namespace trellis::proxy
