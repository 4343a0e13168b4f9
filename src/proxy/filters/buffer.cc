#include "proxy/filters/buffer.h"

#include <algorithm>
#include <string>

#include "base/metrics.h"
#include "http/put_back.h"
#include "runtime/loop.h"

namespace trellis::proxy {

using http::FieldId;

namespace {

Counter& buffered(const FilterParts& parts, const char* what, const char* outcome) {
  return parts.metrics.counter("trellis_buffered_bodies_total",
                               "bodies that were to be kept: whole, in part (larger than the limit), or not for want "
                               "of memory",
                               {{"route", parts.route}, {"body", what}, {"outcome", outcome}});
}

// Each piece of the answer is wanted when it comes. Only answers say so: a client must not choose to hold a connection.
bool is_live(const http::Response& response) noexcept {
  const http::Fields& fields = response.fields;
  const std::string_view type = fields.value(FieldId::content_type);
  const auto begins = [type](std::string_view with) {
    return type.size() >= with.size() && http::iequal(type.substr(0, with.size()), with);
  };
  return response.status < 200 || begins("text/event-stream") || begins("application/grpc") ||
         begins("multipart/x-mixed-replace") || http::iequal(fields.value(FieldId::x_accel_buffering), "no");
}

}  // namespace

config::Fields<BufferConfig> BufferConfig::fields() {
  return {{"request", "of a request's body, read before the target is asked; 0: none", &BufferConfig::request,
           config::size(0, config::kGiB)},
          {"response", "of an answer's body, read before it is sent; 0: none", &BufferConfig::response,
           config::size(0, config::kGiB)},
          {"memory", "what bodies may hold on one core, over all routes; beyond it they stream", &BufferConfig::memory,
           config::size(HeldBytes::kBlock, 1024 * config::kGiB)}};
}

void BufferConfig::check(config::Checker& at) const {
  if (request == 0 && response == 0) at.problem("", "keeps nothing", "give request, response or both: request: 1MiB");
}

BufferFilter::Outcomes::Outcomes(const FilterParts& parts, const char* what)
    : whole(buffered(parts, what, "whole")),
      in_part(buffered(parts, what, "in_part")),
      no_memory(buffered(parts, what, "no_memory")) {}

BufferFilter::BufferFilter(const BufferConfig& config, const FilterParts& parts)
    : config_(config), memory_(parts.memory), requests_(parts, "request"), responses_(parts, "response") {}

std::shared_ptr<HeldBytes> BufferFilter::bytes_for(const http::BodyReader& body) const {
  return std::make_shared<HeldBytes>(memory_, config_.memory, body.length());
}

Task<Result<http::Response>> BufferFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  if (config_.response == 0 && !request.body) return next(request, context);
  return with_buffers(request, context, next);
}

Task<Result<std::unique_ptr<http::BodyReader>>> BufferFilter::hold(std::unique_ptr<http::BodyReader> body,
                                                                   std::shared_ptr<HeldBytes> bytes, uint64_t limit,
                                                                   Outcomes& outcomes, Deadline deadline) {
  for (uint32_t pieces = 1;; ++pieces) {
    // It may all be there, in chunks of a byte: others get their turn in between.
    if (pieces % 64 == 0) co_await yield();
    CO_TRY(Chunk piece, co_await body->read(deadline));
    const size_t part = std::min<uint64_t>(piece.size(), limit - bytes->size());
    const bool taken = bytes->append(piece.view().substr(0, part));
    if (taken && (piece.empty() || body->length() == bytes->size())) {
      outcomes.whole.add();
      co_return std::make_unique<HeldBody>(std::move(bytes), std::move(body), true);
    }
    if (taken) piece.drop_front(part);
    if (taken && piece.empty() && bytes->size() < limit) continue;
    (taken ? outcomes.in_part : outcomes.no_memory).add();
    // A copy: the piece is a part of a buffer that the core receives into.
    if (!piece.empty()) body = std::make_unique<http::PutBack>(Chunk::copy_of(piece.view()), std::move(body));
    co_return std::make_unique<HeldBody>(std::move(bytes), std::move(body), false);
  }
}

Task<Result<http::Response>> BufferFilter::with_buffers(http::Request& request, http::RequestContext& context,
                                                        Next next) {
  std::shared_ptr<HeldBytes> asked;
  if (request.body && config_.request > 0) {
    asked = bytes_for(*request.body);
    auto holding = hold(std::move(request.body), asked, config_.request, requests_, context.deadline);
    CO_TRY(request.body, co_await holding);
  }
  CO_TRY(http::Response response, co_await next(request, context));
  // The answer has come, the request will not be sent again.
  if (asked) asked->let_go();
  if (config_.response == 0 || response.body.kind() != http::Body::Kind::stream || is_live(response))
    co_return response;
  std::unique_ptr<http::BodyReader> body = response.body.take_stream();
  std::shared_ptr<HeldBytes> bytes = bytes_for(*body);
  bytes->let_go();
  auto holding = hold(std::move(body), std::move(bytes), config_.response, responses_, context.deadline);
  CO_TRY(body, co_await holding);
  response.body = http::Body(std::move(body));
  co_return response;
}

}  // namespace trellis::proxy
