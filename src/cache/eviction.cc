#include "cache/eviction.h"

namespace trellis::cache {

std::string_view to_string(EvictionPolicy policy) noexcept {
  switch (policy) {
    case EvictionPolicy::s3fifo: return "s3fifo";
    case EvictionPolicy::w_tinylfu: return "w_tinylfu";
    case EvictionPolicy::lru: return "lru";
    case EvictionPolicy::fifo: return "fifo";
    case EvictionPolicy::random: return "random";
    case EvictionPolicy::ttl: return "ttl";
  }
  return "";
}

Eviction::Eviction(EvictionPolicy policy, uint64_t capacity, uint64_t seed) : capacity_(capacity), policy_(S3Fifo(1)) {
  switch (policy) {
    case EvictionPolicy::s3fifo: policy_.emplace<S3Fifo>(capacity); break;
    case EvictionPolicy::w_tinylfu: policy_.emplace<WTinyLfu>(capacity); break;
    case EvictionPolicy::lru: policy_.emplace<Lru>(capacity); break;
    case EvictionPolicy::fifo: policy_.emplace<Fifo>(capacity); break;
    case EvictionPolicy::random: policy_.emplace<RandomEviction>(capacity, seed); break;
    case EvictionPolicy::ttl: policy_.emplace<SoonestExpiry>(capacity); break;
  }
}

}  // namespace trellis::cache
