// One purge of one cache, on this node and on the other members of its cluster, and what became of it in words. Used by
// the control API and by the filter that takes PURGE requests. On any core.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "cache/edge/edge_cache.h"
#include "http/handler.h"
#include "proxy/cache/members.h"

namespace trellis::proxy {

struct PurgeOutcome {
  std::string not_kept;  // why it is in effect here, but not kept over a restart; "": it is kept
  std::vector<MemberAck> members;

  // In effect and kept wherever it should be.
  bool complete() const noexcept;
};

// `members`: of this core; null: there are no others. An error: nothing was purged; unavailable while a new process
// takes over the node.
Task<Result<PurgeOutcome>> purge(std::shared_ptr<cache::EdgeCache> cache, Members* members, cache::PurgeRule rule);

// As members of an object that was begun: cache, kept, complete, members.
void write_outcome(JsonWriter& json, std::string_view cache, const PurgeOutcome& outcome);

// What is said of a purge that failed.
http::Response purge_failed(const Error& why, http::RequestContext& context);

// A PURGE request on a route whose cache takes them, signed with `key` (purge_request.h): 200 when the purge is
// complete, 202 when a member is still to hear of it, 403, 400, 503.
Task<Result<http::Response>> answer_purge(const http::Request& request, http::RequestContext& context, std::string key,
                                          std::shared_ptr<cache::EdgeCache> cache, Members* members);

}  // namespace trellis::proxy
