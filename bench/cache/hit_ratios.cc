// trellis_hit_ratios POLICY:CAPACITY...: hit ratios of a stream of requests on standard input, a key a line with an
// optional size behind it, for each policy and capacity. With --zipf S:KEYS:DRAWS the requests are drawn instead,
// always the same ones. With --bytes a capacity is in bytes and objects weigh their size; otherwise each weighs one.
// With --largest SHARE what is larger than this share of the capacity passes by, whatever the policy.
// Keys are small numbers. Prints a line each: policy, capacity, hit ratio, byte hit ratio.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "cache/eviction.h"
#include "tests/unit/cache/key_cache.h"

namespace trellis::cache {
namespace {

constexpr uint64_t kMaxKey = 100'000'000;

struct Request {
  uint64_t key;
  uint32_t size;
};

std::vector<Request> read_requests(std::FILE* file) {
  std::vector<Request> requests;
  char line[256];
  while (std::fgets(line, sizeof(line), file)) {
    char* end = nullptr;
    const uint64_t key = std::strtoull(line, &end, 10);
    const uint64_t size = std::strtoull(end, nullptr, 10);
    if (end == line || key > kMaxKey) continue;
    requests.push_back({key, static_cast<uint32_t>(std::min<uint64_t>(size == 0 ? 1 : size, UINT32_MAX))});
  }
  return requests;
}

// "1.0:10000:5000000"
std::optional<std::vector<Request>> draw_requests(const std::string& how) {
  double s = 0;
  unsigned keys = 0;
  unsigned draws = 0;
  if (std::sscanf(how.c_str(), "%lf:%u:%u", &s, &keys, &draws) != 3 || keys == 0 || keys > kMaxKey) return std::nullopt;
  Rng rng(9);
  const Zipf zipf(keys, s);
  std::vector<Request> requests(draws);
  for (Request& request : requests) request = {zipf.draw(rng), 1};
  return requests;
}

std::optional<EvictionPolicy> policy_of(std::string_view name) {
  for (const EvictionPolicy policy : kEvictionPolicies) {
    if (to_string(policy) == name) return policy;
  }
  return std::nullopt;
}

void print_ratios(EvictionPolicy policy, uint64_t capacity, bool bytes, std::optional<double> share,
                  const std::vector<Request>& requests) {
  KeyCache<Eviction> cache(policy, capacity, uint64_t{1});
  // As in the S3-FIFO that ours is compared with: what is larger than the small queue does not enter. Where every
  // object weighs one, each fits.
  const bool sieves = policy == EvictionPolicy::s3fifo || policy == EvictionPolicy::w_tinylfu;
  const uint64_t largest = share             ? static_cast<uint64_t>(*share * static_cast<double>(capacity))
                           : bytes && sieves ? capacity / 10
                                             : capacity;
  double hits = 0;
  double hit_bytes = 0;
  double all_bytes = 0;
  Time now{};
  for (const Request& request : requests) {
    const uint32_t charge = bytes ? request.size : 1;
    now += std::chrono::milliseconds(1);
    all_bytes += request.size;
    if (charge > largest) continue;  // passes by
    if (!cache.request(request.key, charge, now + std::chrono::hours(1))) continue;
    ++hits;
    hit_bytes += request.size;
  }
  fmt::print("{} {} {:.4f} {:.4f}\n", to_string(policy), capacity, hits / static_cast<double>(requests.size()),
             hit_bytes / all_bytes);
}

int run(int argc, char** argv) {
  bool bytes = false;
  std::optional<double> largest;
  std::optional<std::vector<Request>> drawn;
  std::vector<std::pair<EvictionPolicy, uint64_t>> wanted;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--bytes") {
      bytes = true;
      continue;
    }
    if (word == "--largest" && i + 1 < argc) {
      largest = std::strtod(argv[++i], nullptr);
      continue;
    }
    if (word == "--zipf" && i + 1 < argc) {
      drawn = draw_requests(argv[++i]);
      if (drawn) continue;
    }
    const size_t colon = word.find(':');
    const std::optional<EvictionPolicy> policy = policy_of(word.substr(0, colon));
    uint64_t capacity = 0;
    if (policy && colon != std::string_view::npos) {
      std::from_chars(word.data() + colon + 1, word.data() + word.size(), capacity);
    }
    if (capacity == 0) {
      fmt::print(
          stderr,
          "usage: trellis_hit_ratios [--bytes] [--largest SHARE] [--zipf S:KEYS:DRAWS] POLICY:CAPACITY... <REQUESTS\n");
      return 2;
    }
    wanted.emplace_back(*policy, capacity);
  }
  const std::vector<Request> requests = drawn ? std::move(*drawn) : read_requests(stdin);
  if (requests.empty()) {
    fmt::print(stderr, "trellis_hit_ratios: no requests\n");
    return 1;
  }
  for (const auto& [policy, capacity] : wanted) print_ratios(policy, capacity, bytes, largest, requests);
  return 0;
}

}  // namespace
}  // namespace trellis::cache

int main(int argc, char** argv) { return trellis::cache::run(argc, argv); }
