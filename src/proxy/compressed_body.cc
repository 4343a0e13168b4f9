#include "proxy/compressed_body.h"

#include <algorithm>
#include <coroutine>

#include "proxy/files/file_body.h"
#include "runtime/loop.h"

namespace trellis::proxy {

namespace {

// Lets the loop take a turn.
class Turn {
 public:
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept {
    node_.handle = waiter;
    Loop::current().make_ready(node_);
  }
  void await_resume() const noexcept {}

 private:
  ReadyNode node_;
};

}  // namespace

CompressedBody::CompressedBody(http::Body body, std::unique_ptr<Encoder> encoder) : encoder_(std::move(encoder)) {
  switch (body.kind()) {
    case http::Body::Kind::none: break;
    case http::Body::Kind::bytes: pending_ = body.bytes(); break;
    case http::Body::Kind::file: source_ = std::make_unique<FileBody>(body.file()); break;
    case http::Body::Kind::stream:
      source_ = body.take_stream();
      flush_ = true;
      break;
  }
}

Task<Result<Chunk>> CompressedBody::read(Deadline deadline) {
  std::string out;
  while (out.empty() && !finished_) {
    bool ended = source_ == nullptr;
    if (pending_.empty() && source_) {
      CO_TRY(pending_, co_await source_->read(deadline));
      ended = pending_.empty();
    }
    if (worked_) {
      co_await Turn{};
      worked_ = false;
    }
    const size_t size = std::min(pending_.size(), kSlice);
    const bool last = size == pending_.size();
    const Encoder::Op op = last && ended    ? Encoder::Op::finish
                           : last && flush_ ? Encoder::Op::flush
                                            : Encoder::Op::process;
    if (!encoder_->run(pending_.view().substr(0, size), op, out))
      co_return fail(Error(Code::internal, "compression failed").from(Side::self));
    pending_.drop_front(size);
    if (last) pending_ = Chunk{};
    worked_ = size == kSlice;
    if (op == Encoder::Op::finish) {
      finished_ = true;
      encoder_.reset();
    }
  }
  co_return Chunk::from_string(std::move(out));
}

}  // namespace trellis::proxy
