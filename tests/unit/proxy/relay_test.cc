// The pump of a relay over real connections, the same on both backends; which route takes which hello; and the line
// that is left of a connection.
#include <nlohmann/json.hpp>

#include "base/metrics.h"
#include "net/client_hello.h"
#include "proxy/relay/pump.h"
#include "proxy/relay/relay_log.h"
#include "proxy/relay/tcp_relay.h"
#include "tests/unit/http/wire_kit.h"
#include "tests/unit/proxy/filter_parts_kit.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using namespace http::test;

class RelayPump : public OnBothBackends {
 protected:
  void SetUp() override {
    OnBothBackends::SetUp();
    if (!loop_) return;
    in_ = &metrics_.counter("in", "");
    out_ = &metrics_.counter("out", "");
  }
  void connect(int receive_buffer = 0) {
    TcpPair near = tcp_pair(*loop_, receive_buffer);
    TcpPair far = tcp_pair(*loop_, receive_buffer);
    near_ = Socket::adopt(near.fd);
    far_ = Socket::adopt(far.fd);
    client_ = std::move(near.far);
    host_ = std::move(far.far);
  }
  void relay(Duration idle = 1h, Deadline lifetime = kNever, PumpFaults faults = {}) {
    pump_.emplace(near_, far_, idle, *in_, *out_, faults);
    group_.spawn(run(*this, lifetime));
  }
  static Task<> run(RelayPump& test, Deadline lifetime) {
    test.end_ = co_await test.pump_->run(lifetime);
    test.near_.close();
    test.far_.close();
  }
  std::string receive(Socket& socket, size_t size) {
    auto got = fakes::run_task(*loop_, receive_bytes(socket, size, after(loop_->now(), 60s)));
    return got ? *got : "error";
  }
  bool ended() {
    return until([&] { return end_.has_value(); });
  }

  Metrics metrics_;
  Counter* in_ = nullptr;
  Counter* out_ = nullptr;
  Socket client_;
  Socket host_;
  Socket near_;
  Socket far_;
  std::optional<RelayEnd> end_;
  std::optional<Pump> pump_;
  TaskGroup group_;
};

TEST_P(RelayPump, PassesBothDirectionsOn) {
  connect();
  relay();
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(client_, "question", soon())));
  EXPECT_EQ(receive(host_, 8), "question");
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(host_, "answer", soon())));
  EXPECT_EQ(receive(client_, 6), "answer");
  client_.close();
  host_.close();
  ASSERT_TRUE(ended());
  EXPECT_EQ(end_, RelayEnd::finished);
  EXPECT_EQ(pump_->bytes_in(), 8U);
  EXPECT_EQ(pump_->bytes_out(), 6U);
  EXPECT_EQ(in_->value(), 8U);
  EXPECT_EQ(out_->value(), 6U);
}

TEST_P(RelayPump, TheEndOfOneDirectionLeavesTheOther) {
  connect();
  relay();
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(client_, "all", soon())));
  client_.shutdown_send();
  auto all = fakes::run_task(*loop_, receive_until(host_, "", soon()));
  ASSERT_TRUE(all);
  EXPECT_EQ(*all, "all") << "and then the end";
  EXPECT_FALSE(end_);
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(host_, "late answer", soon())));
  EXPECT_EQ(receive(client_, 11), "late answer");
  host_.shutdown_send();
  ASSERT_TRUE(ended());
  EXPECT_EQ(end_, RelayEnd::finished);
  auto rest = fakes::run_task(*loop_, receive_until(client_, "", soon()));
  ASSERT_TRUE(rest);
  EXPECT_EQ(*rest, "");
}

// Large pieces are spliced, small ones copied: none is lost or out of order where one follows the other.
TEST_P(RelayPump, LargeAndSmallPiecesStayInOrder) {
  connect();
  relay();
  Rng rng(7);
  std::string text;
  for (int i = 0; i < 60; ++i) {
    const size_t size = i % 3 == 0 ? 1 + rng.next() % 300'000 : 1 + rng.next() % 100;
    for (size_t at = 0; at < size; ++at) text += static_cast<char>(rng.next());
  }
  TaskGroup sending;
  std::optional<Result<>> sent;
  sending.spawn(into(send_text(client_, text, after(loop_->now(), 60s)), sent));
  const std::string got = receive(host_, text.size());
  ASSERT_EQ(got.size(), text.size());
  EXPECT_TRUE(got == text);
  for (int i = 0; i < 40; ++i) {  // small ones, one at a time
    ASSERT_TRUE(fakes::run_task(*loop_, send_text(client_, "small" + std::to_string(i % 10), soon())));
    ASSERT_EQ(receive(host_, 6), "small" + std::to_string(i % 10));
  }
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(host_, "back", soon())));
  EXPECT_EQ(receive(client_, 4), "back");
  client_.close();
  host_.close();
  ASSERT_TRUE(ended());
  EXPECT_EQ(pump_->bytes_in(), text.size() + 240);
}

TEST_P(RelayPump, WhoDoesNotReadSlowsWhoSends) {
  connect(16 * 1024);
  relay();
  const std::string large(64 << 20, 'x');
  TaskGroup sending;
  std::optional<Result<>> sent;
  sending.spawn(into(send_text(client_, large, after(loop_->now(), 60s)), sent));
  // Until nothing moves any more: what is taken lies in the buffers of the kernel.
  uint64_t before = 1;
  ASSERT_TRUE(until([&] {
    for (int i = 0; i < 50; ++i) loop_->run_once(1ms);
    return std::exchange(before, in_->value()) == in_->value();
  }));
  EXPECT_FALSE(sent);
  EXPECT_LT(in_->value(), 32U << 20);
  EXPECT_EQ(receive(host_, large.size()).size(), large.size());
  EXPECT_TRUE(until([&] { return sent.has_value(); }));
}

TEST_P(RelayPump, AResetIsPassedOnAsAReset) {
  for (const bool by_client : {true, false}) {
    connect();
    end_.reset();
    relay();
    ASSERT_TRUE(fakes::run_task(*loop_, send_text(client_, "x", soon())));
    EXPECT_EQ(receive(host_, 1), "x");
    Socket& who = by_client ? client_ : host_;
    Socket& other = by_client ? host_ : client_;
    reset_on_close(who);
    who.close();
    ASSERT_TRUE(ended());
    EXPECT_EQ(end_, by_client ? RelayEnd::client_reset : RelayEnd::host_reset);
    auto got = fakes::run_task(*loop_, receive_until(other, "", soon()));
    EXPECT_FALSE(got) << "an end would look as if it were all";
  }
}

TEST_P(RelayPump, AnIdleConnectionEnds) {
  connect();
  relay(20ms);
  ASSERT_TRUE(ended());
  EXPECT_EQ(end_, RelayEnd::idle);
  auto got = fakes::run_task(*loop_, receive_until(client_, "", soon()));
  ASSERT_TRUE(got) << "nothing was on its way: it ends in peace";
}

TEST_P(RelayPump, ALifeHasItsLimitHoweverBusy) {
  connect();
  relay(1h, in(20));
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(client_, "x", soon())));
  ASSERT_TRUE(ended());
  EXPECT_EQ(end_, RelayEnd::lifetime);
  auto got = fakes::run_task(*loop_, receive_until(host_, "", soon()));
  EXPECT_FALSE(got);
}

TEST_P(RelayPump, ABandwidthHoldsEachWayForItself) {
  connect();
  relay(1h, kNever, {.bandwidth = 1'000'000});
  const std::string there(100'000, 't');
  const std::string back(50'000, 'b');
  const Time began = loop_->exact_now();
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(client_, there, soon())));
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(host_, back, soon())));
  EXPECT_EQ(receive(client_, back.size()), back);
  EXPECT_GE(loop_->exact_now() - began, 49ms);
  EXPECT_EQ(receive(host_, there.size()), there);
  EXPECT_GE(loop_->exact_now() - began, 99ms) << "it takes the time that the bytes take";
  client_.shutdown_send();
  host_.shutdown_send();
  ASSERT_TRUE(ended());
  EXPECT_EQ(end_, RelayEnd::finished);
  EXPECT_EQ(pump_->bytes_in(), there.size());
  EXPECT_EQ(pump_->bytes_out(), back.size());
}

TEST_P(RelayPump, AResetOnPurposeComesAfterItsBytes) {
  for (const uint64_t bandwidth : {uint64_t{0}, uint64_t{10'000'000}}) {
    connect();
    end_.reset();
    relay(1h, kNever, {.bandwidth = bandwidth, .reset_after = 100'000});
    ASSERT_TRUE(fakes::run_task(*loop_, send_text(host_, std::string(40'000, 'b'), soon())));
    EXPECT_EQ(receive(client_, 40'000), std::string(40'000, 'b'));
    EXPECT_FALSE(end_);
    ASSERT_TRUE(fakes::run_task(*loop_, send_text(client_, std::string(70'000, 't'), soon())));
    EXPECT_EQ(receive(host_, 60'000), std::string(60'000, 't'));
    ASSERT_TRUE(ended());
    EXPECT_EQ(end_, RelayEnd::fault_reset);
    EXPECT_EQ(pump_->bytes_in(), 60'000u);
    for (Socket* side : {&client_, &host_}) {
      EXPECT_FALSE(fakes::run_task(*loop_, receive_until(*side, "", soon()))) << "an end would look as if it were all";
    }
  }
}

TEST_P(RelayPump, ALifeHasItsLimitAlsoAtAByteASecond) {
  connect();
  relay(1h, in(20), {.bandwidth = 1});
  ASSERT_TRUE(fakes::run_task(*loop_, send_text(client_, "slow", soon())));
  ASSERT_TRUE(ended());
  EXPECT_EQ(end_, RelayEnd::lifetime);
}

TEST(RelayFaultConfig, SaysWhatIsWrong) {
  using test::config_problems;
  using test::read_config;
  for (const char* bad : {"{}", "delay: {}", "reset: { share: 101% }", "reset: { after: -1 }", "abort: {}"})
    EXPECT_NE(config_problems<TcpFaultConfig>(bad), "") << bad;
  for (const char* bad : {"{}", "drop: { share: x }", "reset: {}", "bandwidth: 1KiB"})
    EXPECT_NE(config_problems<UdpFaultConfig>(bad), "") << bad;
  const auto tcp = read_config<TcpFaultConfig>("{ reset: { share: 1%, after: 64KiB }, bandwidth: 1MiB }");
  EXPECT_EQ(tcp.reset->after, 65'536u);
  EXPECT_EQ(tcp.bandwidth, 1'048'576u);
  const auto udp = read_config<UdpFaultConfig>("{ drop: { share: 5% }, delay: { time: 20ms..80ms } }");
  EXPECT_EQ(udp.delay->time.low, 20ms);
  Metrics metrics;
  const UdpFaults faults(udp, metrics, "dns");
  Rng rng(3);
  int lost = 0;
  for (int i = 0; i < 10'000; ++i) lost += faults.plan.draw(rng).reset;
  EXPECT_NEAR(lost, 500, 6 * 22);
}

INSTANTIATE_TEST_SUITE_P(Io, RelayPump, testing::Values(IoKind::epoll, IoKind::uring), io_name);

TEST(RelayRoutes, TheFirstThatFitsIsTaken) {
  const auto route = [](std::string sni, std::string alpn) {
    return RelayRoute{{.sni = std::move(sni), .alpn = std::move(alpn), .to = {}}, nullptr};
  };
  const std::vector<RelayRoute> routes{route("a.example", "h2"), route("a.example", ""), route("*.example", ""),
                                       route("", "acme-tls/1")};
  const auto find = [&](std::string name, std::vector<std::string> alpn) {
    return find_relay_route(routes, {.server_name = std::move(name), .alpn = std::move(alpn)});
  };
  EXPECT_EQ(find("a.example", {"http/1.1", "h2"}), 0U);
  EXPECT_EQ(find("a.example", {"http/1.1"}), 1U);
  EXPECT_EQ(find("b.example", {}), 2U);
  EXPECT_EQ(find("c.b.example", {}), 2U);
  EXPECT_EQ(find("other", {"acme-tls/1"}), 3U);
  EXPECT_EQ(find("", {"acme-tls/1"}), 3U);
  EXPECT_EQ(find("example", {"h2"}), 4U) << "*.example is every name below it, not it";
  EXPECT_EQ(find("aexample", {}), 4U);
  EXPECT_EQ(find("", {}), 4U);
}

TEST(RelayRoutes, OneCoversWhatItTakesFromAnother) {
  const auto covers = [](RelayRouteConfig one, RelayRouteConfig other) { return one.covers(other); };
  EXPECT_TRUE(covers({.sni = "*.example"}, {.sni = "a.example"}));
  EXPECT_TRUE(covers({.sni = "*.example"}, {.sni = "*.b.example", .alpn = "h2"}));
  EXPECT_TRUE(covers({.alpn = "h2"}, {.sni = "a", .alpn = "h2"}));
  EXPECT_FALSE(covers({.sni = "a.example"}, {.sni = "*.example"}));
  EXPECT_FALSE(covers({.sni = "*.example"}, {.sni = "example"}));
  EXPECT_FALSE(covers({.sni = "a", .alpn = "h2"}, {.sni = "a"}));
  EXPECT_FALSE(covers({.alpn = "h2"}, {.alpn = "http/1.1"}));
}

TEST(RelayLine, SaysWhatBecameOfAConnection) {
  const RelayRecord record{.listener = "pg",
                           .protocol = "tcp",
                           .client = "2001:db8::1",
                           .client_port = 4711,
                           .server_name = "a.example",
                           .bytes_in = 12,
                           .bytes_out = 3456,
                           .took = 1500us,
                           .upstream = "postgres",
                           .upstream_host = "10.0.0.1:5432",
                           .end = RelayEnd::client_reset,
                           .wall = WallTime(std::chrono::seconds(1'772'368'496))};
  const std::string line = relay_line(record, AccessLogConfig::Format::json, "\"edge\"");
  EXPECT_EQ(
      line,
      R"({"time":"2026-03-01T12:34:56.000Z","node":"edge","listener":"pg","protocol":"tcp","client":"2001:db8::1",)"
      R"("client_port":4711,"server_name":"a.example","bytes_in":12,"bytes_out":3456,"duration_ms":1.5,)"
      R"("upstream":"postgres","upstream_host":"10.0.0.1:5432","outcome":"client_reset"})"
      "\n");
  EXPECT_TRUE(nlohmann::json::accept(line));
  EXPECT_EQ(relay_line(record, AccessLogConfig::Format::combined, ""),
            "2001:db8::1 - - [01/Mar/2026:12:34:56 +0000] \"tcp pg\" - 3456 \"-\" \"client_reset\"\n");
}

}  // namespace
}  // namespace trellis::proxy
