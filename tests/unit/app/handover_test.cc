// What a new process is given, and how it and the old one speak.
#include "app/handover.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace trellis::app {
namespace {

using namespace std::chrono_literals;

TEST(Handover, WhatIsGivenIsRead) {
  const auto read = parse_handover(handover_text({{"web", {5, 6}}, {"a;b=c,d", {7}}, {":control", {8}}}, 9));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->line, 9);
  EXPECT_EQ(read->sockets, (SocketsByName{{"web", {5, 6}}, {"a;b=c,d", {7}}, {":control", {8}}}));
}

TEST(Handover, WhatNobodyWroteIsRefused) {
  for (const char* text : {"", "line=", "line=x", "line=1", "77=5", "line=9;=5", "line=9;7=5", "line=9;77=5,",
                           "line=9;77=5,x", "line=9;77", "line=99999999999999"}) {
    EXPECT_FALSE(parse_handover(text)) << text;
  }
  EXPECT_FALSE(parse_handover("line=9;77=" + std::string(100'000, '5')));
}

TEST(Handover, AProcessThatEndsBeforeItIsReadyIsAnError) {
  auto process = NewProcess::begin({"false"}, {});
  ASSERT_TRUE(process);
  const auto step = process->next_step(30s);
  ASSERT_FALSE(step);
  EXPECT_EQ(step.error().code(), Code::unavailable);
}

TEST(Handover, AProcessThatSaysNothingIsNotWaitedForLongerThanThat) {
  auto process = NewProcess::begin({"sleep", "60"}, {});
  ASSERT_TRUE(process);
  const auto step = process->next_step(20ms);
  ASSERT_FALSE(step);
  EXPECT_EQ(step.error().code(), Code::deadline_exceeded);
}

TEST(Handover, AProgramThatIsNotThereIsAnError) { EXPECT_FALSE(NewProcess::begin({"/nonexistent/trellis"}, {})); }

TEST(Handover, ItTellsItsStepsAndHasTheSockets) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const std::string script = "line=${TRELLIS_HANDOVER#line=}; line=${line%%;*}; echo given >&" +
                             std::to_string(pair[1]) + "; echo ready >&$line; sleep 60";
  auto process = NewProcess::begin({"bash", "-c", script}, {{"web", {pair[1]}}});
  ASSERT_TRUE(process);
  const auto step = process->next_step(30s);
  ASSERT_TRUE(step) << step.error().to_string();
  EXPECT_EQ(*step, "ready");
  char text[6] = {};
  ASSERT_EQ(::recv(pair[0], text, 5, 0), 5);
  EXPECT_STREQ(text, "given");
  ::close(pair[0]);
  ::close(pair[1]);
}

}  // namespace
}  // namespace trellis::app
