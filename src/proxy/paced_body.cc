#include "proxy/paced_body.h"

#include <algorithm>

#include "proxy/files/file_body.h"
#include "runtime/loop.h"

namespace trellis::proxy {

PacedBody::PacedBody(http::Body body, uint64_t rate) : length_(body.length()), pace_(rate) {
  switch (body.kind()) {
    case http::Body::Kind::none: break;
    case http::Body::Kind::bytes: pending_ = body.bytes(); break;
    case http::Body::Kind::file: source_ = std::make_unique<FileBody>(body.file()); break;
    case http::Body::Kind::stream: source_ = body.take_stream(); break;
  }
}

Task<Result<Chunk>> PacedBody::read(Deadline deadline) {
  if (pending_.empty()) {
    if (!source_) co_return Chunk();
    CO_TRY(pending_, co_await source_->read(deadline));
    if (pending_.empty()) co_return Chunk();
    // It may take its time, and must not keep a receive buffer from the others meanwhile.
    if (pending_.size() > pace_.slice()) pending_ = Chunk::copy_of(pending_.view());
  }
  const size_t size = std::min(pending_.size(), pace_.slice());
  const Time due = pace_.take(Loop::current().now(), size);
  co_await sleep_until(std::min(due, deadline));
  if (due > deadline) co_return fail(Error(Code::deadline_exceeded, "the paced body").from(Side::self));
  Chunk piece = pending_.slice(0, size);
  pending_.drop_front(size);
  if (pending_.empty()) pending_ = Chunk();
  co_return piece;
}

}  // namespace trellis::proxy
