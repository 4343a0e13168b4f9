// Many links made in one operation of the store: for batches and imports. Their numbers are leased inside it, so that
// nothing is wasted when it is taken back, and each link is put in by the function that puts in a single one. The
// writer is held for as long as it takes (some microseconds a link), so whoever has very many brings them in pieces, or
// gives way.
// Called on every core; what is given is the operation's until its outcome is certain, also when the caller has gone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "runtime/task.h"
#include "services/links/link_book.h"
#include "services/links/rows.h"

namespace trellis::services::links {

// With clicks and visits, if it brings some; the id is given when it is made.
struct BulkLink {
  Link link;  // whose name lacks a code (link_name.h): one is made
  bool find_existing = false;
  bool title_too = true;  // an existing one has the same title, too
};
using BulkLinks = std::shared_ptr<std::vector<BulkLink>>;
// About what it takes in memory, and on its way to the disk.
size_t bytes_of(const Link& link) noexcept;

struct BulkOutcome {
  // exists: one that is the same. taken: somebody has the code, or had.
  enum class Kind : uint8_t { made, exists, taken } kind = Kind::made;
  int64_t id = 0;
  int64_t version = 0;
  std::string code;
};

struct BulkDone {
  // replayed: answered before. key_reused: for another request. refused: all or none was wanted, and some are taken.
  enum class Kind : uint8_t { done, replayed, key_reused, refused } kind = Kind::done;
  std::vector<BulkOutcome> outcomes;  // in order, when done or refused; of the first links alone: it gave way
  Replay answer;                      // when done or replayed, with a key
};
using BulkResult = std::shared_ptr<const BulkDone>;

struct BulkOptions {
  bool atomic = false;            // all or none
  bool same_code_exists = false;  // a taken code whose link is the same is no conflict: it was brought before
  // Ends after some thousand links when others wait for the writer; the rest is brought again. Not with `atomic` or a
  // key.
  bool gives_way = false;
  IdempotencyKey key;
  // With a key: the body of the answer that is kept. Runs on the writer's thread.
  std::function<std::string(const BulkDone&)> answer;
};

// `now` is milliseconds since 1970.
Task<Result<BulkResult>> put_links(LinkBook& book, BulkLinks links, BulkOptions options, int64_t now,
                                   Deadline deadline);
// What put_links() would do, without doing it. Links of one call do not see each other.
Task<Result<BulkResult>> try_links(LinkBook& book, BulkLinks links, BulkOptions options, int64_t now,
                                   Deadline deadline);

}  // namespace trellis::services::links
