// How many different visitors came, counted without keeping any of them: HyperLogLog (Flajolet 2007) with 4096
// registers and Ertl's estimator (2017), which needs no tables and is good from nothing to billions; the standard error
// is 1.6 %. Up to 768 visitors it keeps 32 bits of each hash instead and is as good as exact, so that the many small
// links cost little. A visitor is a keyed hash of address and agent. The salt is drawn anew each day and then
// forgotten, so what is stored leads back to nobody; whoever comes on two days is therefore two visitors in a merged
// count. Belongs to one core. Reading serialised bytes is strict: fuzz/services_links_visitors_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/codes.h"

namespace trellis::services::links {

// 16 random bytes of a day.
using DaySalt = CodeKey;

uint64_t visitor_hash(const DaySalt& salt, std::string_view address, std::string_view agent) noexcept;

class UniqueVisitors {
 public:
  static constexpr size_t kRegisters = 4096;
  static constexpr size_t kMaxSparse = 768;  // as large as the registers when serialised
  static constexpr size_t kMaxSerialised = 1 + kRegisters * 6 / 8;

  // `hash`: uniform over 64 bits, as visitor_hash() gives it.
  void add(uint64_t hash);
  void merge(const UniqueVisitors& other);
  // The same with another one as append_to() wrote it, without making it. data_loss: it could not have been written so;
  // this one is of no use any more.
  Result<void> merge_stored(std::string_view bytes);
  uint64_t count() const noexcept;

  // At most kMaxSerialised bytes, the same on every machine and for every order of adding.
  void append_to(std::string& out) const;
  // data_loss unless append_to() could have written it.
  static Result<UniqueVisitors> read(std::string_view bytes);

  friend bool operator==(const UniqueVisitors&, const UniqueVisitors&) = default;

 private:
  void add_sparse(uint32_t entry);
  void raise(uint32_t entry) noexcept;
  void make_dense();

  std::vector<uint32_t> sparse_;    // sorted: 26 bits of the hash, then 6 bits of rank; one entry for each 26 bits
  std::vector<uint8_t> registers_;  // empty while sparse
};

}  // namespace trellis::services::links
