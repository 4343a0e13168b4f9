// kill -9 in the midst of writing, a hundred times in a row: what is found afterwards is whole, and what the store had
// said is written is there.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/fakes/killed_child.h"
#include "tests/unit/cache/disk_fixture.h"

namespace trellis::cache {
namespace {

constexpr int kRounds = 100;
constexpr int64_t kKeys = 40;

DiskOptions options_in(const std::string& folder) {
  DiskOptions options;
  options.path = folder;
  options.segment_bytes = 1 << 20;
  options.size = 8 * options.segment_bytes;
  return options;
}

// Number n is an object under one of the keys; the numbers of a key rise.
std::string key_of(int64_t number) { return "key " + std::to_string(number % kKeys); }
std::string body_of_number(int64_t number) {
  const std::string name = std::to_string(number);
  return name + ":" + body_of(name, static_cast<size_t>(number * 7919 % 60'000));
}

// Started by the test below and not by itself.
TEST(DiskStoreCrash, DISABLED_Writer) {
  const char* folder = std::getenv("TRELLIS_TEST_DISK");
  const char* first = std::getenv("TRELLIS_TEST_FIRST");
  if (!folder || !first) return;
  Metrics metrics;
  auto store = DiskStore::open(options_in(folder), metrics);
  ASSERT_TRUE(store) << store.error().to_string();
  for (int64_t number = std::atoll(first);; ++number) {
    if (!(*store)->put(object_of(key_of(number), body_of_number(number), std::to_string(number)))) return;
    if (number % 5 != 0) continue;
    (*store)->flush();
    if (!fakes::tell({0, number})) return;
  }
}

TEST(DiskStoreCrash, WhatIsFoundAfterAHundredKillsIsWhole) {
  std::string pattern = testing::TempDir() + "diskcrashXXXXXX";
  const std::string folder = mkdtemp(pattern.data());
  ::setenv("TRELLIS_TEST_DISK", folder.c_str(), 1);
  const auto loop = *Loop::make({});
  int64_t told = 0;
  for (int round = 0; round < kRounds; ++round) {
    ::setenv("TRELLIS_TEST_FIRST", std::to_string(told + 1000).c_str(), 1);
    fakes::kill_after("DiskStoreCrash.DISABLED_Writer", 1 + round * 37 % 30,
                      [&](fakes::Told what) { told = std::max(told, what.number); });
    if (HasFatalFailure()) return;
    Metrics metrics;
    auto opened = DiskStore::open(options_in(folder), metrics);
    ASSERT_TRUE(opened) << opened.error().to_string();
    DiskStore& store = **opened;
    ASSERT_EQ(store.figures().state, DiskState::ok);
    int64_t newest = 0;
    for (int64_t i = 0; i < kKeys; ++i) {
      const std::string key = key_of(i);
      const auto got = fakes::run_task(*loop, get_all(store, key, hash64(key)));
      if (!got) continue;
      const int64_t number = std::atoll(got->meta.c_str());
      ASSERT_EQ(number % kKeys, i);
      ASSERT_EQ(got->body, body_of_number(number)) << "round " << round;
      newest = std::max(newest, number);
    }
    EXPECT_GE(newest, told) << "round " << round;
    EXPECT_EQ(store.figures().damaged, 0u) << "round " << round;
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace trellis::cache
