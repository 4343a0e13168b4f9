#include "cache/edge/purge_file.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace trellis::cache {
namespace {

constexpr uint32_t kSalt = 77;

PurgeRecord record(uint64_t number, std::string text) {
  return {.number = number,
          .at_ms = -5,
          .origin = 0xFFEE'DDCC'BBAA'9988,
          .origin_number = number * 2,
          .rule = {.kind = PurgeRule::Kind::prefix, .text = std::move(text), .soft = number % 2 == 0}};
}
void append(std::string& file, const std::vector<PurgeRecord>& records) {
  std::string payload;
  for (const PurgeRecord& one : records) append_purge_record(payload, one);
  append_purge_frame(file, payload, kSalt);
}

TEST(PurgeFile, GivesBackWhatWasWritten) {
  std::string file = purge_file_header(kSalt);
  append(file, {record(1, "a/"), record(2, "b/")});
  std::string payload;
  append_purge_mark(payload, {.origin = 5, .known = 7, .let_go = 3});
  append_purge_mark(payload, {.origin = 5, .known = 9, .let_go = 2});
  append_purge_floor(payload, 40);
  append_purge_newest(payload, 41);
  append_purge_frame(file, payload, kSalt);
  const auto read = read_purge_file(file);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->records, (std::vector{record(1, "a/"), record(2, "b/")}));
  EXPECT_EQ(read->marks, (std::vector<PurgeMark>{{.origin = 5, .known = 9, .let_go = 3}}));
  EXPECT_EQ(read->floor, 40u);
  EXPECT_EQ(read->newest, 41u);
  EXPECT_EQ(read->end, file.size());
  EXPECT_FALSE(read->torn || read->damaged);
}

TEST(PurgeFile, ATornTailIsNoDamageWhereverItWasTorn) {
  std::string whole = purge_file_header(kSalt);
  append(whole, {record(1, "a/")});
  std::string longer = whole;
  append(longer, {record(2, "b/"), record(3, "c/")});
  for (size_t size = whole.size() + 1; size < longer.size(); ++size) {
    for (const bool zeros : {false, true}) {
      std::string torn = longer.substr(0, size);
      if (zeros) torn.resize(longer.size(), '\0');
      const auto read = read_purge_file(torn);
      ASSERT_TRUE(read);
      EXPECT_TRUE(read->torn && !read->damaged) << size;
      EXPECT_EQ(read->records.size(), 1u);
      EXPECT_EQ(read->end, whole.size());
    }
  }
}

TEST(PurgeFile, ABitThatFellOverBeforeAWholeFrameIsDamage) {
  std::string file = purge_file_header(kSalt);
  append(file, {record(1, "a/")});
  const size_t behind_first = file.size();
  append(file, {record(2, "b/")});
  for (size_t i = 0; i < behind_first * 8; ++i) {
    std::string bad = file;
    bad[i / 8] = static_cast<char>(bad[i / 8] ^ (1 << i % 8));
    if (i / 8 >= 20 && i / 8 < kPurgeHeader) continue;  // zeros that nobody reads
    const auto read = read_purge_file(bad);
    ASSERT_TRUE(read);
    EXPECT_TRUE(read->damaged) << i;
  }
}

TEST(PurgeFile, ALaterVersionIsRefusedAndAShortFileDamaged) {
  EXPECT_TRUE(read_purge_file("")->damaged);
  EXPECT_TRUE(read_purge_file("TRLPURGE")->damaged);
  EXPECT_TRUE(read_purge_file(std::string(100, 'x'))->damaged);
  EXPECT_FALSE(read_purge_file(purge_file_header(1))->damaged);
}

TEST(PurgeFile, BytesUnderAnotherSaltAreNoFrame) {
  std::string file = purge_file_header(kSalt);
  std::string payload;
  append_purge_record(payload, record(1, "a/"));
  append_purge_frame(file, payload, kSalt + 1);
  const auto read = read_purge_file(file);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->records.empty());
  EXPECT_TRUE(read->torn);
}

}  // namespace
}  // namespace trellis::cache
