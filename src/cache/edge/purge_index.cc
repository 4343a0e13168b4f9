#include "cache/edge/purge_index.h"

#include <algorithm>

#include "base/hash.h"

namespace trellis::cache {
namespace {

constexpr uint64_t kUrlSeed = 0x75'726C;
constexpr uint64_t kHostSeed = 0x686F'7374;

}  // namespace

std::string_view to_string(PurgeState state) noexcept {
  switch (state) {
    case PurgeState::alive: return "alive";
    case PurgeState::stale: return "stale";
    case PurgeState::dead: return "dead";
  }
  return "";
}

void PurgeIndex::add(const PurgeRule& rule, uint64_t number) {
  // What hosts share stands there without one, and is meant whichever of them is named.
  const std::string_view shared = std::string_view(rule.text).substr(std::min(rule.text.find('/'), rule.text.size()));
  const auto raise = [&](std::string_view text, uint64_t seed) { exact_[hash64(text, seed)].raise(number, rule.soft); };
  switch (rule.kind) {
    case PurgeRule::Kind::key:
      raise(rule.text, kUrlSeed);
      if (!shared.empty()) raise(shared, kUrlSeed);
      break;
    case PurgeRule::Kind::host:
      raise(rule.text, kHostSeed);
      raise({}, kHostSeed);
      break;
    case PurgeRule::Kind::tag: exact_[tag_hash(rule.text)].raise(number, rule.soft); break;
    case PurgeRule::Kind::prefix:
      prefixes_[rule.text].raise(number, rule.soft);
      if (!shared.empty()) prefixes_[std::string(shared)].raise(number, rule.soft);
      break;
    case PurgeRule::Kind::all: add_all(number, rule.soft); break;
  }
}

void PurgeIndex::find(uint64_t hash, Newest& newest) const noexcept {
  const auto at = exact_.find(hash);
  if (at != exact_.end()) newest.raise(at->second);
}

// Every prefix of the URL sorts before it, or is it; between the two stand only texts that begin with the prefix. So
// the way from one to the next shorter is a step down from what the text before has in common with the URL.
void PurgeIndex::find_prefixes(std::string_view url, Newest& newest) const noexcept {
  while (true) {
    auto at = prefixes_.upper_bound(url);
    if (at == prefixes_.begin()) return;
    --at;
    const std::string_view before = at->first;
    const size_t common =
        static_cast<size_t>(std::mismatch(before.begin(), before.end(), url.begin(), url.end()).first - before.begin());
    if (common == before.size()) {
      newest.raise(at->second);
      if (common == 0) return;
      url = url.substr(0, common - 1);
    } else {
      url = url.substr(0, common);
    }
  }
}

PurgeState PurgeIndex::check(const PurgeSubject& subject, uint64_t since) const noexcept {
  Newest newest = all_;
  if (!exact_.empty()) {
    find(hash64(subject.url, kUrlSeed), newest);
    find(hash64(host_of_purge_url(subject.url), kHostSeed), newest);
    for (const uint64_t tag : subject.tags) find(tag, newest);
  }
  if (!prefixes_.empty()) find_prefixes(subject.url, newest);
  if (newest.hard > since) return PurgeState::dead;
  return newest.soft > since ? PurgeState::stale : PurgeState::alive;
}

}  // namespace trellis::cache
