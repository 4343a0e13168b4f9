#include "proxy/trace.h"

#include <gtest/gtest.h>

#include <string>

#include "base/arena.h"
#include "base/ids.h"
#include "base/rng.h"
#include "http/handler.h"
#include "http/message.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using http::FieldId;

constexpr std::string_view kParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

// Nothing here touches the loop; a place for one is enough.
runtime::Loop& no_loop() {
  alignas(64) static char place[64];
  return reinterpret_cast<runtime::Loop&>(place);
}

class TraceTest : public ::testing::Test {
 protected:
  Arena arena_;
  http::Request request_{arena_};
  http::RequestContext context_{.arena = arena_, .loop = no_loop(), .started = Time{}};
  Rng rng_{9};
};

TEST(Traceparent, ReadsVersionZero) {
  const std::optional<TraceParent> parent = parse_traceparent(kParent);
  ASSERT_TRUE(parent);
  EXPECT_EQ(parent->trace_id_high, 0x4bf92f3577b34da6u);
  EXPECT_EQ(parent->trace_id_low, 0xa3ce929d0e0e4736u);
  EXPECT_EQ(parent->span_id, 0x00f067aa0ba902b7u);
  EXPECT_TRUE(parent->sampled);
  EXPECT_FALSE(parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")->sampled);
  EXPECT_TRUE(
      parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03")->sampled);  // unknown flags pass
  EXPECT_TRUE(parse_traceparent("00-00000000000000000000000000000001-0000000000000001-00"));
}

TEST(Traceparent, RefusesWhatTheSpecificationForbids) {
  for (const std::string_view value : {
           "", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
           "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",    // upper case
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067aa0ba902b7-01",    //
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",    //
           "00-00000000000000000000000000000000-00f067aa0ba902b7-01",    // zero trace
           "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",    // zero span
           "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",    // the forbidden version
           "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",    //
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",   // version 00 ends here
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",   //
           "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",    //
           "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",    //
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",    //
           "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011",    //
           "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",  // a later version goes on with '-'
       }) {
    EXPECT_FALSE(parse_traceparent(value)) << value;
  }
}

TEST(Traceparent, TakesLaterVersionsByTheirFirstPart) {
  EXPECT_TRUE(parse_traceparent("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
  EXPECT_TRUE(parse_traceparent("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes"));
  EXPECT_TRUE(parse_traceparent("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-"));
}

TEST(Tracestate, KnowsWellFormedLists) {
  for (const std::string_view value : {"a=1", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a=1 , b=2", "a=1,,b=2",
                                       "t@s=v", "0a-_*/=v", "a= leading space stays"}) {
    EXPECT_TRUE(valid_tracestate(value)) << value;
  }
  for (const std::string_view value : {"", ",", "a", "a=", "A=1", "=1", "a=1,a=2", "a=b=c", "a@=1", "@a=1", "a@b@c=1",
                                       "a@1b=1", "a=\x01", "a=\xC3\xA9", "a b=1"}) {
    EXPECT_FALSE(valid_tracestate(value)) << value;
  }
}

TEST(Tracestate, HoldsThirtyTwoMembersAtMost) {
  std::string list;
  for (int i = 0; i < 32; ++i) list += (i > 0 ? "," : "") + std::string("k") + std::to_string(i) + "=v";
  EXPECT_TRUE(valid_tracestate(list));
  EXPECT_FALSE(valid_tracestate(list + ",one=more"));
  EXPECT_FALSE(valid_tracestate("k=" + std::string(257, 'v')));
  EXPECT_FALSE(valid_tracestate(std::string(257, 'k') + "=v"));
}

TEST_F(TraceTest, TakesOverTheParentAndMakesASpan) {
  request_.fields.add(FieldId::traceparent, kParent);
  request_.fields.add(FieldId::tracestate, "a=1");
  request_.fields.add(FieldId::tracestate, "b=2");
  begin_trace(request_, context_, rng_);
  EXPECT_EQ(context_.trace.trace_id_high, 0x4bf92f3577b34da6u);
  EXPECT_EQ(context_.trace.trace_id_low, 0xa3ce929d0e0e4736u);
  EXPECT_EQ(context_.trace.parent_span_id, 0x00f067aa0ba902b7u);
  EXPECT_NE(context_.trace.span_id, 0u);
  EXPECT_NE(context_.trace.span_id, context_.trace.parent_span_id);
  EXPECT_TRUE(context_.trace.sampled);
  EXPECT_EQ(request_.fields.count(FieldId::tracestate), 2u);
}

TEST_F(TraceTest, StartsATraceThatIsNotSampledUnlessAsked) {
  begin_trace(request_, context_, rng_);
  EXPECT_NE(context_.trace.trace_id_high | context_.trace.trace_id_low, 0u);
  EXPECT_NE(context_.trace.span_id, 0u);
  EXPECT_EQ(context_.trace.parent_span_id, 0u);
  EXPECT_FALSE(context_.trace.sampled);
  begin_trace(request_, context_, rng_, true);
  EXPECT_TRUE(context_.trace.sampled);
}

TEST_F(TraceTest, DropsTheTracestateOfAnInvalidParent) {
  request_.fields.add(FieldId::traceparent, "00-nonsense");
  request_.fields.add(FieldId::tracestate, "a=1");
  begin_trace(request_, context_, rng_);
  EXPECT_EQ(context_.trace.parent_span_id, 0u);
  EXPECT_FALSE(request_.fields.has(FieldId::tracestate));
}

TEST_F(TraceTest, DropsAMalformedTracestateButKeepsTheParent) {
  request_.fields.add(FieldId::traceparent, kParent);
  request_.fields.add(FieldId::tracestate, "a=1");
  request_.fields.add(FieldId::tracestate, "a=2");
  begin_trace(request_, context_, rng_);
  EXPECT_NE(context_.trace.parent_span_id, 0u);
  EXPECT_FALSE(request_.fields.has(FieldId::tracestate));
}

TEST_F(TraceTest, TwoTraceparentsCountAsNone) {
  request_.fields.add(FieldId::traceparent, kParent);
  request_.fields.add(FieldId::traceparent, kParent);
  begin_trace(request_, context_, rng_);
  EXPECT_EQ(context_.trace.parent_span_id, 0u);
}

TEST_F(TraceTest, FormatsWhatItReads) {
  begin_trace(request_, context_, rng_, true);
  const std::string_view text = format_traceparent(arena_, context_.trace);
  const std::optional<TraceParent> parent = parse_traceparent(text);
  ASSERT_TRUE(parent) << text;
  EXPECT_EQ(parent->trace_id_high, context_.trace.trace_id_high);
  EXPECT_EQ(parent->trace_id_low, context_.trace.trace_id_low);
  EXPECT_EQ(parent->span_id, context_.trace.span_id);
  EXPECT_TRUE(parent->sampled);
  EXPECT_EQ(format_traceparent(arena_, {.trace_id_low = 1, .span_id = 2}),
            "00-00000000000000000000000000000001-0000000000000002-00");
}

TEST_F(TraceTest, KeepsASafeRequestId) {
  request_.fields.add(FieldId::x_request_id, "Req_1.2-3");
  begin_request_id(request_, context_, WallTime(1s), rng_);
  EXPECT_EQ(context_.request_id, "Req_1.2-3");
}

TEST_F(TraceTest, MakesARequestIdInsteadOfAnUnsafeOne) {
  for (const std::string& id : {std::string("a b"), std::string("a\"b"), std::string("a\nb"), std::string("é"),
                                std::string(), std::string(65, 'a')}) {
    request_.fields.set(FieldId::x_request_id, id);
    begin_request_id(request_, context_, WallTime(1s), rng_);
    EXPECT_EQ(ulid_time(context_.request_id), WallTime(1s)) << id;
  }
  request_.fields.set(FieldId::x_request_id, "one");
  request_.fields.add(FieldId::x_request_id, "two");
  begin_request_id(request_, context_, WallTime(1s), rng_);
  EXPECT_TRUE(ulid_time(context_.request_id));
  EXPECT_TRUE(valid_request_id(std::string(64, 'a')));
}

}  // namespace
}  // namespace trellis::proxy
