// One fetch of one object, which everybody who asks for it meanwhile shares: the request that finds nothing leads it,
// the others wait for `decided` and read from the object while it grows. One a key in the process; EdgeCache has them.
// Written by its leader on one core before `decided`, read by any after it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "cache/edge/object.h"
#include "cache/edge/stamps.h"
#include "cache/flight.h"

namespace trellis::cache {

struct Fill {
  enum class End : uint8_t {
    running,
    object,     // for all
    unshared,   // an answer that only its own request may have: the others ask for themselves
    own,        // likewise, but only because of what that request is: another one may bring an answer for all
    failed,     // for all who waited
    abandoned,  // its leader went away: another one leads
  };

  Fill(std::string its_key, uint64_t number, Stamp its_stamp, bool to_member = false)
      : key(std::move(its_key)), filled(number), stamp(its_stamp), asks_member(to_member) {}

  const std::string key;
  const uint64_t filled;   // PurgeBook::newest() when it began
  const Stamp stamp;       // EdgeCache::stamp() when it began
  const bool asks_member;  // another node's cache: a request of that one must not wait for it
  Flight decided;
  std::atomic<End> end{End::running};
  ObjectRef object;  // of object; growing perhaps
  ObjectRef marker;  // says by what the object's key goes on from this one; null: it does not
  // Holds a body that may pass at its first byte until those who waited read it themselves.
  std::shared_ptr<ObjectBody::Reader> place;
  std::optional<Error> error;  // of failed
};

}  // namespace trellis::cache
