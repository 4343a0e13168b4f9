#include "http/structured.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace trellis::http {
namespace {

// "key:kind=text" of each member, or "none".
std::string read(std::string_view text) {
  constexpr std::string_view kKinds[] = {"bool",  "int",  "decimal", "string", "token",
                                         "bytes", "date", "display", "list"};
  const auto members = parse_dictionary(text);
  if (!members) return "none";
  std::string out;
  for (const DictionaryMember& each : *members) {
    out.append(out.empty() ? "" : " ").append(each.key).append(":");
    out.append(kKinds[static_cast<size_t>(each.kind)]).append("=");
    out.append(each.text.empty() ? std::to_string(each.integer) : std::string(each.text));
  }
  return out;
}

TEST(StructuredDictionary, HoldsMembersOfEveryType) {
  EXPECT_EQ(read(""), "");
  EXPECT_EQ(read("   "), "");
  EXPECT_EQ(read("a"), "a:bool=1");
  EXPECT_EQ(read("a=?0, b=?1"), "a:bool=?0 b:bool=?1");
  EXPECT_EQ(read("max-age=60"), "max-age:int=60");
  EXPECT_EQ(read("a=-999999999999999"), "a:int=-999999999999999");
  EXPECT_EQ(read("a=1.5"), "a:decimal=1.5");
  EXPECT_EQ(read("a=tok/en:1"), "a:token=tok/en:1");
  EXPECT_EQ(read(R"(a="x, y")"), "a:string=x, y");
  EXPECT_EQ(read(R"(a="\"\\")"), R"(a:string=\"\\)");
  EXPECT_EQ(read("a=:cHJl:"), "a:bytes=:cHJl:");
  EXPECT_EQ(read("a=@1659578233"), "a:date=@1659578233");
  EXPECT_EQ(read("a=%\"caf%c3%a9\""), "a:display=%\"caf%c3%a9\"");
  EXPECT_EQ(read("a=(1 \"b\";p c), d"), "a:list=(1 \"b\";p c) d:bool=1");
  EXPECT_EQ(read("a=()"), "a:list=()");
  EXPECT_EQ(read("*k.1_-=1"), "*k.1_-:int=1");
}

TEST(StructuredDictionary, IgnoresParametersAndKeepsTheLastOfOneKey) {
  EXPECT_EQ(read("a=1;x;y=2;z=\"3\" , b;q"), "a:int=1 b:bool=1");
  EXPECT_EQ(read("a=1, b=2, a=3"), "a:int=3 b:int=2");
  EXPECT_EQ(read("a=1\t,\t b"), "a:int=1 b:bool=1");
}

TEST(StructuredDictionary, IsNoneWithOneFault) {
  for (const char* bad : {",",
                          "a,",
                          "a,,b",
                          "A=1",
                          "1a",
                          "a=",
                          "a =1",
                          "a= 1",
                          "a=1 b",
                          "a=1;",
                          "a=1;B",
                          "a=1.",
                          "a=1.2345",
                          "a=-",
                          "a=1234567890123456",
                          "a=1234567890123.1",
                          "a=?",
                          "a=?2",
                          "a=\"x",
                          "a=\"\\x\"",
                          "a=\"\x7f\"",
                          "a=:cHJl",
                          "a=@1.5",
                          "a=@x",
                          "a=(",
                          "a=(1",
                          "a=(1,2)",
                          "a=(\"a\"\"b\")",
                          "a=%\"%C3\"",
                          "a=%x",
                          "a=%\"\x80\"",
                          "a=\xc3\xa9",
                          "a;=1"})
    EXPECT_EQ(read(bad), "none") << bad;
  std::string many;
  for (size_t i = 0; i < kMaxDictionaryMembers; ++i) many += (i == 0 ? "k" : ",k") + std::to_string(i);
  EXPECT_TRUE(parse_dictionary(many));
  EXPECT_FALSE(parse_dictionary(many + ",more"));
}

TEST(StructuredText, IsATokenOrAString) {
  Arena arena;
  EXPECT_EQ(structured_text("trellis", arena), "trellis");
  EXPECT_EQ(structured_text("edge-1.example:80", arena), "edge-1.example:80");
  EXPECT_EQ(structured_text("", arena), "\"\"");
  EXPECT_EQ(structured_text("1st", arena), "\"1st\"");
  EXPECT_EQ(structured_text("a \"b\\\xc3\xa9\n", arena), "\"a \\\"b\\\\???\"");
}

}  // namespace
}  // namespace trellis::http
