#include "base/json.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/rng.h"

namespace trellis {
namespace {

std::string json_of(std::string_view text) {
  std::string out;
  append_json(out, text);
  return out;
}

TEST(Json, PlacesCommasInNestedObjectsAndArrays) {
  std::string out;
  JsonWriter json(out);
  json.begin_object()
      .member("a", 1)
      .key("b")
      .begin_array()
      .value(1)
      .value("two")
      .begin_object()
      .end_object()
      .end_array();
  json.key("c").begin_array().end_array().member("d", true).key("e").null().key("f").raw("[0]").end_object();
  EXPECT_EQ(out, R"({"a":1,"b":[1,"two",{}],"c":[],"d":true,"e":null,"f":[0]})");
}

TEST(Json, WritesNumbersInTheirShortestForm) {
  std::string out;
  JsonWriter json(out);
  json.begin_array().value(0.1).value(1.0).value(-2.5e-9).value(std::numeric_limits<double>::infinity());
  json.value(std::numeric_limits<double>::quiet_NaN()).value(INT64_MIN).value(UINT64_MAX).value(uint8_t{7}).end_array();
  EXPECT_EQ(out, "[0.1,1,-2.5e-09,null,null,-9223372036854775808,18446744073709551615,7]");
}

TEST(Json, EscapesControlCharactersQuotesAndBackslashes) {
  EXPECT_EQ(json_of("a\"b\\c\n\r\t\b\f"), R"("a\"b\\c\n\r\t\b\f")");
  EXPECT_EQ(json_of(std::string_view("\0\x01\x1F\x7F", 4)), "\"\\u0000\\u0001\\u001f\x7F\"");
  EXPECT_EQ(json_of("a long text with one quote at its very end\""),
            "\"a long text with one quote at its very end\\\"\"");
}

TEST(Json, KeepsValidUtf8AndReplacesTheRest) {
  EXPECT_EQ(json_of("é€😀"), "\"é€😀\"");
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(json_of("\xFF"), "\"" + bad + "\"");
  EXPECT_EQ(json_of("\xC0\x80"), "\"" + bad + bad + "\"");                      // overlong
  EXPECT_EQ(json_of("\xED\xA0\x80"), "\"" + bad + bad + bad + "\"");            // a surrogate
  EXPECT_EQ(json_of("\xF4\x90\x80\x80"), "\"" + bad + bad + bad + bad + "\"");  // beyond U+10FFFF
  EXPECT_EQ(json_of("\xE2\x82"), "\"" + bad + bad + "\"");                      // cut at the end
  EXPECT_EQ(json_of("1234567\xE2\x82\xAC"
                    "890"),
            "\"1234567€890\"");  // over the word of eight
  EXPECT_EQ(json_of("12345678\xE2"
                    "abcdefgh"),
            "\"12345678" + bad + "abcdefgh\"");
}

TEST(Json, AnyBytesGiveTextThatAParserReads) {
  Rng rng(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text(rng.below(40), '\0');
    const uint64_t range = round % 2 == 0 ? 256 : 128;
    for (char& c : text) c = static_cast<char>(rng.below(range));
    const nlohmann::json parsed = nlohmann::json::parse(json_of(text), nullptr, false);
    ASSERT_TRUE(parsed.is_string());
    if (range == 128) {
      EXPECT_EQ(parsed.get<std::string>(), text);
    }
  }
}

TEST(Json, EachByteGrowsSixfoldAtMost) {
  for (int c = 0; c < 256; ++c) {
    EXPECT_LE(json_of(std::string(64, static_cast<char>(c))).size(), 2 + 64 * kJsonGrowth);
  }
}

}  // namespace
}  // namespace trellis
