#include "proxy/encoder.h"

#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <vector>

namespace trellis::proxy {

namespace {

constexpr size_t kStep = 16 << 10;  // output grows by this much
constexpr size_t kMaxIdle = 16;     // contexts a thread keeps for each coding
constexpr size_t kMaxIdleBytes = 8 << 20;
constexpr int kWindowLog = 18;  // 256 KiB bounds what a stream holds

// Makes room behind the end, lets `step(to, room)` write there, and keeps what it says it wrote.
template <class Step>
bool grow(std::string& out, Step step) {
  const size_t before = out.size();
  out.resize(before + kStep);
  size_t written = 0;
  const bool good = step(reinterpret_cast<uint8_t*>(out.data()) + before, kStep, written);
  out.resize(before + written);
  return good;
}

struct Deflate {
  z_stream stream{};
  int level;
  explicit Deflate(int wanted) : level(wanted) {}
  Deflate(const Deflate&) = delete;
  Deflate& operator=(const Deflate&) = delete;
  ~Deflate() { deflateEnd(&stream); }
};
struct FreeZstd {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
};
using Zstd = std::unique_ptr<ZSTD_CCtx, FreeZstd>;

// Brotli's encoder cannot be reset, but it takes its memory from us: the same few sizes again and again.
class BrotliMemory {
 public:
  BrotliMemory() = default;
  BrotliMemory(const BrotliMemory&) = delete;
  BrotliMemory& operator=(const BrotliMemory&) = delete;
  ~BrotliMemory() {
    for (Block* block : idle_) std::free(block);
  }
  static void* alloc(void* self, size_t size) noexcept { return static_cast<BrotliMemory*>(self)->take(size); }
  static void free(void* self, void* bytes) noexcept {
    if (bytes != nullptr) static_cast<BrotliMemory*>(self)->give(static_cast<Block*>(bytes) - 1);
  }

 private:
  struct alignas(std::max_align_t) Block {
    size_t size;
  };
  void* take(size_t size) noexcept {
    const auto fits =
        std::find_if(idle_.rbegin(), idle_.rend(), [size](const Block* block) { return block->size == size; });
    Block* block;
    if (fits != idle_.rend()) {
      block = *fits;
      *fits = idle_.back();
      idle_.pop_back();
      idle_bytes_ -= size;
    } else {
      block = static_cast<Block*>(std::malloc(sizeof(Block) + size));
      if (block == nullptr) return nullptr;
      block->size = size;
    }
    return block + 1;
  }
  void give(Block* block) noexcept {
    if (idle_bytes_ + block->size > kMaxIdleBytes || idle_.size() >= 256) return std::free(block);
    idle_bytes_ += block->size;
    idle_.push_back(block);
  }

  std::vector<Block*> idle_;
  size_t idle_bytes_ = 0;
};

struct Contexts {
  std::vector<std::unique_ptr<Deflate>> deflate;
  std::vector<Zstd> zstd;
  BrotliMemory brotli;
  size_t open = 0;
};
Contexts& contexts() noexcept {
  thread_local Contexts all;
  return all;
}

struct OpenCount {
  OpenCount() noexcept { ++contexts().open; }
  OpenCount(const OpenCount&) = delete;
  OpenCount& operator=(const OpenCount&) = delete;
  ~OpenCount() { --contexts().open; }
};

class GzipEncoder final : public Encoder {
 public:
  explicit GzipEncoder(std::unique_ptr<Deflate> deflate) noexcept : deflate_(std::move(deflate)) {}
  ~GzipEncoder() override {
    auto& idle = contexts().deflate;
    if (idle.size() < kMaxIdle) idle.push_back(std::move(deflate_));
  }
  bool run(std::string_view in, Op op, std::string& out) override {
    z_stream& z = deflate_->stream;
    const int flush = op == Op::finish ? Z_FINISH : op == Op::flush ? Z_SYNC_FLUSH : Z_NO_FLUSH;
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    z.avail_in = static_cast<uInt>(in.size());
    bool more = true;
    while (more) {
      int result = Z_OK;
      grow(out, [&](uint8_t* to, size_t room, size_t& written) {
        z.next_out = to;
        z.avail_out = static_cast<uInt>(room);
        result = deflate(&z, flush);
        written = room - z.avail_out;
        more = z.avail_out == 0;
        return true;
      });
      if (result == Z_STREAM_END) return true;
      if (result != Z_OK && result != Z_BUF_ERROR) return false;  // Z_BUF_ERROR: there was nothing left to do
      if (op == Op::finish) more = true;
    }
    return true;
  }

 private:
  std::unique_ptr<Deflate> deflate_;
  OpenCount count_;
};

class ZstdEncoder final : public Encoder {
 public:
  explicit ZstdEncoder(Zstd context) noexcept : context_(std::move(context)) {}
  ~ZstdEncoder() override {
    auto& idle = contexts().zstd;
    if (idle.size() < kMaxIdle) idle.push_back(std::move(context_));
  }
  bool run(std::string_view in, Op op, std::string& out) override {
    const ZSTD_EndDirective directive = op == Op::finish  ? ZSTD_e_end
                                        : op == Op::flush ? ZSTD_e_flush
                                                          : ZSTD_e_continue;
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    while (true) {
      size_t left = 0;
      grow(out, [&](uint8_t* to, size_t room, size_t& written) {
        ZSTD_outBuffer output{to, room, 0};
        left = ZSTD_compressStream2(context_.get(), &output, &input, directive);
        written = output.pos;
        return true;
      });
      if (ZSTD_isError(left) != 0) return false;
      if (input.pos == input.size && (left == 0 || directive == ZSTD_e_continue)) return true;
    }
  }

 private:
  Zstd context_;
  OpenCount count_;
};

class BrotliEncoder final : public Encoder {
 public:
  explicit BrotliEncoder(BrotliEncoderState* state) noexcept : state_(state) {}
  ~BrotliEncoder() override { BrotliEncoderDestroyInstance(state_); }
  bool run(std::string_view in, Op op, std::string& out) override {
    const BrotliEncoderOperation operation = op == Op::finish  ? BROTLI_OPERATION_FINISH
                                             : op == Op::flush ? BROTLI_OPERATION_FLUSH
                                                               : BROTLI_OPERATION_PROCESS;
    size_t left = in.size();
    const auto* next = reinterpret_cast<const uint8_t*>(in.data());
    while (true) {
      const bool good = grow(out, [&](uint8_t* to, size_t room, size_t& written) {
        size_t free_room = room;
        uint8_t* at = to;
        const bool done =
            BrotliEncoderCompressStream(state_, operation, &left, &next, &free_room, &at, nullptr) == BROTLI_TRUE;
        written = room - free_room;
        return done;
      });
      if (!good) return false;
      if (left == 0 && BrotliEncoderHasMoreOutput(state_) == BROTLI_FALSE &&
          (op != Op::finish || BrotliEncoderIsFinished(state_) == BROTLI_TRUE))
        return true;
    }
  }

 private:
  BrotliEncoderState* state_;
  OpenCount count_;
};

std::unique_ptr<Encoder> make_gzip(int level) {
  auto& idle = contexts().deflate;
  for (size_t i = idle.size(); i-- > 0;) {
    if (idle[i]->level != level) continue;
    std::unique_ptr<Deflate> found = std::move(idle[i]);
    idle.erase(idle.begin() + static_cast<ptrdiff_t>(i));
    if (deflateReset(&found->stream) != Z_OK) break;
    return std::make_unique<GzipEncoder>(std::move(found));
  }
  auto fresh = std::make_unique<Deflate>(level);
  constexpr int kGzip = 15 + 16;
  if (deflateInit2(&fresh->stream, level, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK) return nullptr;
  return std::make_unique<GzipEncoder>(std::move(fresh));
}

std::unique_ptr<Encoder> make_zstd(int level, std::optional<uint64_t> size) {
  auto& idle = contexts().zstd;
  Zstd context;
  if (idle.empty()) {
    context.reset(ZSTD_createCCtx());
  } else {
    context = std::move(idle.back());
    idle.pop_back();
  }
  if (!context) return nullptr;
  ZSTD_CCtx_reset(context.get(), ZSTD_reset_session_and_parameters);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  if (size) {
    ZSTD_CCtx_setPledgedSrcSize(context.get(), *size);
  }
  if (!size || *size > (uint64_t{1} << kWindowLog)) ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, kWindowLog);
  return std::make_unique<ZstdEncoder>(std::move(context));
}

std::unique_ptr<Encoder> make_brotli(int level, std::optional<uint64_t> size) {
  BrotliEncoderState* state =
      BrotliEncoderCreateInstance(&BrotliMemory::alloc, &BrotliMemory::free, &contexts().brotli);
  if (state == nullptr) return nullptr;
  BrotliEncoderSetParameter(state, BROTLI_PARAM_QUALITY, static_cast<uint32_t>(level));
  BrotliEncoderSetParameter(state, BROTLI_PARAM_LGWIN, kWindowLog);
  if (size)
    BrotliEncoderSetParameter(state, BROTLI_PARAM_SIZE_HINT,
                              static_cast<uint32_t>(std::min<uint64_t>(*size, UINT32_MAX)));
  return std::make_unique<BrotliEncoder>(state);
}

}  // namespace

std::unique_ptr<Encoder> make_encoder(Encoding encoding, int level, std::optional<uint64_t> size) {
  if (contexts().open >= Encoder::kMaxOpen) return nullptr;
  switch (encoding) {
    case Encoding::identity: return nullptr;
    case Encoding::gzip: return make_gzip(level);
    case Encoding::br: return make_brotli(level, size);
    case Encoding::zstd: return make_zstd(level, size);
  }
  return nullptr;
}

}  // namespace trellis::proxy
