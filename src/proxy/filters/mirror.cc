#include "proxy/filters/mirror.h"

#include <array>
#include <string>

#include "base/metrics.h"
#include "http/detached.h"
#include "http/explain.h"
#include "runtime/loop.h"
#include "runtime/sync.h"

namespace trellis::proxy {

namespace {
constexpr std::string_view kMark = "X-Trellis-Mirror";
constexpr size_t kOutcomes = 6;
}  // namespace

std::string_view to_string(MirrorOutcome outcome) noexcept {
  switch (outcome) {
    case MirrorOutcome::answered: return "answered";
    case MirrorOutcome::failed: return "failed";
    case MirrorOutcome::late: return "late";
    case MirrorOutcome::dropped: return "dropped";
    case MirrorOutcome::too_large: return "too_large";
    case MirrorOutcome::incomplete: return "incomplete";
  }
  return "failed";
}

config::Fields<MirrorConfig> MirrorConfig::fields() {
  return {{"to", "the upstream that gets the copies", &MirrorConfig::to, config::kRequired},
          {"share", "of the requests", &MirrorConfig::share, config::percent()},
          {"max_in_flight", "copies that one core takes or sends at once; more are dropped",
           &MirrorConfig::max_in_flight, config::range(1, 100'000)},
          {"body", "largest body of a request that is copied", &MirrorConfig::body, config::size(0, 16 * config::kMiB)},
          {"timeout", "for a copy, from the end of the request's body to the end of the answer", &MirrorConfig::timeout,
           config::range(std::chrono::milliseconds(1), std::chrono::hours(1))}};
}

void MirrorConfig::check(config::Checker& at) const {
  if (to.which() != TargetConfig::Kind::upstream) at.problem("to", "copies go to an upstream", "to: upstream.shadow");
}

// What the copies of one route share; on one core.
struct MirrorFilter::Shadow {
  std::shared_ptr<http::Handler> target;
  TaskGroup& background;
  Duration timeout;
  uint64_t max_body;
  uint32_t max_in_flight;
  uint32_t in_flight = 0;
  std::array<Counter*, kOutcomes> outcomes{};

  void count(MirrorOutcome outcome) noexcept { outcomes[static_cast<size_t>(outcome)]->add(); }
};

struct MirrorFilter::Copy : http::Detached {
  Copy(std::shared_ptr<Shadow> of, const http::Request& original, const http::RequestContext& its)
      : http::Detached(original, its), shadow(std::move(of)) {
    ++shadow->in_flight;
    request.fields.add(kMark, "1");
  }
  ~Copy() { --shadow->in_flight; }

  std::shared_ptr<Shadow> shadow;
  std::string body;
  bool has_body = false;
};

// The original's body on its way to the target; what is read goes into the copy, too.
class MirrorFilter::CopiedBody final : public http::BodyReader {
 public:
  CopiedBody(std::unique_ptr<http::BodyReader> body, std::unique_ptr<Copy> copy) noexcept
      : body_(std::move(body)), copy_(std::move(copy)) {}
  ~CopiedBody() override { give_up(MirrorOutcome::incomplete); }

  Task<Result<Chunk>> read(Deadline deadline) override {
    Result<Chunk> piece = co_await body_->read(deadline);
    if (!copy_) co_return piece;
    if (!piece) {
      give_up(MirrorOutcome::incomplete);
    } else if (piece->size() > copy_->shadow->max_body - copy_->body.size()) {
      give_up(MirrorOutcome::too_large);
    } else {
      copy_->body.append(piece->view());
      if (piece->empty() || body_->length() == copy_->body.size()) begin(std::move(copy_));
    }
    co_return piece;
  }
  std::optional<uint64_t> length() const noexcept override { return body_->length(); }
  const http::Fields* trailers() const noexcept override { return body_->trailers(); }
  bool can_rewind() const noexcept override { return body_->can_rewind(); }
  bool rewind() noexcept override {
    if (!body_->rewind()) return false;
    if (copy_) copy_->body.clear();
    return true;
  }

 private:
  void give_up(MirrorOutcome why) noexcept {
    if (!copy_) return;
    copy_->shadow->count(why);
    copy_.reset();
  }
  std::unique_ptr<http::BodyReader> body_;
  std::unique_ptr<Copy> copy_;  // null: sent or given up
};

MirrorFilter::MirrorFilter(std::shared_ptr<Shadow> shadow, double share) noexcept
    : shadow_(std::move(shadow)), share_(share) {}
MirrorFilter::~MirrorFilter() = default;

Result<std::unique_ptr<MirrorFilter>> MirrorFilter::make(const MirrorConfig& config, const FilterParts& parts) {
  TRY(std::shared_ptr<http::Handler> target, parts.make_target(config.to));
  auto shadow = std::make_shared<Shadow>(Shadow{.target = std::move(target),
                                                .background = parts.background,
                                                .timeout = config.timeout,
                                                .max_body = config.body,
                                                .max_in_flight = config.max_in_flight});
  for (size_t i = 0; i < kOutcomes; ++i) {
    shadow->outcomes[i] = &parts.metrics.counter(
        "trellis_mirror_total", "copies of requests by what became of them",
        {{"route", parts.route}, {"outcome", std::string(to_string(static_cast<MirrorOutcome>(i)))}});
  }
  return std::unique_ptr<MirrorFilter>(new MirrorFilter(std::move(shadow), config.share));
}

Task<Result<http::Response>> MirrorFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  // A connection that becomes something else cannot be copied; and a copy is not copied again, or two nodes that mirror
  // each other would never end.
  const bool wanted = !request.fields.has(http::FieldId::upgrade) && !request.fields.find(kMark);
  const bool copied = wanted && (share_ >= 1 || context.loop.rng().unit() < share_);
  if (context.explain) [[unlikely]]
    context.explain->add("filter", copied ? "mirror: a copy goes beside" : "mirror: no copy of this one");
  if (copied) copy(request, context);
  return next(request, context);
}

void MirrorFilter::copy(http::Request& request, const http::RequestContext& context) {
  if (shadow_->in_flight >= shadow_->max_in_flight) return shadow_->count(MirrorOutcome::dropped);
  if (request.body && request.body->length().value_or(0) > shadow_->max_body)
    return shadow_->count(MirrorOutcome::too_large);
  auto copy = std::make_unique<Copy>(shadow_, request, context);
  if (!request.body) return begin(std::move(copy));
  copy->has_body = true;
  request.body = std::make_unique<CopiedBody>(std::move(request.body), std::move(copy));
}

void MirrorFilter::begin(std::unique_ptr<Copy> copy) {
  TaskGroup& background = copy->shadow->background;
  background.spawn(send(std::move(copy)));
}

Task<> MirrorFilter::send(std::unique_ptr<Copy> copy) {
  co_await yield();  // the original goes first
  Shadow& shadow = *copy->shadow;
  copy->context.deadline = after(copy->context.loop.now(), shadow.timeout);
  if (copy->has_body) copy->request.body = std::make_unique<http::TextBody>(std::move(copy->body));
  MirrorOutcome outcome = MirrorOutcome::failed;
  TaskGroup asking;  // cut at the deadline, wherever it waits
  asking.spawn(ask(*copy, outcome));
  const bool ended = co_await asking.join(copy->context.deadline);
  shadow.count(ended ? outcome : MirrorOutcome::late);
}

Task<> MirrorFilter::ask(Copy& copy, MirrorOutcome& outcome) {
  Result<http::Response> answer = co_await copy.shadow->target->handle(copy.request, copy.context);
  if (!answer) {
    if (answer.error().code() == Code::deadline_exceeded) outcome = MirrorOutcome::late;
    co_return;
  }
  if (answer->body.kind() == http::Body::Kind::stream) {
    const std::unique_ptr<http::BodyReader> body = answer->body.take_stream();
    while (true) {
      Result<Chunk> piece = co_await body->read(copy.context.deadline);
      if (!piece) co_return;
      if (piece->empty()) break;
    }
  }
  outcome = MirrorOutcome::answered;
}

}  // namespace trellis::proxy
