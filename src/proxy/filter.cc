#include "proxy/filter.h"

#include <string>

#include "http/explain.h"

namespace trellis::proxy {

// The same step, telling what became of it: a filter that did not go on has answered itself.
Task<Result<http::Response>> Next::explained(Next next, http::Request& request, http::RequestContext& context) {
  http::Explain& explain = *context.explain;
  const size_t index = next.index_;
  const Chain& chain = *next.chain_;
  // The filter before this step went on; where it has not said what it did, that it passes is its verdict.
  if (index > 0 && explain.decisions() == explain.decisions_before)
    explain.add("filter", std::string(chain.filters_[index - 1]->name) + " passes");
  explain.reached = index;
  explain.decisions_before = explain.decisions();
  if (index == chain.filters_.size()) {
    Result<http::Response> answer = co_await chain.target_->handle(request, context);
    co_return answer;
  }
  Filter& filter = *chain.filters_[index];
  Result<http::Response> answer = co_await filter.handle(request, context, Next(chain, index + 1));
  if (explain.reached == index) {
    std::string verdict = std::string(filter.name) + " went no further: ";
    verdict += answer ? "it answers " + std::to_string(answer->status) : answer.error().to_string();
    explain.add("filter", verdict);
  }
  co_return answer;
}

}  // namespace trellis::proxy
