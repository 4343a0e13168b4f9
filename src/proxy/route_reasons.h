// Why a route took a request, or none did, in words for who asks (docs/explain.md). Compiles each route anew to see
// whether it alone would match: for single questions, not for every request. Pure; any core.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "http/message.h"
#include "proxy/router.h"

namespace trellis::proxy {

struct PipelineRoute;

// "api: host api.example.com, path /v1/**; leads to upstream.api; less specific: rest (path /**)".
std::string reason_of_route(std::span<const PipelineRoute> routes, uint32_t taken, const http::Request& request);
// "no route of 3 takes GET www.example.com/missing".
std::string reason_of_none(std::span<const PipelineRoute> routes, const http::Request& request);

}  // namespace trellis::proxy
