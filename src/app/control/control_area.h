// What the areas of the control API share: each has its endpoints in a file of its own (control_jobs.cc, ...), and
// Control leads requests to them. Handlers run on core 0; parameters come in the query, answers are JSON, errors
// problem+json.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "base/time.h"
#include "http/handler.h"
#include "http/message.h"
#include "runtime/task.h"

namespace trellis::app {

class Node;
struct OpenStore;

struct ControlEndpoint {
  std::string_view path;  // a segment of * is any name
  http::Method method;
  Task<Result<http::Response>> (*handle)(Node& node, http::Request& request, http::RequestContext& context);
};

std::span<const ControlEndpoint> cache_endpoints() noexcept;
std::span<const ControlEndpoint> cache_why_endpoints() noexcept;
std::span<const ControlEndpoint> explain_endpoints() noexcept;
std::span<const ControlEndpoint> host_endpoints() noexcept;
std::span<const ControlEndpoint> job_endpoints() noexcept;
std::span<const ControlEndpoint> log_endpoints() noexcept;
std::span<const ControlEndpoint> purge_endpoints() noexcept;
std::span<const ControlEndpoint> store_endpoints() noexcept;
// What a node elsewhere may ask for, with the token.
std::span<const ControlEndpoint> worker_endpoints() noexcept;

// An answer that is not to be kept.
http::Response control_answer(http::RequestContext& context, int status, std::string_view type, std::string text);
http::Response json_answer(http::RequestContext& context, int status, std::string text);
// An error whose text says what the caller did wrong.
Error refused(Code code, std::string text);

// A parameter of the query; none when it is not there. What cannot be decoded or read is invalid_argument.
Result<std::optional<std::string>> text_parameter(http::Request& request, http::RequestContext& context,
                                                  std::string_view name);
Result<std::optional<int64_t>> number_parameter(http::Request& request, http::RequestContext& context,
                                                std::string_view name, int64_t low, int64_t high);
Result<std::optional<bool>> flag_parameter(http::Request& request, http::RequestContext& context,
                                           std::string_view name);
// A parameter that is none of these, a misspelt one maybe, or one that is said twice is invalid_argument: what it was
// to restrict or to ask for would be left out unsaid.
Result<> no_other_parameters(const http::Request& request, std::initializer_list<std::string_view> known);
// The store that the parameter `store` names; it may be left out where there is one only.
Result<std::shared_ptr<OpenStore>> store_parameter(Node& node, http::Request& request, http::RequestContext& context);

// "2026-03-01T12:34:56.789Z"
std::string time_text(WallTime time);

inline constexpr Duration kControlTimeout = std::chrono::seconds(30);

}  // namespace trellis::app
