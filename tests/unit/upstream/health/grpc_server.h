// The server's side of one gRPC call, by nghttp2: what the tests of gRPC health checks talk to. It answers the first
// request as it is told, and keeps what was asked.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace trellis::upstream::test {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct GrpcAnswer {
  HeaderList head{{":status", "200"}, {"content-type", "application/grpc"}};
  std::optional<std::string> body;  // with its prefix; none: the head ends the answer
  HeaderList trailers{{"grpc-status", "0"}};
  std::optional<uint32_t> reset;  // instead of an answer
  bool silent = false;
};

inline std::string grpc_frame(std::string_view message, char compressed = '\0') {
  const auto size = static_cast<uint32_t>(message.size());
  std::string out{compressed, static_cast<char>(size >> 24), static_cast<char>(size >> 16),
                  static_cast<char>(size >> 8), static_cast<char>(size)};
  return out.append(message);
}
inline GrpcAnswer serving(char status) { return {.body = grpc_frame(std::string{'\x08', status})}; }

class GrpcServer {
 public:
  explicit GrpcServer(GrpcAnswer answer) : answer_(std::move(answer)) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, &GrpcServer::on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, &GrpcServer::on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &GrpcServer::on_frame);
    nghttp2_session_server_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
  }
  ~GrpcServer() { nghttp2_session_del(session_); }
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  bool feed(std::string_view bytes) {
    return nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()) >= 0;
  }
  std::string take_output() {
    std::string out;
    const uint8_t* data = nullptr;
    for (ssize_t size = nghttp2_session_mem_send(session_, &data); size > 0;
         size = nghttp2_session_mem_send(session_, &data)) {
      out.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
    }
    return out;
  }

  std::map<std::string, std::string> asked;
  std::string asked_body;

 private:
  static GrpcServer& of(void* user) { return *static_cast<GrpcServer*>(user); }
  static std::vector<nghttp2_nv> pairs(const HeaderList& list) {
    std::vector<nghttp2_nv> out;
    for (const auto& [name, value] : list) {
      out.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                     reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                     NGHTTP2_NV_FLAG_NONE});
    }
    return out;
  }
  static int on_header(nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t, void* user) {
    of(user).asked[std::string(reinterpret_cast<const char*>(name), name_size)] =
        std::string(reinterpret_cast<const char*>(value), value_size);
    return 0;
  }
  static int on_data(nghttp2_session*, uint8_t, int32_t, const uint8_t* data, size_t size, void* user) {
    of(user).asked_body.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }
  static ssize_t give_body(nghttp2_session* session, int32_t stream, uint8_t* out, size_t room, uint32_t* flags,
                           nghttp2_data_source*, void* user) {
    GrpcServer& self = of(user);
    const size_t count = std::min(room, self.answer_.body->size() - self.sent_);
    std::memcpy(out, self.answer_.body->data() + self.sent_, count);
    self.sent_ += count;
    if (self.sent_ == self.answer_.body->size()) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (!self.answer_.trailers.empty()) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        const auto list = pairs(self.answer_.trailers);
        nghttp2_submit_trailer(session, stream, list.data(), list.size());
      }
    }
    return static_cast<ssize_t>(count);
  }
  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    GrpcServer& self = of(user);
    if (frame->hd.stream_id == 0 || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0 || self.answer_.silent) return 0;
    const int32_t stream = frame->hd.stream_id;
    if (self.answer_.reset) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, *self.answer_.reset);
      return 0;
    }
    const auto list = pairs(self.answer_.head);
    nghttp2_data_provider body{};
    body.read_callback = &GrpcServer::give_body;
    nghttp2_submit_response(session, stream, list.data(), list.size(), self.answer_.body ? &body : nullptr);
    return 0;
  }

  GrpcAnswer answer_;
  nghttp2_session* session_ = nullptr;
  size_t sent_ = 0;
};

}  // namespace trellis::upstream::test
