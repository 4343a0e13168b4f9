// The walk that lets old purges go: in small steps, beside the requests, everything in a cache is compared with the
// rules of its book, in memory and on disk. What is dead leaves; the rules that were there when the walk began have met
// all that they could, and go when they are old enough (PurgeBook::tick()). docs/edge-cache-purge.md.
//
// What comes into the cache during a walk is compared as it comes, so where the walk is does not matter to it.
#pragma once

#include <memory>

#include "cache/edge/edge_cache.h"

namespace trellis::cache {

// Walks whenever the book wants it, until the cache is gone or the task is cancelled. Between two steps it holds
// nothing of the cache. One a cache, on one core.
Task<> walk_for_purges(std::weak_ptr<EdgeCache> cache);

// One walk. False: the cache is gone, or its disk could not be looked at: the rules stay.
Task<bool> walk_once(std::weak_ptr<EdgeCache> cache);

}  // namespace trellis::cache
