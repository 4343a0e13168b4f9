// A set of destinations that may not be linked, and whether a URL is one of them. An entry is a host with all its
// subdomains ("example.com"), one host alone ("=example.com"), and either with a path and all beneath it
// ("example.com/bad"). Only hashes are kept, so a million entries take 16 MiB; a lookup is one probe for each label of
// the host, and more only where there are entries with paths. Built once, then immutable and shared by all cores.
// read_block_file() reads foreign bytes: fuzz/services_links_blocklist_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trellis::services::links {

inline constexpr size_t kMaxBlockEntry = 512;              // bytes
inline constexpr size_t kMaxBlockEntries = 1'000'000;      // of a file
inline constexpr size_t kMaxBlockFile = size_t{64} << 20;  // bytes

// In normal form: the host as normal_host() has it, the path decoded, "" or with a slash before each segment.
struct BlockEntry {
  std::string host;
  std::string path;
  bool exact = false;  // without subdomains

  std::string text() const;  // reads back to the same entry
  friend bool operator==(const BlockEntry&, const BlockEntry&) = default;
};
// The entry, or a sentence that says what is wrong with it.
std::expected<BlockEntry, std::string> read_block_entry(std::string_view text);

class BlockSet {
 public:
  // `seed` keeps others from finding URLs that share a hash.
  explicit BlockSet(uint64_t seed) noexcept : seed_(seed) {}

  void add(const BlockEntry& entry);
  // The entry that a URL falls under, as text. Precondition: check_url() accepted the URL.
  std::optional<std::string> find(std::string_view url) const;

  size_t size() const noexcept { return entries_; }  // one that was added twice counts twice
  size_t memory() const noexcept { return sizeof(BlockSet) + table_.capacity() * sizeof(uint64_t); }

 private:
  enum class Kind : uint8_t { subdomains, exact, has_paths };

  uint64_t hash_of(Kind kind, std::string_view host, std::string_view path) const noexcept;
  bool has(uint64_t hash) const noexcept;
  bool has(Kind kind, std::string_view host, std::string_view path = {}) const noexcept {
    return has(hash_of(kind, host, path));
  }
  void put(uint64_t hash);
  std::optional<std::string> find_path(std::string_view host, std::string_view path, bool whole) const;

  uint64_t seed_;
  size_t entries_ = 0;
  size_t used_ = 0;
  std::vector<uint64_t> table_;  // open addressing; 0: free
};

// One entry a line; # begins a comment, at the beginning of a line or after a blank.
struct BlockFault {
  size_t line = 0;
  std::string reason;
};
std::expected<BlockSet, BlockFault> read_block_file(std::string_view text, uint64_t seed);

}  // namespace trellis::services::links
