// Which rule meets an object: rules by what they name, each with the sequence number of its newest purge. URLs, hosts
// and tags are found by their hash (two texts with one hash cost a miss, no more); prefixes by a sorted map, in as many
// steps as prefixes of the URL are in it. Thousands of rules cost a check some hundred nanoseconds. Pure; whoever
// shares it locks it (purge_book.h).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "cache/edge/purge_rule.h"

namespace trellis::cache {

// What of an object is compared with the rules. Borrowed for the call.
struct PurgeSubject {
  std::string_view url;            // of append_purge_url()
  std::span<const uint64_t> tags;  // of tag_hashes()
  uint64_t filled = 0;             // PurgeBook::newest() when its fill began, before the origin was asked
};

enum class PurgeState : uint8_t {
  alive,
  stale,  // by a soft rule
  dead,
};
std::string_view to_string(PurgeState state) noexcept;

class PurgeIndex {
 public:
  // Numbers rise.
  void add(const PurgeRule& rule, uint64_t number);
  // Meets every object, as `all` does.
  void add_all(uint64_t number, bool soft) noexcept { all_.raise(number, soft); }

  // By the rules newer than `since`.
  PurgeState check(const PurgeSubject& subject, uint64_t since) const noexcept;

 private:
  struct Newest {
    uint64_t hard = 0;
    uint64_t soft = 0;
    void raise(uint64_t number, bool is_soft) noexcept {
      uint64_t& one = is_soft ? soft : hard;
      if (one < number) one = number;
    }
    void raise(const Newest& other) noexcept {
      raise(other.hard, false);
      raise(other.soft, true);
    }
  };
  void find(uint64_t hash, Newest& newest) const noexcept;
  void find_prefixes(std::string_view url, Newest& newest) const noexcept;

  Newest all_;
  std::unordered_map<uint64_t, Newest> exact_;  // keys, hosts and tags, each hashed with its own seed
  std::map<std::string, Newest, std::less<>> prefixes_;
};

}  // namespace trellis::cache
