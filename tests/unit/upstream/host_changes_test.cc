#include "upstream/host_changes.h"

#include <gtest/gtest.h>

#include "upstream/hosts.h"

namespace trellis::upstream {
namespace {

HostFacts fact(const std::string& name, const std::string& authority, const std::string& host, uint16_t port) {
  HostFacts facts;
  facts.name = name;
  facts.authority = authority;
  facts.address = *net::make_address(host, port);
  return facts;
}

const std::vector<HostFacts> kMembers = {
    fact("10.0.0.1:80", "10.0.0.1:80", "10.0.0.1", 80),
    fact("api:80@10.0.1.1", "api:80", "10.0.1.1", 80),
    fact("api:80@10.0.1.2", "api:80", "10.0.1.2", 80),
};

Code code_of(const Result<>& result) { return result ? Code::internal : result.error().code(); }

TEST(HostChanges, AddAHostOnce) {
  HostChanges changes;
  ASSERT_TRUE(changes.add("10.0.0.9:80", {.weight = 3, .zone = "eu", .backup = true}, kMembers));
  ASSERT_EQ(changes.added.size(), 1u);
  EXPECT_EQ(changes.added[0].at.to_text(), "10.0.0.9:80");
  EXPECT_EQ(changes.added[0].weight, 3u);
  EXPECT_EQ(code_of(changes.add("10.0.0.9:80", {}, kMembers)), Code::already_exists);
  EXPECT_EQ(code_of(changes.add("10.0.0.1:80", {}, kMembers)), Code::already_exists);
  EXPECT_EQ(code_of(changes.add("api:80", {}, kMembers)), Code::already_exists);
}

TEST(HostChanges, RefuseToAddWhatIsNoHost) {
  HostChanges changes;
  for (const char* host : {"", "10.0.0.9", "10.0.0.9:0", "a b:80", ":80", "10.0.0.9:99999"})
    EXPECT_EQ(code_of(changes.add(host, {}, kMembers)), Code::invalid_argument) << host;
  EXPECT_EQ(code_of(changes.add("10.0.0.9:80", {.weight = 1001}, kMembers)), Code::invalid_argument);
  EXPECT_EQ(code_of(changes.add("10.0.0.9:80", {.zone = "a b"}, kMembers)), Code::invalid_argument);
  EXPECT_TRUE(changes.empty());
}

TEST(HostChanges, RemoveAConfiguredHostAndUndoItByAdding) {
  HostChanges changes;
  ASSERT_TRUE(changes.remove("10.0.0.1:80", kMembers));
  EXPECT_TRUE(changes.removes(kMembers[0]));
  EXPECT_FALSE(changes.removes(kMembers[1]));
  ASSERT_TRUE(changes.add("10.0.0.1:80", {}, {kMembers[1], kMembers[2]}));
  EXPECT_TRUE(changes.empty());
}

TEST(HostChanges, RemoveOneOrAllAddressesOfAName) {
  HostChanges one;
  ASSERT_TRUE(one.remove("api:80@10.0.1.1", kMembers));
  EXPECT_TRUE(one.removes(kMembers[1]));
  EXPECT_FALSE(one.removes(kMembers[2]));
  HostChanges all;
  ASSERT_TRUE(all.remove("api:80", kMembers));
  EXPECT_TRUE(all.removes(kMembers[1]));
  EXPECT_TRUE(all.removes(kMembers[2]));
  ASSERT_TRUE(one.add("api:80", {}, {kMembers[0]}));  // undoes the one, too
  EXPECT_TRUE(one.empty());
}

TEST(HostChanges, RemoveAnAddedHostWithAllThatWasSaidOfIt) {
  HostChanges changes;
  ASSERT_TRUE(changes.add("10.0.0.9:80", {}, kMembers));
  auto members = kMembers;
  members.push_back(fact("10.0.0.9:80", "10.0.0.9:80", "10.0.0.9", 80));
  ASSERT_TRUE(changes.drain("10.0.0.9:80", true, members));
  ASSERT_TRUE(changes.set_weight("10.0.0.9:80", 2, members));
  ASSERT_TRUE(changes.remove("10.0.0.9:80", members));
  EXPECT_TRUE(changes.empty());
}

TEST(HostChanges, RefuseWhatIsNotThere) {
  HostChanges changes;
  EXPECT_EQ(code_of(changes.remove("10.0.0.2:80", kMembers)), Code::not_found);
  EXPECT_EQ(code_of(changes.drain("10.0.0.2:80", true, kMembers)), Code::not_found);
  EXPECT_EQ(code_of(changes.set_weight("10.0.0.2:80", 1, kMembers)), Code::not_found);
  EXPECT_TRUE(changes.empty());
}

TEST(HostChanges, DrainAndUndrain) {
  HostChanges changes;
  ASSERT_TRUE(changes.drain("10.0.1.1:80", true, kMembers));  // by its address
  EXPECT_TRUE(changes.drains(kMembers[1]));
  EXPECT_FALSE(changes.drains(kMembers[2]));
  ASSERT_TRUE(changes.drain("api:80@10.0.1.1", false, kMembers));  // and back by its name
  EXPECT_TRUE(changes.empty());
  ASSERT_TRUE(changes.drain("api:80", true, kMembers));
  EXPECT_TRUE(changes.drains(kMembers[2]));
  EXPECT_EQ(code_of(changes.drain("api:80@10.0.1.1", false, kMembers)), Code::failed_precondition);
  ASSERT_TRUE(changes.drain("api:80", false, kMembers));
  EXPECT_TRUE(changes.empty());
}

TEST(HostChanges, WhatWasSaidOfAHostThatWentCanBeTakenBack) {
  HostChanges changes;
  ASSERT_TRUE(changes.drain("10.0.0.1:80", true, kMembers));
  ASSERT_TRUE(changes.drain("api:80@10.0.1.1", true, kMembers));
  ASSERT_TRUE(changes.set_weight("api:80@10.0.1.1", 3, kMembers));
  EXPECT_TRUE(changes.drain("10.0.0.1:80", false, {}));
  EXPECT_EQ(code_of(changes.drain("10.0.0.1:80", false, {})), Code::not_found);
  EXPECT_TRUE(changes.remove("api:80@10.0.1.1", {}));
  EXPECT_TRUE(changes.empty());
}

TEST(HostChanges, GiveTheClosestWeight) {
  HostChanges changes;
  ASSERT_TRUE(changes.set_weight("api:80", 2, kMembers));
  ASSERT_TRUE(changes.set_weight("api:80@10.0.1.1", 9, kMembers));
  EXPECT_EQ(changes.weight_of(kMembers[1]), 9u);
  EXPECT_EQ(changes.weight_of(kMembers[2]), 2u);
  EXPECT_EQ(changes.weight_of(kMembers[0]), std::nullopt);
}

TEST(HostChanges, HaveALimit) {
  HostChanges changes;
  for (size_t i = 0; i < kMaxChangedHosts; ++i)
    ASSERT_TRUE(changes.add("10.0.9.9:" + std::to_string(1 + i), {}, kMembers));
  EXPECT_EQ(code_of(changes.add("10.0.9.9:9999", {}, kMembers)), Code::resource_exhausted);
}

TEST(HostChanges, ComeBackFromTheirFileAsTheyWere) {
  HostChangesByUpstream all;
  HostChanges& changes = all["app"];
  ASSERT_TRUE(changes.add("[::1]:80", {.weight = 0, .zone = "eu", .priority = 3, .backup = true}, kMembers));
  ASSERT_TRUE(changes.add("new.test:81", {}, kMembers));
  ASSERT_TRUE(changes.remove("10.0.0.1:80", kMembers));
  ASSERT_TRUE(changes.drain("api:80", true, kMembers));
  ASSERT_TRUE(changes.set_weight("api:80@10.0.1.1", 9, kMembers));
  all["another"].weights["10.0.0.1:80"] = 4;
  const auto read = read_host_changes(to_json(all));
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(*read, all);
  const auto none = read_host_changes(to_json({}));
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
}

TEST(HostChanges, RefuseABrokenFileWhole) {
  for (const char* text :
       {"", "[]", "{}", R"({"version":2,"upstreams":{}})", R"({"version":1})", R"({"version":1,"upstreams":[]})",
        R"({"version":1,"upstreams":{},"more":1})", R"({"version":1,"upstreams":{"a":1}})",
        R"({"version":1,"upstreams":{"a":{"removed":"x"}}})", R"({"version":1,"upstreams":{"a":{"removed":[1]}}})",
        R"({"version":1,"upstreams":{"a":{"removed":["a b"]}}})", R"({"version":1,"upstreams":{"a":{"other":[]}}})",
        R"({"version":1,"upstreams":{"a":{"weights":{"h:1":1001}}}})",
        R"({"version":1,"upstreams":{"a":{"weights":{"h:1":-1}}}})",
        R"({"version":1,"upstreams":{"a":{"added":[{"weight":1}]}}})",
        R"({"version":1,"upstreams":{"a":{"added":[{"host":"h"}]}}})",
        R"({"version":1,"upstreams":{"a":{"added":[{"host":"h:1","zone":"a b"}]}}})",
        R"({"version":1,"upstreams":{"a":{"added":[{"host":"h:1","other":1}]}}})"}) {
    const auto read = read_host_changes(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code(), Code::data_loss);
  }
}

}  // namespace
}  // namespace trellis::upstream
