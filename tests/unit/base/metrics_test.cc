#include "base/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/rng.h"

namespace trellis {
namespace {

using namespace std::chrono_literals;

size_t occurrences(std::string_view text, std::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) ++count;
  return count;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(Counter, SumsWhatLoopsAndOtherThreadsAdd) {
  Counter counter;
  constexpr uint64_t kAdds = 20000;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 6; ++i) {
    threads.emplace_back([&counter, i] {
      if (i < 3) set_metrics_slot(i);  // the others share the last slot
      for (uint64_t n = 0; n < kAdds; ++n) counter.add(2);
    });
  }
  uint64_t before = 0;
  for (int i = 0; i < 100; ++i) {
    const uint64_t now = counter.value();
    EXPECT_GE(now, before);
    before = now;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 6 * 2 * kAdds);
}

TEST(Counter, TakesASlotBeyondTheLastAsTheSharedOne) {
  Counter counter;
  std::thread([&counter] {
    set_metrics_slot(100000);
    counter.add();
  }).join();
  EXPECT_EQ(counter.value(), 1u);
}

TEST(Histogram, CountsFromManyThreads) {
  Histogram histogram;
  constexpr int kRecords = 5000;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&histogram, i] {
      if (i < 2) set_metrics_slot(i);
      for (int n = 0; n < kRecords; ++n) histogram.record(1ms);
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_LE(histogram.snapshot().count, 4u * kRecords);
  for (std::thread& thread : threads) thread.join();
  const Histogram::Snapshot snapshot = histogram.snapshot();
  EXPECT_EQ(snapshot.count, 4u * kRecords);
  EXPECT_NEAR(snapshot.sum_seconds, 4 * kRecords * 1e-3, 1e-9);
}

TEST(Histogram, BucketsAreInOrderAndAtMostFivePercentWide) {
  for (size_t b = 1; b + 1 < Histogram::buckets(); ++b) {
    const double low = Histogram::upper_bound(b - 1);
    const double high = Histogram::upper_bound(b);
    ASSERT_GT(high, low);
    ASSERT_LE((high - low) / low, 0.05 + 1e-12);
    const Duration middle(static_cast<int64_t>((low + high) / 2 * 1e9));
    ASSERT_EQ(Histogram::bucket_of(middle), b);
  }
  EXPECT_EQ(Histogram::bucket_of(-1s), 0u);
  EXPECT_EQ(Histogram::bucket_of(0ns), 0u);
  EXPECT_EQ(Histogram::bucket_of(1us), 0u);
  EXPECT_LT(Histogram::bucket_of(1h), Histogram::buckets() - 1);
  EXPECT_EQ(Histogram::bucket_of(1000h), Histogram::buckets() - 1);
  EXPECT_EQ(Histogram::bucket_of(Duration::max()), Histogram::buckets() - 1);
}

TEST(Histogram, QuantilesAreWithinFivePercent) {
  Rng rng(11);
  Histogram histogram;
  std::vector<double> exact;
  for (int i = 0; i < 50000; ++i) {
    const double span = std::exp(std::log(2e-6) + rng.unit() * std::log(30 / 2e-6));
    exact.push_back(span);
    histogram.record(Duration(static_cast<int64_t>(span * 1e9)));
  }
  std::sort(exact.begin(), exact.end());
  const Histogram::Snapshot snapshot = histogram.snapshot();
  for (const double q : {0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const double expected =
        exact[std::min(exact.size() - 1, static_cast<size_t>(q * static_cast<double>(exact.size())))];
    EXPECT_NEAR(snapshot.quantile(q) / expected, 1, 0.05) << q;
  }
}

TEST(Histogram, QuantileOfOneValueIsNearItAtBothEnds) {
  Histogram histogram;
  EXPECT_EQ(histogram.snapshot().quantile(0.5), 0);
  histogram.record(100ms);
  EXPECT_NEAR(histogram.snapshot().quantile(0), 0.1, 0.005);
  EXPECT_NEAR(histogram.snapshot().quantile(1), 0.1, 0.005);
  EXPECT_NEAR(histogram.snapshot().quantile(7), 0.1, 0.005);
}

TEST(Histogram, DifferenceOfSnapshotsIsWhatCameBetween) {
  Histogram histogram;
  for (int i = 0; i < 10; ++i) histogram.record(1ms);
  const Histogram::Snapshot earlier = histogram.snapshot();
  for (int i = 0; i < 4; ++i) histogram.record(1s);
  const Histogram::Snapshot between = histogram.snapshot().minus(earlier);
  EXPECT_EQ(between.count, 4u);
  EXPECT_NEAR(between.sum_seconds, 4, 1e-9);
  EXPECT_NEAR(between.quantile(0.01), 1, 0.05);
  EXPECT_EQ(histogram.snapshot().minus({}).count, 14u);
  EXPECT_EQ(earlier.minus(histogram.snapshot()).count, 0u);
}

TEST(Metrics, GivesTheSameObjectForTheSameNameAndLabelsInAnyOrder) {
  Metrics metrics;
  Counter& one = metrics.counter("a_total", "A.", {{"x", "1"}, {"y", "2"}});
  EXPECT_EQ(&one, &metrics.counter("a_total", "A.", {{"y", "2"}, {"x", "1"}}));
  EXPECT_NE(&one, &metrics.counter("a_total", "A.", {{"x", "2"}, {"y", "2"}}));
  EXPECT_NE(&one, &metrics.counter("a_total", "A."));
}

TEST(Metrics, PrintsHelpAndTypeOnceAName) {
  Metrics metrics;
  metrics.counter("requests_total", "Requests\nby \\ route", {{"route", "a"}}).add(3);
  metrics.counter("requests_total", "Requests\nby \\ route", {{"route", "b"}}).add(4);
  metrics.gauge("depth", "Depth.").set(1.5);
  EXPECT_EQ(metrics.prometheus_text(),
            "# HELP depth Depth.\n# TYPE depth gauge\ndepth 1.5\n"
            "# HELP requests_total Requests\\nby \\\\ route\n# TYPE requests_total counter\n"
            "requests_total{route=\"a\"} 3\nrequests_total{route=\"b\"} 4\n");
}

TEST(Metrics, EscapesLabels) {
  Metrics metrics;
  metrics.counter("a_total", "A.", {{"path", "a\"b\\c\nd"}}).add();
  EXPECT_TRUE(has_line(metrics.prometheus_text(), R"(a_total{path="a\"b\\c\nd"} 1)"));
}

TEST(Metrics, PrintsSpecialNumbersAsPrometheusReadsThem) {
  Metrics metrics;
  metrics.gauge("a", "A.").set(HUGE_VAL);
  metrics.gauge("b", "B.").set(-HUGE_VAL);
  metrics.gauge("c", "C.").set(NAN);
  const std::string text = metrics.prometheus_text();
  EXPECT_TRUE(has_line(text, "a +Inf"));
  EXPECT_TRUE(has_line(text, "b -Inf"));
  EXPECT_TRUE(has_line(text, "c NaN"));
}

TEST(Metrics, PrintsHistogramsAsCumulativeBuckets) {
  Metrics metrics;
  Histogram& histogram = metrics.histogram("seconds", "Time.", {{"route", "r"}});
  for (const Duration span :
       {Duration(40us), Duration(90us), Duration(900us), Duration(9ms), Duration(9s), Duration(90s)}) {
    histogram.record(span);
  }
  const std::string text = metrics.prometheus_text();
  EXPECT_EQ(occurrences(text, "# TYPE seconds histogram\n"), 1u);
  EXPECT_TRUE(has_line(text, R"(seconds_bucket{route="r",le="5e-05"} 1)")) << text;
  EXPECT_TRUE(has_line(text, R"(seconds_bucket{route="r",le="0.0001"} 2)"));
  EXPECT_TRUE(has_line(text, R"(seconds_bucket{route="r",le="0.001"} 3)"));
  EXPECT_TRUE(has_line(text, R"(seconds_bucket{route="r",le="0.01"} 4)"));
  EXPECT_TRUE(has_line(text, R"(seconds_bucket{route="r",le="10"} 5)"));
  EXPECT_TRUE(has_line(text, R"(seconds_bucket{route="r",le="+Inf"} 6)"));
  EXPECT_TRUE(has_line(text, R"(seconds_count{route="r"} 6)"));
  const size_t buckets = occurrences(text, "seconds_bucket{");
  EXPECT_GE(buckets, 25u);
  EXPECT_LE(buckets, 40u);
  uint64_t before = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("seconds_bucket")) continue;
    const uint64_t now = std::stoull(line.substr(line.rfind(' ') + 1));
    EXPECT_GE(now, before);
    before = now;
  }
}

TEST(Metrics, ComputesGaugesWhenScrapedUntilTheTokenGoes) {
  Metrics metrics;
  double value = 1;
  std::shared_ptr<void> token = metrics.computed("c", "C.", {{"k", "v"}}, [&value] { return value; });
  EXPECT_TRUE(has_line(metrics.prometheus_text(), R"(c{k="v"} 1)"));
  value = 2;
  EXPECT_TRUE(has_line(metrics.prometheus_text(), R"(c{k="v"} 2)"));
  token.reset();
  EXPECT_EQ(metrics.prometheus_text(), "");
}

TEST(Metrics, ATokenThatWasReplacedRemovesNothing) {
  Metrics metrics;
  std::shared_ptr<void> first = metrics.computed("c", "C.", {}, [] { return 1.0; }, true);
  std::shared_ptr<void> second = metrics.computed("c", "C.", {}, [] { return 2.0; }, true);
  first.reset();
  EXPECT_EQ(metrics.prometheus_text(), "# HELP c C.\n# TYPE c counter\nc 2\n");
}

TEST(Metrics, ATokenMayOutliveTheRegistry) {
  std::shared_ptr<void> token;
  {
    Metrics metrics;
    token = metrics.computed("c", "C.", {}, [] { return 1.0; });
  }
  token.reset();
}

TEST(Metrics, WhatIsHeldGoesWithTheLastWhoHoldsItAndBeginsAnew) {
  Metrics metrics;
  std::shared_ptr<Counter> first = metrics.held_counter("c_total", "C.", {{"host", "a"}, {"code", "200"}});
  std::shared_ptr<Counter> second = metrics.held_counter("c_total", "C.", {{"code", "200"}, {"host", "a"}});
  EXPECT_EQ(first.get(), second.get());
  first->add(2);
  first.reset();
  EXPECT_TRUE(has_line(metrics.prometheus_text(), "c_total{host=\"a\",code=\"200\"} 2"));
  second.reset();
  EXPECT_EQ(metrics.prometheus_text(), "");
  first = metrics.held_counter("c_total", "C.", {{"host", "a"}, {"code", "200"}});
  EXPECT_EQ(first->value(), 0U);
  std::shared_ptr<Histogram> times = metrics.held_histogram("h", "H.", {});
  times->record(1ms);
  EXPECT_TRUE(has_line(metrics.prometheus_text(), "h_count 1"));
  times.reset();
  first.reset();
  EXPECT_EQ(metrics.prometheus_text(), "");
}

TEST(Metrics, WhatIsGivenForEverStaysHoweverItIsHeldBeside) {
  Metrics metrics;
  metrics.held_counter("c_total", "C.", {})->add();
  std::shared_ptr<Counter> held = metrics.held_counter("c_total", "C.", {});
  Counter& kept = metrics.counter("c_total", "C.");
  held->add(3);
  held.reset();
  EXPECT_EQ(kept.value(), 3U);
  EXPECT_TRUE(has_line(metrics.prometheus_text(), "c_total 3"));
}

TEST(Metrics, HeldSeriesOfANameHaveALimit) {
  Metrics metrics;
  std::vector<std::shared_ptr<Counter>> held;
  for (size_t i = 0; i < kMostSeries; ++i) held.push_back(metrics.held_counter("c", "C.", {{"i", std::to_string(i)}}));
  EXPECT_EQ(occurrences(metrics.prometheus_text(), "left_out"), 0U);
  std::shared_ptr<Counter> beyond = metrics.held_counter("c", "C.", {{"i", "beyond"}});
  beyond->add();
  EXPECT_EQ(beyond->value(), 1U);
  EXPECT_EQ(metrics.held_counter("c", "C.", {{"i", "7"}}).get(), held[7].get()) << "one that is there";
  std::string text = metrics.prometheus_text();
  EXPECT_EQ(occurrences(text, "beyond"), 0U);
  EXPECT_TRUE(has_line(text, "trellis_metrics_left_out 1"));
  held[7].reset();
  held[7] = metrics.held_counter("c", "C.", {{"i", "new"}});
  EXPECT_EQ(occurrences(metrics.prometheus_text(), "i=\"new\""), 1U);
}

TEST(Metrics, AHolderMayOutliveTheRegistry) {
  std::shared_ptr<Counter> held;
  {
    Metrics metrics;
    held = metrics.held_counter("c", "C.", {});
  }
  held.reset();
}

TEST(Metrics, RegistersAndScrapesFromSeveralThreads) {
  Metrics metrics;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&metrics, t] {
      for (int i = 0; i < 200; ++i) {
        metrics.counter("n_total", "N.", {{"i", std::to_string(i)}}).add();
        metrics.histogram("h", "H.").record(1ms);
        metrics.held_counter("held_total", "N.", {{"i", std::to_string(i % 4)}})->add();
        const std::shared_ptr<void> token = metrics.computed("g" + std::to_string(t), "G.", {}, [] { return 1.0; });
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_NO_FATAL_FAILURE(metrics.prometheus_text());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(occurrences(metrics.prometheus_text(), "} 3\n"), 200u);
}

}  // namespace
}  // namespace trellis
