// What a redirect needs of a link: the entry of the cache in front of the store. Made from a row by target_of(), on the
// core that loaded it; its text lies behind the entry in the cache's own memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "cache/entry_text.h"
#include "services/links/url.h"

namespace trellis::services::links {

struct Link;
class Blocklist;
class Rules;

struct Target {
  enum class Ending : uint8_t { none, deleted, used_up, blocked };

  int64_t id = 0;
  int64_t not_before = INT64_MIN;  // milliseconds since 1970
  int64_t expires_at = INT64_MAX;  // likewise
  int16_t status = 302;
  Ending ending = Ending::none;
  bool forward_query = false;
  bool locked = false;                 // by a password
  bool limited = false;                // each visit is counted by the store before it is granted
  uint32_t blocklist = 0;              // the version of the blocklist that was asked
  std::shared_ptr<const Rules> rules;  // null: none
  cache::EntryText location;
  cache::EntryText& text() noexcept { return location; }
};

// Rules that cannot be read, which no version of this program wrote, lead nowhere: the link's own URL it is.
Target target_of(const Link& link, const Blocklist& blocklist);
// Memory of a target beside itself and its text.
size_t memory_of(const Target& target) noexcept;

}  // namespace trellis::services::links
