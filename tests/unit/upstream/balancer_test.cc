#include "upstream/balancer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart = Time(1000s);

// Hosts "host-0", "host-1", ... with weights, and the work that a cluster would count.
class Hosts {
 public:
  explicit Hosts(std::vector<uint32_t> weights) : weights_(std::move(weights)), loads_(weights_.size()) {
    for (size_t i = 0; i < weights_.size(); ++i) names_.push_back("host-" + std::to_string(i));
  }
  std::vector<BalanceHost> all() {
    std::vector<HostId> ids(weights_.size());
    std::iota(ids.begin(), ids.end(), 0);
    return some(ids);
  }
  std::vector<BalanceHost> some(const std::vector<HostId>& ids) {
    std::vector<BalanceHost> hosts;
    for (const HostId id : ids) hosts.push_back({id, names_[id], weights_[id], &loads_[id]});
    return hosts;
  }
  HostLoad& load(HostId id) { return loads_[id]; }
  size_t size() const { return weights_.size(); }
  uint64_t active() const {
    uint64_t sum = 0;
    for (const HostLoad& load : loads_) sum += load.active;
    return sum;
  }

 private:
  std::vector<uint32_t> weights_;
  std::vector<std::string> names_;
  std::vector<HostLoad> loads_;
};

constexpr Balance kAll[] = {Balance::round_robin, Balance::weighted,   Balance::least_connections,
                            Balance::two_choices, Balance::least_time, Balance::ip_hash,
                            Balance::hash,        Balance::maglev};
constexpr Balance kHashes[] = {Balance::hash, Balance::maglev};

std::unique_ptr<Balancer> make(Balance policy, Hosts& hosts, const BalanceOptions& options = {}, uint64_t seed = 1) {
  Rng rng(seed);
  return make_balancer(policy, hosts.all(), options, make_key_table(policy, hosts.all()), rng);
}

std::vector<HostId> picks(Balancer& balancer, size_t count, Rng& keys) {
  std::vector<HostId> out;
  for (size_t i = 0; i < count; ++i) {
    const auto host = balancer.pick({.now = kStart, .key = keys.next(), .active = 0, .tried = {}});
    EXPECT_TRUE(host);
    if (host) out.push_back(*host);
  }
  return out;
}

std::vector<size_t> counts(const std::vector<HostId>& picked, size_t hosts) {
  std::vector<size_t> out(hosts);
  for (const HostId host : picked) ++out[host];
  return out;
}

TEST(Balancer, PicksNobodyWhereNobodyIs) {
  Hosts none({});
  for (const Balance policy : kAll) EXPECT_FALSE(make(policy, none)->pick({.now = kStart}));
}

TEST(Balancer, TriesEachHostOnceAndThenNobody) {
  for (const Balance policy : kAll) {
    Hosts hosts({1, 2, 3, 1, 1});
    const auto balancer = make(policy, hosts);
    for (uint64_t key = 0; key < 50; ++key) {
      std::vector<HostId> tried;
      for (size_t i = 0; i < hosts.size(); ++i) {
        const auto host = balancer->pick({.now = kStart, .key = key, .active = 0, .tried = tried});
        ASSERT_TRUE(host);
        ASSERT_EQ(std::count(tried.begin(), tried.end(), *host), 0);
        tried.push_back(*host);
      }
      EXPECT_FALSE(balancer->pick({.now = kStart, .key = key, .active = 0, .tried = tried}));
    }
  }
}

// Those that go by load, too: of hosts without work none gets all.
TEST(Balancer, GivesSharesByWeight) {
  for (const Balance policy :
       {Balance::weighted, Balance::hash, Balance::maglev, Balance::two_choices, Balance::least_connections}) {
    Hosts hosts({5, 1, 1, 3, 10});
    const auto balancer = make(policy, hosts);
    Rng keys(7);
    const auto found = counts(picks(*balancer, 200'000, keys), hosts.size());
    for (HostId id = 0; id < hosts.size(); ++id) {
      const double wanted = 200'000 * hosts.all()[id].weight / 20.0;
      // A ring of 160 points a host is even to about a tenth; turns and Maglev's table are much closer.
      EXPECT_NEAR(static_cast<double>(found[id]), wanted, wanted * (policy == Balance::hash ? 0.35 : 0.05)) << id;
    }
  }
}

TEST(Balancer, TakesHostsInTurns) {
  Hosts hosts({1, 1, 1});
  const auto balancer = make(Balance::round_robin, hosts);
  Rng keys(1);
  const auto picked = picks(*balancer, 30, keys);
  for (size_t i = 3; i < picked.size(); ++i) EXPECT_EQ(picked[i], picked[i - 3]);
  EXPECT_EQ(counts(picked, 3), (std::vector<size_t>{10, 10, 10}));
}

TEST(Balancer, SpreadsHeavyHostsEvenlyOverTheTurns) {
  for (const std::vector<uint32_t>& weights : {std::vector<uint32_t>{5, 1, 1}, {1, 5, 1}, {1, 1, 5}}) {
    Hosts hosts(weights);
    const auto heaviest = static_cast<HostId>(std::ranges::max_element(weights) - weights.begin());
    for (uint64_t seed = 1; seed <= 50; ++seed) {
      const auto balancer = make(Balance::weighted, hosts, {}, seed);
      Rng keys(1);
      const auto picked = picks(*balancer, 700, keys);
      size_t row = 0;
      for (const HostId host : picked) {
        row = host == heaviest ? row + 1 : 0;
        ASSERT_LE(row, 3U) << "seed " << seed;
      }
      // Any seven turns in a row: five, one and one.
      for (auto begin = picked.begin(); picked.end() - begin >= 7; ++begin)
        ASSERT_EQ(std::count(begin, begin + 7, heaviest), 5) << "seed " << seed;
    }
  }
}

TEST(Balancer, SpreadsHostsOfManyWeightsOverTheTurns) {
  const std::vector<uint32_t> weights{1, 2, 3, 3, 4, 7, 10, 1, 1};
  Hosts hosts(weights);
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const auto balancer = make(Balance::weighted, hosts, {}, seed);
    Rng keys(1);
    const auto picked = picks(*balancer, 3'200, keys);
    for (HostId id = 0; id < hosts.size(); ++id) {
      // Between two turns of a host there is about one round of it, whatever the others do.
      size_t between = 0;
      const double round = 32.0 / weights[id];
      for (const HostId host : picked) {
        ASSERT_LE(static_cast<double>(between), round + static_cast<double>(weights.size())) << id << " seed " << seed;
        between = host == id ? 0 : between + 1;
      }
    }
  }
}

TEST(Balancer, CoresDoNotGoInStep) {
  Hosts hosts(std::vector<uint32_t>(64, 1));
  for (const Balance policy : {Balance::round_robin, Balance::weighted, Balance::least_connections}) {
    std::vector<HostId> first;
    for (uint64_t seed = 1; seed <= 16; ++seed) first.push_back(*make(policy, hosts, {}, seed)->pick({.now = kStart}));
    std::sort(first.begin(), first.end());
    EXPECT_GE(std::unique(first.begin(), first.end()) - first.begin(), 8) << static_cast<int>(policy);
  }
}

// Requests that come and go at random; what each host has under way at the most.
TEST(Balancer, LeastConnectionsPicksTheFewestByWeight) {
  Hosts hosts({1, 1, 2, 4});
  const auto balancer = make(Balance::least_connections, hosts);
  Rng rng(3);
  std::vector<HostId> under_way;
  for (int step = 0; step < 20'000; ++step) {
    if (under_way.size() < 40 || (under_way.size() < 400 && rng.below(2) == 0)) {
      const auto host = balancer->pick({.now = kStart});
      ASSERT_TRUE(host);
      const double load = static_cast<double>(hosts.load(*host).active) / hosts.all()[*host].weight;
      for (const BalanceHost& other : hosts.all()) {
        ASSERT_LE(load, static_cast<double>(other.load->active) / other.weight + 1e-9)
            << "host " << *host << " before " << other.id;
      }
      ++hosts.load(*host).active;
      balancer->load_changed(*host);
      under_way.push_back(*host);
    } else {
      const size_t which = rng.below(under_way.size());
      const HostId host = under_way[which];
      under_way[which] = under_way.back();
      under_way.pop_back();
      --hosts.load(host).active;
      balancer->load_changed(host);
    }
  }
}

TEST(Balancer, TheBetterOfTwoKeepsTheFullestNearTheAverage) {
  constexpr size_t kHosts = 1000;
  Hosts hosts(std::vector<uint32_t>(kHosts, 1));
  const auto balancer = make(Balance::two_choices, hosts);
  for (size_t i = 0; i < 10 * kHosts; ++i) ++hosts.load(*balancer->pick({.now = kStart})).active;
  uint32_t fullest = 0;
  uint32_t emptiest = UINT32_MAX;
  for (HostId id = 0; id < kHosts; ++id) {
    fullest = std::max(fullest, hosts.load(id).active);
    emptiest = std::min(emptiest, hosts.load(id).active);
  }
  EXPECT_LE(fullest, 10u + 5u);  // by chance alone it would be about 22
  EXPECT_GE(emptiest, 2u);
}

TEST(Balancer, LeastTimeAvoidsTheSlowHostAndComesBackToIt) {
  Hosts hosts({1, 1, 1});
  const auto balancer = make(Balance::least_time, hosts);
  for (HostId id = 0; id < 3; ++id) hosts.load(id).measure(id == 1 ? 900ms : 10ms, 10s, kStart);
  std::vector<size_t> found(3);
  for (int i = 0; i < 3000; ++i) ++found[*balancer->pick({.now = kStart})];
  EXPECT_EQ(found[1], 0u);
  // An hour later nothing is left of the slow answer, nor of the others.
  found.assign(3, 0);
  for (int i = 0; i < 3000; ++i) ++found[*balancer->pick({.now = kStart + 3600s})];
  EXPECT_GT(found[1], 700u);
}

TEST(HostLoad, FollowsASlowAnswerAtOnceAndForgetsItSlowly) {
  HostLoad load;
  load.measure(10ms, 10s, kStart);
  EXPECT_DOUBLE_EQ(load.seconds, 0.010);
  load.measure(1s, 10s, kStart + 1s);
  EXPECT_DOUBLE_EQ(load.seconds, 1.0);
  load.measure(10ms, 10s, kStart + 11s);
  EXPECT_NEAR(load.seconds, 0.010 + 0.990 / 2.718281828, 1e-6);
}

TEST(Balancer, AHostThatCameGetsItsShareSlowlyWhereNobodyHasWork) {
  for (const Balance policy : {Balance::weighted, Balance::two_choices, Balance::least_connections}) {
    Hosts hosts({2, 1, 1, 4});
    hosts.load(3).joined = kStart;
    for (const auto& [after_start, wanted] : {std::pair{0s, 0.4 / 4.4}, std::pair{15s, 2 / 6.0}, std::pair{30s, 0.5}}) {
      const auto balancer = make(policy, hosts, {.slow_start = 30s});
      size_t got = 0;
      for (int i = 0; i < 20'000; ++i) got += *balancer->pick({.now = kStart + after_start}) == 3 ? 1 : 0;
      EXPECT_NEAR(got / 20'000.0, wanted, 0.02) << static_cast<int>(policy) << " " << after_start.count();
    }
  }
}

// However long it had work, it is not made up for with all there is.
TEST(Balancer, LeastConnectionsGivesNoRowToWhoWasBusy) {
  Hosts hosts({1, 1});
  const auto balancer = make(Balance::least_connections, hosts);
  hosts.load(0).active = 5;
  balancer->load_changed(0);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(*balancer->pick({.now = kStart}), 1u);
  hosts.load(0).active = 0;
  balancer->load_changed(0);
  size_t got = 0;
  for (int i = 0; i < 10; ++i) got += *balancer->pick({.now = kStart}) == 0 ? 1 : 0;
  EXPECT_LE(got, 6u);
}

TEST(Balancer, AHostThatCameGetsItsShareSlowly) {
  for (const Balance policy : {Balance::weighted, Balance::two_choices, Balance::least_connections}) {
    Hosts hosts({1, 1, 1, 1});
    hosts.load(3).joined = kStart;
    for (const auto& [after_start, least, most] :
         {std::tuple{0s, 0.005, 0.15}, std::tuple{15s, 0.05, 0.22}, std::tuple{30s, 0.2, 0.3}}) {
      for (HostId id = 0; id < 4; ++id) hosts.load(id).active = 0;
      const auto balancer = make(policy, hosts, {.slow_start = 30s});
      // Forty requests at a time, as clients would hold them open.
      size_t got = 0;
      for (int i = 0; i < 4000; ++i) {
        const HostId host = *balancer->pick({.now = kStart + after_start});
        got += host == 3 ? 1 : 0;
        ++hosts.load(host).active;
        balancer->load_changed(host);
        if (i % 40 == 39) {
          for (HostId id = 0; id < 4; ++id) {
            hosts.load(id).active = 0;
            balancer->load_changed(id);
          }
        }
      }
      EXPECT_GE(got / 4000.0, least) << static_cast<int>(policy) << " " << after_start.count();
      EXPECT_LE(got / 4000.0, most) << static_cast<int>(policy) << " " << after_start.count();
    }
  }
}

TEST(KeyTable, KeysStayWhereTheyAre) {
  for (const Balance policy : kHashes) {
    Hosts hosts({1, 1, 1, 1, 1});
    const auto one = make(policy, hosts, {}, 1);
    const auto other = make(policy, hosts, {}, 2);
    Rng keys(5);
    for (int i = 0; i < 1000; ++i) {
      const uint64_t key = keys.next();
      EXPECT_EQ(one->pick({.now = kStart, .key = key}), other->pick({.now = kStart, .key = key}));
    }
  }
}

// Of 100,000 keys, how many are elsewhere when the hosts are `after` instead of `before`.
struct Moved {
  double moved = 0;
  double moved_between_stayers = 0;
};
Moved moved(Balance policy, const std::vector<HostId>& before, const std::vector<HostId>& after) {
  Hosts hosts(std::vector<uint32_t>(16, 1));
  const auto was = make_key_table(policy, hosts.some(before));
  const auto is = make_key_table(policy, hosts.some(after));
  const KeyTable::Accepts all{[](const void*, HostId) noexcept { return true; }, nullptr};
  const auto in = [](const std::vector<HostId>& list, HostId id) {
    return std::count(list.begin(), list.end(), id) > 0;
  };
  Rng keys(11);
  Moved out;
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t key = keys.next();
    const HostId a = *was->find(key, all);
    const HostId b = *is->find(key, all);
    if (a == b) continue;
    out.moved += 1e-5;
    if (in(after, a) && in(before, b)) out.moved_between_stayers += 1e-5;
  }
  return out;
}

TEST(KeyTable, TheFifthHostTakesAFifthOfTheKeys) {
  for (const Balance policy : kHashes) {
    const Moved found = moved(policy, {0, 1, 2, 3}, {0, 1, 2, 3, 4});
    EXPECT_GT(found.moved, 0.15) << static_cast<int>(policy);
    EXPECT_LT(found.moved, 0.26) << static_cast<int>(policy);
    EXPECT_LE(found.moved_between_stayers, policy == Balance::hash ? 0 : 0.05);
  }
}

TEST(KeyTable, RemainderOfADivisionWouldMoveFourFifths) {
  Rng keys(11);
  int elsewhere = 0;
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t key = keys.next();
    elsewhere += key % 4 != key % 5 ? 1 : 0;
  }
  EXPECT_NEAR(elsewhere / 1e5, 0.8, 0.01);
}

TEST(KeyTable, AHostThatGoesMovesItsOwnKeysOnly) {
  const Moved ring = moved(Balance::hash, {0, 1, 2, 3, 4}, {0, 1, 3, 4});
  EXPECT_EQ(ring.moved_between_stayers, 0);
  EXPECT_NEAR(ring.moved, 0.2, 0.06);
  // Not chosen for now, it moves no other key in either table, and its own go to all others.
  for (const Balance policy : kHashes) {
    Hosts hosts({1, 1, 1, 1, 1});
    const auto keys = make_key_table(policy, hosts.all());
    Rng rng(1);
    const auto all = make_balancer(policy, hosts.all(), {}, keys, rng);
    const auto fewer = make_balancer(policy, hosts.some({0, 1, 3, 4}), {}, keys, rng);
    Rng draws(3);
    std::map<HostId, int> heirs;
    for (int i = 0; i < 20'000; ++i) {
      const uint64_t key = draws.next();
      const auto was = all->pick({.now = kStart, .key = key});
      const auto is = fewer->pick({.now = kStart, .key = key});
      if (*was == 2) {
        ++heirs[*is];
      } else {
        ASSERT_EQ(was, is);
      }
    }
    EXPECT_EQ(heirs.size(), 4u);
  }
}

TEST(KeyTable, NoHostIsAboveItsBoundAndNoneStarves) {
  for (const Balance policy : kHashes) {
    Hosts hosts({1, 1, 2, 1, 3});
    const auto balancer = make(policy, hosts, {.bound = 1.25});
    Rng rng(2);
    for (int i = 0; i < 8'000; ++i) {
      // A few keys are asked for much more than others.
      const uint64_t key = rng.below(10) < 8 ? rng.below(3) : rng.next();
      const auto host = balancer->pick({.now = kStart, .key = key, .active = hosts.active(), .tried = {}});
      ASSERT_TRUE(host);
      ++hosts.load(*host).active;
      const double most = 1.25 * static_cast<double>(hosts.active()) * hosts.all()[*host].weight / 8.0;
      ASSERT_LE(hosts.load(*host).active, std::ceil(most));
    }
    for (HostId id = 0; id < hosts.size(); ++id) EXPECT_GT(hosts.load(id).active, 0u);
  }
}

TEST(KeyTable, AKeyOutOfAFullHostGoesToTheSameNextOne) {
  Hosts hosts({1, 1, 1, 1});
  const auto keys = make_key_table(Balance::hash, hosts.all());
  struct Full {
    HostId host;
  } full{0};
  const KeyTable::Accepts all{[](const void*, HostId) noexcept { return true; }, nullptr};
  const KeyTable::Accepts but{
      [](const void* who, HostId id) noexcept { return id != static_cast<const Full*>(who)->host; }, &full};
  for (uint64_t key = 0; key < 1000; ++key) {
    full.host = *keys->find(key, all);
    const auto next = keys->find(key, but);
    ASSERT_TRUE(next);
    EXPECT_NE(*next, full.host);
    EXPECT_EQ(next, keys->find(key, but));
  }
}

}  // namespace
}  // namespace trellis::upstream
