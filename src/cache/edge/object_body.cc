#include "cache/edge/object_body.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "runtime/frame_pool.h"

namespace trellis::cache {

namespace {

constexpr size_t kFirstBlock = 16 << 10;  // of a body of unknown length; each next one is twice as large, up to
constexpr size_t kMostBlock = 1 << 20;

}  // namespace

ObjectBody::ObjectBody(std::optional<uint64_t> expected, std::shared_ptr<Bytes> bytes)
    : expected_(expected), bytes_(std::move(bytes)) {
  if (expected_) took(static_cast<size_t>(*expected_));
}

ObjectBody::~ObjectBody() { let_go(memory_.load(std::memory_order_relaxed)); }

void ObjectBody::took(size_t bytes) noexcept {
  memory_.fetch_add(bytes, std::memory_order_relaxed);
  if (bytes_) bytes_->fetch_add(bytes, std::memory_order_relaxed);
}

void ObjectBody::let_go(size_t bytes) noexcept {
  memory_.fetch_sub(bytes, std::memory_order_relaxed);
  if (bytes_) bytes_->fetch_sub(bytes, std::memory_order_relaxed);
}

bool ObjectBody::append(std::string_view bytes) {
  uint64_t at = size_.load(std::memory_order_relaxed);
  if (expected_ && bytes.size() > *expected_ - at) return false;
  while (!bytes.empty()) {
    if (blocks_.empty() || at == blocks_.back().begin + blocks_.back().room) {
      const size_t grown = blocks_.empty() ? kFirstBlock : std::min(kMostBlock, 2 * blocks_.back().room);
      const size_t room = expected_ ? static_cast<size_t>(std::min<uint64_t>(*expected_ - at, kMostBlock)) : grown;
      Block block{std::make_shared_for_overwrite<char[]>(room), at, room};
      if (!expected_) took(room);
      const std::lock_guard lock(lock_);
      blocks_.push_back(std::move(block));
    }
    const Block& block = blocks_.back();
    const size_t into = static_cast<size_t>(at - block.begin);
    const size_t count = std::min(bytes.size(), block.room - into);
    std::memcpy(block.bytes.get() + into, bytes.data(), count);
    at += count;
    bytes.remove_prefix(count);
    size_.store(at, std::memory_order_release);
  }
  wake();
  return true;
}

void ObjectBody::finish() {
  const bool whole = !expected_ || size() == *expected_;
  state_.store(whole ? State::whole : State::broken, std::memory_order_release);
  wake();
}

void ObjectBody::give_up() {
  if (state() != State::growing) return;
  state_.store(State::broken, std::memory_order_release);
  wake();
}

void ObjectBody::wake() {
  std::shared_ptr<Flight> changed;
  {
    const std::lock_guard lock(lock_);
    changed = std::move(changed_);
  }
  if (changed) changed->finish();
}

std::optional<uint64_t> ObjectBody::expected() const noexcept {
  if (expected_) return expected_;
  if (state() == State::whole) return size();
  return std::nullopt;
}

const ObjectBody::Block& ObjectBody::block_of(uint64_t position) const noexcept {
  auto block = std::upper_bound(blocks_.begin(), blocks_.end(), position,
                                [](uint64_t value, const Block& one) { return value < one.begin; });
  return *--block;
}

std::string_view ObjectBody::at(uint64_t position) const noexcept {
  const bool whole = state() == State::whole;
  const uint64_t end = size();
  if (position >= end || passing()) return {};
  std::unique_lock lock(lock_, std::defer_lock);
  if (!whole) lock.lock();
  const Block& block = block_of(position);
  const uint64_t last = std::min(end, block.begin + block.room);
  return {block.bytes.get() + (position - block.begin), static_cast<size_t>(last - position)};
}

std::vector<std::string_view> ObjectBody::pieces() const {
  std::vector<std::string_view> pieces;
  for (uint64_t position = 0; position < size();) {
    const std::string_view piece = at(position);
    if (piece.empty()) break;
    pieces.push_back(piece);
    position += piece.size();
  }
  return pieces;
}

Task<bool> ObjectBody::wait_for(uint64_t position, Deadline deadline) {
  while (true) {
    if (size() > position || state() != State::growing) co_return true;
    std::shared_ptr<Flight> changed;
    {
      const std::lock_guard lock(lock_);
      if (!changed_) changed_ = std::make_shared<Flight>();
      changed = changed_;
    }
    // What came before the flight was there has woken nobody.
    if (size() > position || state() != State::growing) co_return true;
    const bool came = co_await changed->wait(deadline);
    if (!came) co_return false;
  }
}

// --- other codings ---

std::shared_ptr<ObjectBody> ObjectBody::form(std::string_view coding) const {
  const std::lock_guard lock(lock_);
  for (const auto& [name, body] : forms_) {
    if (name == coding) return body;
  }
  return nullptr;
}

bool ObjectBody::begin_form(std::string_view coding) {
  const std::lock_guard lock(lock_);
  for (const auto& [name, body] : forms_) {
    if (name == coding) return false;
  }
  forms_.emplace_back(coding, nullptr);
  return true;
}

void ObjectBody::end_form(std::string_view coding, std::shared_ptr<ObjectBody> made) {
  const std::lock_guard lock(lock_);
  for (size_t i = 0; i < forms_.size(); ++i) {
    if (forms_[i].first != coding) continue;
    if (made) {
      forms_memory_.fetch_add(made->memory(), std::memory_order_relaxed);
      forms_[i].second = std::move(made);
    } else {
      forms_.erase(forms_.begin() + static_cast<ptrdiff_t>(i));
    }
    return;
  }
}

Task<bool> ObjectBody::wait_for_end(Deadline deadline) { return wait_for(UINT64_MAX, deadline); }

// --- readers ---

// Keeps a block for as long as a chunk of it is on its way.
class ObjectBody::Hold final : public ChunkOwner {
 public:
  explicit Hold(std::shared_ptr<char[]> bytes) noexcept : bytes_(std::move(bytes)) {}
  static void* operator new(size_t size) { return frame_alloc(size); }
  static void operator delete(void* memory, size_t size) noexcept { frame_free(memory, size); }

 private:
  void release() noexcept override { delete this; }
  std::shared_ptr<char[]> bytes_;
};

ObjectBody::Reader::Reader(std::shared_ptr<ObjectBody> body, uint64_t position)
    : body_(std::move(body)), position_(position), listed_(body_->state() == State::growing) {
  if (!listed_) return;
  const std::lock_guard lock(body_->lock_);
  body_->readers_.push_back(this);
}

ObjectBody::Reader::~Reader() {
  if (!listed_) return;
  std::shared_ptr<Flight> moved;
  {
    const std::lock_guard lock(body_->lock_);
    std::erase(body_->readers_, this);
    moved = std::move(body_->moved_);
  }
  if (moved) moved->finish();
}

Task<Result<Chunk>> ObjectBody::Reader::read(size_t most, Deadline deadline) {
  const bool came = co_await body_->wait_for(position_, deadline);
  if (!came) co_return fail(Error(Code::deadline_exceeded, "waiting for the rest of a body").from(Side::upstream));
  Chunk chunk = body_->take(position_, most);
  if (chunk.empty()) {
    // What was given up has a size that is no end.
    if (body_->state() != State::whole || position_ < body_->size())
      co_return fail(Error(Code::data_loss, "the body broke off").from(Side::upstream));
    co_return chunk;
  }
  body_->move(*this, position_ + chunk.size());
  co_return chunk;
}

Chunk ObjectBody::take(uint64_t position, size_t most) const {
  const std::lock_guard lock(lock_);
  const uint64_t end = size();
  if (position >= end || blocks_.empty() || position < blocks_.front().begin) return {};
  const Block& block = block_of(position);
  const uint64_t last = std::min(end, block.begin + block.room);
  const size_t count = std::min(static_cast<size_t>(last - position), most);
  return Chunk(new Hold(block.bytes), block.bytes.get() + (position - block.begin), count);
}

void ObjectBody::move(Reader& reader, uint64_t position) noexcept {
  if (!reader.listed_) {
    reader.position_ = position;
    return;
  }
  std::shared_ptr<Flight> moved;
  {
    const std::lock_guard lock(lock_);
    reader.position_ = position;
    moved = std::move(moved_);
  }
  if (moved) moved->finish();
}

void ObjectBody::pass() noexcept { passing_.store(true, std::memory_order_release); }

Task<bool> ObjectBody::wait_for_readers(uint64_t window, Deadline deadline) {
  while (true) {
    std::shared_ptr<Flight> moved;
    {
      const std::lock_guard lock(lock_);
      if (readers_.empty()) co_return false;
      uint64_t slowest = UINT64_MAX;
      for (const Reader* reader : readers_) slowest = std::min(slowest, reader->position_);
      size_t gone = 0;
      while (gone < blocks_.size() && blocks_[gone].begin + blocks_[gone].room <= slowest) {
        let_go(blocks_[gone].room);
        ++gone;
      }
      blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<ptrdiff_t>(gone));
      if (size() <= slowest || size() - slowest < window) co_return true;
      if (!moved_) moved_ = std::make_shared<Flight>();
      moved = moved_;
    }
    const bool came = co_await moved->wait(deadline);
    if (!came) co_return false;
  }
}

}  // namespace trellis::cache
