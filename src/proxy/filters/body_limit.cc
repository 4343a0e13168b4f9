#include "proxy/filters/body_limit.h"

#include <string>

#include "proxy/refusal.h"

namespace trellis::proxy {

namespace {

// Counts what comes; the chunk that crosses the limit is not handed on.
class LimitedBody final : public http::BodyReader {
 public:
  LimitedBody(std::unique_ptr<http::BodyReader> body, uint64_t max) noexcept
      : body_(std::move(body)), max_(max), left_(max) {}

  Task<Result<Chunk>> read(Deadline deadline) override {
    CO_TRY(Chunk chunk, co_await body_->read(deadline));
    if (chunk.size() > left_) {
      const std::string what = std::string(http::kBodyTooLarge) + ": more than " + std::to_string(max_) + " bytes";
      co_return fail(Error(Code::resource_exhausted, what).from(Side::client));
    }
    left_ -= chunk.size();
    co_return chunk;
  }
  std::optional<uint64_t> length() const noexcept override { return body_->length(); }
  const http::Fields* trailers() const noexcept override { return body_->trailers(); }

 private:
  std::unique_ptr<http::BodyReader> body_;
  uint64_t max_;
  uint64_t left_;
};

Task<Result<http::Response>> too_large(http::RequestContext& context, uint64_t max) {
  const std::string detail = "the body may have at most " + std::to_string(max) + " bytes";
  co_return refuse(context, 413, http::kBodyTooLarge, detail);
}

}  // namespace

config::Fields<BodyLimitConfig> BodyLimitConfig::fields() {
  return {{"max", "largest request body", &BodyLimitConfig::max, config::size()}};
}

Task<Result<http::Response>> BodyLimitFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  if (!request.body) return next(request, context);
  const std::optional<uint64_t> length = request.body->length();
  if (length && *length > max_) return too_large(context, max_);
  if (!length) request.body = std::make_unique<LimitedBody>(std::move(request.body), max_);
  return next(request, context);
}

}  // namespace trellis::proxy
