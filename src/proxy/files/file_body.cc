#include "proxy/files/file_body.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "http/multipart.h"
#include "runtime/blocking_pool.h"

namespace trellis::proxy {

namespace {

// WHY a pointer: GCC 12 takes the inside buffer of a string in a Result for a freed pointer (-Wfree-nonheap-object).
Result<std::unique_ptr<std::string>> read_piece(const http::FileHandle& file, uint64_t offset, size_t size) {
  auto bytes = std::make_unique<std::string>(size, '\0');
  while (true) {
    const ssize_t n = ::pread(file.fd(), bytes->data(), size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno_error("read a file", errno).from(Side::self));
    if (n == 0) return fail(Error(Code::data_loss, "a file became shorter while it was sent").from(Side::self));
    bytes->resize(static_cast<size_t>(n));
    return bytes;
  }
}

// The next piece of what is left, which shrinks by it.
Task<Result<Chunk>> next_piece(http::FileSlice& left, Deadline deadline) {
  if (left.size == 0) co_return Chunk{};
  if (deadline <= Loop::current().now()) co_return fail(Error(Code::deadline_exceeded, "read a file").from(Side::self));
  const auto size = static_cast<size_t>(std::min<uint64_t>(left.size, FileBody::kPiece));
  auto read = [file = left.file, offset = left.offset, size] { return read_piece(*file, offset, size); };
  CO_TRY(std::unique_ptr<std::string> bytes, co_await blocking(std::move(read)));
  left.offset += bytes->size();
  left.size -= bytes->size();
  co_return Chunk::from_string(std::move(*bytes));
}

}  // namespace

Task<Result<Chunk>> FileBody::read(Deadline deadline) { return next_piece(slice_, deadline); }

MultipartBody::MultipartBody(http::FileSlice file, Chunk content, std::vector<http::ByteRange> ranges,
                             std::string_view content_type, std::string boundary, uint64_t total_size)
    : file_(std::move(file)), content_(std::move(content)), ranges_(std::move(ranges)) {
  http::MultipartText text = http::multipart_text(ranges_, content_type, boundary, total_size);
  heads_ = std::move(text.heads);
  tail_ = std::move(text.tail);
  length_ = text.length;
}

Task<Result<Chunk>> MultipartBody::read(Deadline deadline) {
  if (part_ == ranges_.size()) {
    co_return Chunk::from_string(std::exchange(tail_, {}));  // empty the second time: the end
  }
  http::ByteRange& range = ranges_[part_];
  if (!head_sent_) {
    head_sent_ = true;
    co_return Chunk::from_string(std::move(heads_[part_]));
  }
  if (!content_.empty()) {
    Chunk piece = content_.slice(range.first, range.size());
    ++part_;
    head_sent_ = false;
    co_return piece;
  }
  http::FileSlice left{file_.file, file_.offset + range.first, range.size()};
  CO_TRY(Chunk piece, co_await next_piece(left, deadline));
  if (left.size == 0) {
    ++part_;
    head_sent_ = false;
  } else {
    range.first += piece.size();
  }
  co_return piece;
}

}  // namespace trellis::proxy
