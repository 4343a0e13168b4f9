// One step of a route's chain: it may answer itself, change the request, call next, change the answer. One instance a
// route and core; its configuration is immutable. The order in the chain is fixed in proxy/filter_order.cc for safety,
// not by the file.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "http/handler.h"

namespace trellis::proxy {

class Chain;

// The rest of the chain after a filter. A value: cheap to copy.
class Next {
 public:
  Next(const Chain& chain, size_t index) noexcept : chain_(&chain), index_(index) {}
  Task<Result<http::Response>> operator()(http::Request& request, http::RequestContext& context) const;

 private:
  // WHY not of *this: a Next is gone when a filter that is no coroutine has handed its task on.
  static Task<Result<http::Response>> explained(Next next, http::Request& request, http::RequestContext& context);

  const Chain* chain_;
  size_t index_;
};

class Filter {
 public:
  virtual ~Filter() = default;
  virtual Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) = 0;
  std::string_view name = "filter";  // in the configuration; static text
};

// A route's filters and its target. The target is borrowed: it belongs to the node.
class Chain {
 public:
  Chain(std::vector<std::unique_ptr<Filter>> filters, http::Handler& target) noexcept
      : filters_(std::move(filters)), target_(&target) {}
  Task<Result<http::Response>> run(http::Request& request, http::RequestContext& context) const {
    return Next(*this, 0)(request, context);
  }

 private:
  friend class Next;
  std::vector<std::unique_ptr<Filter>> filters_;
  http::Handler* target_;
};

// Not a coroutine itself: hands over the next step's own task, so a step costs one frame.
inline Task<Result<http::Response>> Next::operator()(http::Request& request, http::RequestContext& context) const {
  if (context.explain) [[unlikely]]
    return explained(*this, request, context);
  if (index_ == chain_->filters_.size()) return chain_->target_->handle(request, context);
  return chain_->filters_[index_]->handle(request, context, Next(*chain_, index_ + 1));
}

}  // namespace trellis::proxy
