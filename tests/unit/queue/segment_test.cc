#include "queue/segment.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/crc32c.h"
#include "tests/fakes/faulty_disk.h"

namespace trellis::queue {
namespace {

constexpr uint32_t kSalt = 0x5eed;

class SegmentTest : public testing::Test {
 protected:
  SegmentTest() : file_(*disk_.open("/a.log", Disk::Open::create)), bytes_(encode_header({100, kSalt})) {}

  // A record; of a new batch or of the one that the last record belongs to.
  void add(std::string key, std::optional<std::string> value, bool new_batch = true) {
    if (new_batch) batch_ = static_cast<uint32_t>(bytes_.size());
    Record record;
    record.offset = next_++;
    record.at_ms = static_cast<int64_t>(1000 + record.offset);
    record.batch = batch_;
    record.key = key;
    if (value) record.value = *value;
    positions_.push_back(bytes_.size());
    append_record(bytes_, record, kSalt);
  }
  SegmentScan scan(std::optional<uint64_t> next_base = std::nullopt) {
    EXPECT_TRUE(file_->truncate(0));
    EXPECT_TRUE(file_->write(0, bytes_));
    auto scan = scan_segment(*file_, 100, next_base);
    EXPECT_TRUE(scan) << scan.error().to_string();
    return *std::move(scan);
  }

  FaultyDisk disk_;
  std::unique_ptr<DiskFile> file_;
  std::string bytes_;
  std::vector<size_t> positions_;
  uint64_t next_ = 100;
  uint32_t batch_ = 0;
};

TEST_F(SegmentTest, ReadsBackWhatWasWritten) {
  add("key", "value");
  add("", std::string("\0\n", 2));
  add("gone", std::nullopt);
  const SegmentScan whole = scan();
  EXPECT_EQ(whole.records, 3u);
  EXPECT_EQ(whole.next_offset, 103u);
  EXPECT_EQ(whole.end, bytes_.size());
  EXPECT_EQ(whole.last_at_ms, 1102);
  EXPECT_FALSE(whole.torn);
  RecordCursor cursor(*file_, kSalt, kSegmentHeader, bytes_.size(), 100);
  ASSERT_EQ(*cursor.next(), RecordCursor::Step::record);
  EXPECT_EQ(cursor.record().key, "key");
  EXPECT_EQ(cursor.record().value, "value");
  ASSERT_EQ(*cursor.next(), RecordCursor::Step::record);
  EXPECT_EQ(cursor.record().value, std::string_view("\0\n", 2));
  ASSERT_EQ(*cursor.next(), RecordCursor::Step::record);
  EXPECT_EQ(cursor.record().key, "gone");
  EXPECT_EQ(cursor.record().value, std::nullopt);
  EXPECT_EQ(*cursor.next(), RecordCursor::Step::end);
}

TEST_F(SegmentTest, TellsATornTailWhereverItIsCut) {
  add("a", "one");
  const size_t whole = bytes_.size();
  add("b", "two");
  const std::string all = bytes_;
  for (size_t size = whole; size < all.size(); ++size) {
    bytes_ = all.substr(0, size);
    const SegmentScan found = scan();
    EXPECT_EQ(found.records, 1u);
    EXPECT_EQ(found.end, whole);
    EXPECT_EQ(found.torn, size > whole);
    EXPECT_TRUE(found.damage.empty());
  }
}

TEST_F(SegmentTest, TakesAHoleInTheLastBatchForTorn) {
  add("a", "one");
  add("b", std::string(2000, 'x'));
  add("c", "three", false);
  bytes_[positions_[1] + 700] ^= 1;
  const SegmentScan found = scan();
  EXPECT_TRUE(found.torn);
  EXPECT_EQ(found.end, positions_[1]);
  EXPECT_TRUE(found.damage.empty());
}

TEST_F(SegmentTest, TakesABadRecordBeforeALaterBatchForDamage) {
  add("a", "one");
  add("b", "two");
  add("c", "three", false);
  add("d", "four");
  bytes_[positions_[1] + kRecordHeader] ^= 1;
  const SegmentScan found = scan();
  EXPECT_FALSE(found.torn);
  ASSERT_EQ(found.damage.size(), 1u);
  EXPECT_EQ(found.damage[0].position, positions_[1]);
  EXPECT_EQ(found.damage[0].end, positions_[2]);
  EXPECT_EQ(found.damage[0].first_offset, 101u);
  EXPECT_EQ(found.damage[0].next_offset, 102u);
  EXPECT_EQ(found.records, 3u);
  EXPECT_EQ(found.next_offset, 104u);
}

TEST_F(SegmentTest, ServesNothingThatWasChanged) {
  for (int i = 0; i < 20; ++i) add("key" + std::to_string(i), std::string(static_cast<size_t>(i) * 7, 'v'));
  const std::string all = bytes_;
  for (size_t at = 0; at < all.size(); ++at) {
    bytes_ = all;
    bytes_[at] = static_cast<char>(bytes_[at] ^ 0x40);
    const SegmentScan found = scan(120);
    if (at >= 28 && at < kSegmentHeader) continue;  // the header's last word is not used
    EXPECT_EQ(found.damage.size(), 1u) << at;
    EXPECT_EQ(found.records, at < kSegmentHeader ? 0u : 19u) << at;
  }
}

TEST_F(SegmentTest, DoesNotTakeBytesInAValueForARecord) {
  std::string inner;
  append_record(inner, Record{.offset = 105, .at_ms = 1, .batch = 0, .key = "evil", .value = "x"}, kSalt + 1);
  add("a", inner);
  add("b", "two");
  bytes_[positions_[0] + 1] ^= 1;
  const SegmentScan found = scan();
  EXPECT_EQ(found.records, 1u);
  EXPECT_EQ(found.next_offset, 102u);
}

TEST_F(SegmentTest, IndexesAboutEvery64KiB) {
  for (int i = 0; i < 1000; ++i) add("k", std::string(1000, 'v'));
  const SegmentScan found = scan();
  EXPECT_GT(found.index.size(), 14u);
  EXPECT_LT(found.index.size(), 18u);
  for (const uint64_t offset : {100u, 101u, 599u, 1099u}) {
    const uint64_t position = found.position_of_offset(offset);
    EXPECT_LE(position, positions_[offset - 100]);
    EXPECT_LE(positions_[offset - 100] - position, kIndexEvery + 2048);
    EXPECT_EQ(found.position_of_time(static_cast<int64_t>(1000 + offset)) <= positions_[offset - 100], true);
  }
}

TEST_F(SegmentTest, RefusesALaterVersion) {
  bytes_[8] = 9;
  EXPECT_EQ(decode_header(bytes_).error().code(), Code::data_loss);
  const uint32_t checksum = crc32c(std::string_view(bytes_).substr(0, 24));
  std::memcpy(bytes_.data() + 24, &checksum, sizeof(checksum));
  EXPECT_EQ(decode_header(bytes_).error().code(), Code::failed_precondition);
}

TEST(SegmentName, IsTheBaseOffset) {
  EXPECT_EQ(segment_name(42), "00000000000000000042.log");
  EXPECT_EQ(base_of_segment("00000000000000000042.log"), 42u);
  EXPECT_EQ(base_of_segment("0000000000000000042.log"), std::nullopt);
  EXPECT_EQ(base_of_segment("00000000000000000042.log.compact"), std::nullopt);
  EXPECT_EQ(base_of_segment("99999999999999999999.log"), std::nullopt);
  EXPECT_EQ(base_of_segment("-0000000000000000042.log"), std::nullopt);
}

}  // namespace
}  // namespace trellis::queue
