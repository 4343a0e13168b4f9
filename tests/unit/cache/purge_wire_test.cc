#include "cache/edge/purge_wire.h"

#include <gtest/gtest.h>

#include <string>

namespace trellis::cache {
namespace {

PurgeRecord record(uint64_t number) {
  return {.number = number,
          .at_ms = 5,
          .origin = 9,
          .origin_number = number,
          .rule = {.kind = PurgeRule::Kind::tag, .text = "red", .soft = true}};
}

TEST(PurgeWire, ABatchArrivesAsItWasSent) {
  for (const bool more : {false, true}) {
    const PurgeBatch sent{.records = {record(1), record(2)},
                          .extents = {{.origin = 9, .after = 0, .known = 2}, {.origin = 8, .after = 3, .known = 3}},
                          .more = more};
    const auto got = decode_purge_batch(encode_purge_batch(sent));
    ASSERT_TRUE(got);
    EXPECT_EQ(got->records, sent.records);
    EXPECT_EQ(got->extents, sent.extents);
    EXPECT_EQ(got->more, more);
  }
}

TEST(PurgeWire, MarksTellWhatIsKnownAndNotWhatWasLetGo) {
  const auto got = decode_purge_marks(encode_purge_marks({{.origin = 7, .known = 5, .let_go = 4}}));
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, (std::vector<PurgeMark>{{.origin = 7, .known = 5, .let_go = 0}}));
}

TEST(PurgeWire, WhatIsNotWholeOrTooMuchIsRefused) {
  const std::string bytes = encode_purge_batch({.records = {record(1)}, .extents = {{9, 0, 1}}});
  for (size_t size = 2; size < bytes.size(); ++size) {
    const auto got = decode_purge_batch(std::string_view(bytes).substr(0, size));
    EXPECT_TRUE(!got || got->records.empty()) << size;
  }
  EXPECT_FALSE(decode_purge_batch(""));
  EXPECT_FALSE(decode_purge_batch("\x02"));
  PurgeBatch many;
  many.records.resize(kMaxPurgeBatch + 1, record(1));
  EXPECT_FALSE(decode_purge_batch(encode_purge_batch(many)));
}

}  // namespace
}  // namespace trellis::cache
