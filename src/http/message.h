// Request and Response as the whole product sees them, whatever the protocol version. Every string is a view into the
// exchange's arena or static text, so a message is cheap to move and must not outlive its exchange. Bodies are pulled
// chunk by chunk.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/chunk.h"
#include "base/error.h"
#include "base/time.h"
#include "http/fields.h"
#include "runtime/task.h"

namespace trellis {
inline namespace runtime {
class Socket;
}
}  // namespace trellis

namespace trellis::http {

enum class Method : uint8_t { other, get, head, post, put, delete_, patch, options, trace, connect };
std::string_view to_string(Method method) noexcept;  // "" for other
Method method_from(std::string_view text) noexcept;  // case-sensitive, RFC 9110 §9.1
bool is_safe(Method method) noexcept;                // RFC 9110 §9.2.1
bool is_idempotent(Method method) noexcept;          // RFC 9110 §9.2.2

// A body that is pulled. Dropping it unread is allowed and cleans up (the connection below is drained or closed).
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  // The next bytes; an empty chunk is the end. After an error or the end it is not called again.
  virtual Task<Result<Chunk>> read(Deadline deadline) = 0;
  // Known length of the whole body in bytes, nullopt when it is not known before the end.
  virtual std::optional<uint64_t> length() const noexcept = 0;
  // After the end: the trailer section, if there was one.
  virtual const Fields* trailers() const noexcept { return nullptr; }
  // For a request that is sent once more: back to the first byte. rewind() is called once nobody reads any more, and is
  // false where what was read is gone; can_rewind() tells, at any time, whether it would be.
  virtual bool can_rewind() const noexcept { return false; }
  virtual bool rewind() noexcept { return false; }
};

// A body that is all there.
class TextBody final : public BodyReader {
 public:
  explicit TextBody(std::string text) : text_(Chunk::from_string(std::move(text))) {}
  Task<Result<Chunk>> read(Deadline deadline) override;
  std::optional<uint64_t> length() const noexcept override { return text_.size(); }
  bool can_rewind() const noexcept override { return true; }
  bool rewind() noexcept override {
    read_ = false;
    return true;
  }

 private:
  Chunk text_;
  bool read_ = false;
};

// An open file, closed when the last user goes.
class FileHandle {
 public:
  explicit FileHandle(int fd) noexcept : fd_(fd) {}
  FileHandle(const FileHandle&) = delete;
  FileHandle& operator=(const FileHandle&) = delete;
  ~FileHandle();
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};
struct FileSlice {
  std::shared_ptr<FileHandle> file;
  uint64_t offset = 0;
  uint64_t size = 0;
};

// What a response carries: nothing, bytes in memory, a slice of a file, or a stream.
class Body {
 public:
  enum class Kind : uint8_t { none, bytes, file, stream };

  Body() noexcept = default;
  Body(Chunk bytes) noexcept : kind_(bytes.empty() ? Kind::none : Kind::bytes), bytes_(std::move(bytes)) {}  // NOLINT
  Body(std::string text) : Body(Chunk::from_string(std::move(text))) {}                                      // NOLINT
  Body(FileSlice file) : kind_(Kind::file), file_(std::make_unique<FileSlice>(std::move(file))) {}           // NOLINT
  Body(std::unique_ptr<BodyReader> stream) noexcept                                                          // NOLINT
      : kind_(stream ? Kind::stream : Kind::none), stream_(std::move(stream)) {}
  // Static text: lives for ever, nothing is copied.
  static Body of_static(std::string_view text) noexcept { return Body(Chunk::of_static(text)); }

  Kind kind() const noexcept { return kind_; }
  const Chunk& bytes() const noexcept { return bytes_; }
  const FileSlice& file() const noexcept { return *file_; }
  BodyReader& stream() const noexcept { return *stream_; }
  std::unique_ptr<BodyReader> take_stream() noexcept {
    kind_ = Kind::none;
    return std::move(stream_);
  }
  // nullopt: a stream of unknown length.
  std::optional<uint64_t> length() const noexcept;

 private:
  Kind kind_ = Kind::none;
  Chunk bytes_;
  std::unique_ptr<FileSlice> file_;
  std::unique_ptr<BodyReader> stream_;
};

// A stored answer's body in other codings: who encodes answers looks here first, and leaves here what it made, so that
// it is made once. Belongs to the answer.
class StoredForms {
 public:
  virtual ~StoredForms() = default;
  virtual std::optional<Body> find(std::string_view coding) = 0;
  // Whether the caller is to make it: nobody else does, and it would be kept. keep() follows, or nothing.
  virtual bool begin(std::string_view coding) = 0;
  virtual void keep(std::string bytes) = 0;
};

struct Response;

// Takes interim answers (1xx but 100 and 101) on their way to the client, at once and without waiting: one that the
// client has no room for is left out.
class InterimSink {
 public:
  virtual void send_interim(Response& response) noexcept = 0;

 protected:
  ~InterimSink() = default;
};

// Bytes that went through an upgraded connection.
struct Traffic {
  uint64_t from_client = 0;
  uint64_t to_client = 0;
};

// What a connection becomes once its request was answered by 101: this has the client's socket to itself, and what the
// client sent behind its request is the first input. The connection is closed when run() returns; run() is destroyed
// before that where the server's drain ends. `traffic` is kept up to date on the way.
class UpgradeHandler {
 public:
  virtual ~UpgradeHandler() = default;
  virtual Task<> run(Socket& client, Traffic& traffic) = 0;
};

struct Request {
  explicit Request(Arena& arena) noexcept : fields(arena) {}

  Method method = Method::get;
  uint8_t version_minor = 1;     // of HTTP/1.x
  std::string_view method_text;  // as received
  std::string_view target;       // as received
  std::string_view scheme;       // "http" or "https", of the connection (or of an absolute-form target)
  std::string_view authority;    // host[:port], lower case: from the absolute-form target, else from Host; may be ""
  std::string_view path;         // normalised (http/target.h): starts with '/', no dot segments; "*" for OPTIONS *
  std::string_view query;        // without '?', as received
  Fields fields;
  std::unique_ptr<BodyReader> body;  // null: no body
  InterimSink* interim = nullptr;    // null: the client gets no interim answers
  bool upgrade = false;              // to what Upgrade names: RequestFraming::upgrade_requested
  bool takes_trailers = false;       // "TE: trailers"
};

struct Response {
  explicit Response(Arena& arena) noexcept : fields(arena) {}
  Response(Arena& arena, int status_code) noexcept : status(status_code), fields(arena) {}

  int status = 200;
  uint8_t version_minor = 1;  // of an upstream's answer: HTTP/1.x
  Fields fields;  // without framing: Content-Length and Transfer-Encoding are the codec's; but a HEAD answer or a 304
                  // keeps what it says
  Body body;
  std::unique_ptr<UpgradeHandler> upgraded;  // of a 101 to a request with `upgrade`
  std::unique_ptr<StoredForms> forms;        // of a stored answer that may be encoded
};

// The usual text of a status ("Not Found"), "" for unknown ones.
std::string_view reason_phrase(int status) noexcept;

// Reads a whole body up to `limit` bytes; resource_exhausted (side client) beyond it. A null body is "".
Task<Result<std::string>> read_all(BodyReader* body, uint64_t limit, Deadline deadline);

}  // namespace trellis::http
