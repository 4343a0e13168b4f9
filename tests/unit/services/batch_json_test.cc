#include "services/links/bulk/batch_json.h"

#include <gtest/gtest.h>

#include <string>

namespace trellis::services::links {
namespace {

Fault fault_of(std::string_view body) {
  const auto batch = read_batch(body);
  EXPECT_FALSE(batch) << body;
  return batch ? Fault{} : batch.error();
}

TEST(BatchJson, CutsTheBodyIntoTheTextsOfItsLinks) {
  const auto batch = read_batch(R"( {"atomic" : false, "links":[ {"url":"a"} , {"b":{"c":"}\"{"},"d":[{}]}]} )");
  ASSERT_TRUE(batch) << batch.error().detail;
  EXPECT_FALSE(batch->atomic);
  ASSERT_EQ(batch->links.size(), 2u);
  EXPECT_EQ(batch->links[0], R"({"url":"a"})");
  EXPECT_EQ(batch->links[1], R"({"b":{"c":"}\"{"},"d":[{}]})");
}

TEST(BatchJson, IsAtomicUnlessItSaysOtherwise) {
  const auto batch = read_batch(R"({"links":[]})");
  ASSERT_TRUE(batch);
  EXPECT_TRUE(batch->atomic);
  EXPECT_TRUE(batch->links.empty());
}

TEST(BatchJson, RefusesWhatIsNoBatchAndSaysWhy) {
  EXPECT_EQ(fault_of("").detail, "The body must be a JSON object.");
  EXPECT_EQ(fault_of("[]").detail, "The body must be a JSON object.");
  EXPECT_EQ(fault_of("{}").field, "links");
  EXPECT_EQ(fault_of(R"({"links":{}})").field, "links");
  EXPECT_EQ(fault_of(R"({"links":[],"atomic":1})").field, "atomic");
  EXPECT_EQ(fault_of(R"({"links":[],"links":[]})").detail, "The member is there twice.");
  EXPECT_EQ(fault_of(R"({"links":[],"atmoic":true})").code, "unknown_member");
  EXPECT_NE(fault_of(R"({"links":[],"atmoic":true})").detail.find("atomic"), std::string::npos);
  EXPECT_EQ(fault_of(R"({"links":[{},1]})").detail, "links[1] is no JSON object.");
  EXPECT_EQ(fault_of(R"({"links":[{}]} x)").code, "invalid_json");
  EXPECT_EQ(fault_of(R"({"links":[{}]} x)").detail, "The body is not valid JSON: byte 16 does not fit.");
  EXPECT_EQ(fault_of(R"({"links":[{})").code, "invalid_json");
  EXPECT_EQ(fault_of(R"({"links":[{})").detail, "The body is not valid JSON: it ends too early.");
  EXPECT_EQ(fault_of(R"({"links":[{"a":")").detail, "links[0] is no JSON object.");
}

TEST(BatchJson, TakesTenThousandLinksAndNotOneMore) {
  std::string body = R"({"links":[{})";
  for (size_t i = 1; i < kMaxBatch; ++i) body += ",{}";
  EXPECT_EQ(read_batch(body + "]}")->links.size(), kMaxBatch);
  EXPECT_EQ(fault_of(body + ",{}]}").detail, "A batch has 10,000 links at most.");
}

}  // namespace
}  // namespace trellis::services::links
