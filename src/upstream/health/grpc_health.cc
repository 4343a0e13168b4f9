#include "upstream/health/grpc_health.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "base/ascii.h"
#include "base/varint.h"

namespace trellis::upstream {

namespace {

Error malformed(std::string what) {
  return Error(Code::data_loss, "malformed answer: " + std::move(what)).from(Side::upstream);
}

std::string_view serving_name(uint64_t status) noexcept {
  constexpr std::array<std::string_view, 4> kNames{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
  return status < kNames.size() ? kNames[status] : std::string_view("a status nobody knows");
}

std::string_view code_name(int code) noexcept {
  constexpr std::array<std::string_view, 17> kNames{
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return code >= 0 && static_cast<size_t>(code) < kNames.size() ? kNames[static_cast<size_t>(code)]
                                                                : std::string_view("unknown");
}

// "application/grpc", also with a format behind a plus or with parameters.
bool is_grpc(std::string_view type) noexcept {
  constexpr std::string_view kType = "application/grpc";
  if (!std::ranges::equal(type.substr(0, kType.size()), kType, {}, ascii_lower)) return false;
  return type.size() == kType.size() || type[kType.size()] == '+' || type[kType.size()] == ';';
}

std::optional<int> number(std::string_view text) noexcept {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

std::string encode_health_request(std::string_view service) {
  std::string message;
  if (service.empty()) return message;
  message += '\x0a';  // field 1, bytes
  append_varint(message, service.size());
  message += service;
  return message;
}

Result<uint64_t> decode_health_response(std::string_view message) {
  ByteReader in(message);
  uint64_t status = 0;
  while (!in.at_end()) {
    const uint64_t key = in.varint();
    if (key >> 3 == 0) return fail(malformed("no protobuf message"));
    switch (key & 7) {
      case 0: {
        const uint64_t value = in.varint();
        if (key >> 3 == 1) status = value;
        break;
      }
      case 1: in.bytes(8); break;
      case 2: in.bytes(in.varint()); break;
      case 5: in.bytes(4); break;
      default: return fail(malformed("no protobuf message"));
    }
    if (in.failed()) return fail(malformed("no protobuf message"));
  }
  return status;
}

struct GrpcHealth::Call {
  nghttp2_session* session = nullptr;
  int32_t stream = -1;
  std::string request;  // the message with its prefix
  size_t sent = 0;
  std::string response;  // message bytes with their prefix, bounded
  size_t received = 0;
  std::optional<int> http_status;
  std::string content_type;
  std::optional<int> grpc_status;
  std::string grpc_message;
  std::optional<Error> fault;
  uint32_t reset_by = NGHTTP2_NO_ERROR;
  bool ended = false;
  std::string out;  // to be sent

  ~Call() { nghttp2_session_del(session); }

  void collect_output() {
    const uint8_t* data = nullptr;
    ssize_t size = 0;
    while ((size = nghttp2_session_mem_send(session, &data)) > 0)
      out.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  }

  static Call& of(void* user) noexcept { return *static_cast<Call*>(user); }

  static ssize_t read_request(nghttp2_session*, int32_t, uint8_t* out, size_t room, uint32_t* flags,
                              nghttp2_data_source*, void* user) {
    Call& call = of(user);
    const size_t count = std::min(room, call.request.size() - call.sent);
    std::memcpy(out, call.request.data() + call.sent, count);
    call.sent += count;
    if (call.sent == call.request.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(count);
  }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t, void* user) {
    Call& call = of(user);
    if (frame->hd.stream_id != call.stream) return 0;
    const std::string_view field(reinterpret_cast<const char*>(name), name_size);
    const std::string_view text(reinterpret_cast<const char*>(value), value_size);
    if (field == ":status") call.http_status = number(text);
    if (field == "content-type") call.content_type = text.substr(0, 200);
    // Of the answer's end only: in a head that a body follows it means nothing.
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    if (field == "grpc-status") call.grpc_status = number(text).value_or(2);
    if (field == "grpc-message") call.grpc_message = text.substr(0, 200);
    return 0;
  }
  static int on_data(nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size, void* user) {
    Call& call = of(user);
    if (id != call.stream || call.fault) return 0;
    if (call.response.size() + size > kMaxMessage + 5) {
      call.fault = malformed("a message of more than 1024 bytes");
    } else {
      call.response.append(reinterpret_cast<const char*>(data), size);
    }
    return 0;
  }
  static int on_close(nghttp2_session*, int32_t id, uint32_t error, void* user) {
    Call& call = of(user);
    if (id != call.stream) return 0;
    call.ended = true;
    call.reset_by = error;
    return 0;
  }
};

GrpcHealth::GrpcHealth(std::string_view authority, std::string_view service, Duration patience)
    : call_(std::make_unique<Call>()) {
  Call& call = *call_;
  const std::string message = encode_health_request(service);
  const auto size = static_cast<uint32_t>(message.size());
  call.request = {'\0', static_cast<char>(size >> 24), static_cast<char>(size >> 16), static_cast<char>(size >> 8),
                  static_cast<char>(size)};
  call.request += message;

  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, &Call::on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, &Call::on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, &Call::on_close);
  const int made = nghttp2_session_client_new(&call.session, callbacks, &call);
  nghttp2_session_callbacks_del(callbacks);
  TRELLIS_ASSERT(made == 0);  // fails without memory only

  const nghttp2_settings_entry no_push{NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
  nghttp2_submit_settings(call.session, NGHTTP2_FLAG_NONE, &no_push, 1);
  const std::string timeout = std::to_string(std::clamp<int64_t>(
                                  std::chrono::ceil<std::chrono::milliseconds>(patience).count(), 1, 99'999'999)) +
                              "m";
  const auto field = [](std::string_view name, std::string_view value) {
    return nghttp2_nv{reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                      reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                      NGHTTP2_NV_FLAG_NONE};
  };
  const std::array<nghttp2_nv, 8> fields{field(":method", "POST"),
                                         field(":scheme", "http"),
                                         field(":path", "/grpc.health.v1.Health/Check"),
                                         field(":authority", authority),
                                         field("te", "trailers"),
                                         field("content-type", "application/grpc"),
                                         field("user-agent", "trellis-health"),
                                         field("grpc-timeout", timeout)};
  nghttp2_data_provider body{};
  body.read_callback = &Call::read_request;
  call.stream = nghttp2_submit_request(call.session, nullptr, fields.data(), fields.size(), &body, nullptr);
  TRELLIS_ASSERT(call.stream > 0);
}

GrpcHealth::~GrpcHealth() = default;

std::string GrpcHealth::take_output() {
  call_->collect_output();
  return std::exchange(call_->out, {});
}

Result<> GrpcHealth::feed(std::string_view bytes) {
  Call& call = *call_;
  call.received += bytes.size();
  if (call.received > kMaxReceived) return fail(malformed("more than 64KiB"));
  const ssize_t taken =
      nghttp2_session_mem_recv(call.session, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC || taken == NGHTTP2_ERR_FLOODED) return fail(malformed("no HTTP/2"));
  if (taken < 0) return fail(malformed(nghttp2_strerror(static_cast<int>(taken))));
  if (call.fault) return fail(call.fault->clone());
  // What is no HTTP/2 ends the session: with a GOAWAY of ours, behind which nothing is read.
  call.collect_output();
  if (!call.ended && nghttp2_session_want_read(call.session) == 0) return fail(malformed("no HTTP/2"));
  return {};
}

bool GrpcHealth::done() const noexcept { return call_->ended; }

Result<std::string> GrpcHealth::verdict() const {
  const Call& call = *call_;
  const auto bad = [](std::string what) {
    return fail(Error(Code::unavailable, std::move(what)).from(Side::upstream));
  };
  if (call.fault) return fail(call.fault->clone());
  if (!call.ended) return bad("closed without an answer");
  if (call.http_status && *call.http_status != 200)
    return bad("answered " + std::to_string(*call.http_status) + ", expected 200");
  if (call.grpc_status && *call.grpc_status != 0) {
    std::string text = "answered grpc-status " + std::to_string(*call.grpc_status) + " (" +
                       std::string(code_name(*call.grpc_status)) + ")";
    if (!call.grpc_message.empty()) text += ": " + call.grpc_message;
    return bad(std::move(text));
  }
  if (call.reset_by != NGHTTP2_NO_ERROR)
    return bad(std::string("the call was reset: ") + nghttp2_http2_strerror(call.reset_by));
  if (!call.http_status || !call.grpc_status) return fail(malformed("no grpc-status"));
  if (!is_grpc(call.content_type))
    return fail(malformed("of the type \"" + call.content_type + "\", not application/grpc"));
  if (call.response.size() < 5) return fail(malformed("no message"));
  ByteReader in(call.response);
  if (in.octet() != 0) return fail(malformed("a compressed message, which was not asked for"));
  uint32_t size = 0;
  for (int i = 0; i < 4; ++i) size = size << 8 | in.octet();
  if (size != in.left()) return fail(malformed("the message is not as long as it says"));
  auto status = decode_health_response(in.bytes(size));
  if (!status) return fail(std::move(status).error());
  if (*status != kServing) return bad("answered " + std::string(serving_name(*status)));
  return std::string("answered SERVING");
}

}  // namespace trellis::upstream
