#include "http/ranges.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace trellis::http {
namespace {

TEST(Ranges, AreReadCutAndJoined) {
  using Kind = RangePlan::Kind;
  const auto ranges = [](std::string_view text, uint64_t size = 1000) {
    const RangePlan plan = plan_ranges(text, size);
    std::string out = plan.kind == Kind::whole ? "whole" : plan.kind == Kind::unsatisfiable ? "unsatisfiable" : "";
    for (const ByteRange& each : plan.ranges)
      out += (out.empty() ? "" : ",") + std::to_string(each.first) + "-" + std::to_string(each.last);
    return out;
  };
  EXPECT_EQ(ranges("bytes=0-0"), "0-0");
  EXPECT_EQ(ranges("bytes=0-"), "0-999");
  EXPECT_EQ(ranges("bytes=-1"), "999-999");
  EXPECT_EQ(ranges("bytes=-5000"), "0-999");
  EXPECT_EQ(ranges("bytes=990-5000"), "990-999");
  EXPECT_EQ(ranges("BYTES=1-2"), "1-2");
  EXPECT_EQ(ranges("bytes=1-2 , 500-600"), "1-2,500-600");
  EXPECT_EQ(ranges("bytes=500-600,1-2"), "500-600,1-2") << "in the order asked for";
  EXPECT_EQ(ranges("bytes=0-99,50-200,190-300"), "0-300");
  EXPECT_EQ(ranges("bytes=0-99,400-499,100-399"), "0-499");
  EXPECT_EQ(ranges("bytes=0-10,90-99"), "0-99") << "nearer than a part's own head";
  EXPECT_EQ(ranges("bytes=1000-"), "unsatisfiable");
  EXPECT_EQ(ranges("bytes=-0"), "unsatisfiable");
  EXPECT_EQ(ranges("bytes=0-", 0), "unsatisfiable");
  EXPECT_EQ(ranges("bytes=1000-,1-2"), "1-2");
  for (const char* bad : {"bytes", "bytes=", "bytes=a-b", "bytes=5-1", "bytes=-", "bytes=1", "lines=0-5", "bytes=0-5,x",
                          "bytes=+1-5", "bytes=1-+5", "bytes= 1 - 5", "bytes=0x1-5"})
    EXPECT_EQ(ranges(bad), "whole") << bad;
  EXPECT_EQ(ranges("bytes=99999999999999999999999-"), "unsatisfiable");
  EXPECT_EQ(ranges("bytes=0-99999999999999999999999"), "0-999");
  std::string seventeen = "bytes=";
  for (int i = 0; i < 17; ++i) seventeen += std::to_string(i * 1000) + "-" + std::to_string(i * 1000) + ",";
  EXPECT_EQ(ranges(seventeen, 100'000), "whole");
  std::string same = "bytes=";
  for (int i = 0; i < 100; ++i) same += "0-,";
  EXPECT_EQ(ranges(same), "0-999");
  EXPECT_EQ(ranges(same + "0-"), "whole") << "more than a hundred are not read";
}

}  // namespace
}  // namespace trellis::http
