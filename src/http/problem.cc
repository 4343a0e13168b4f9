#include "http/problem.h"

#include <cstring>

#include "base/json.h"
#include "http/handler.h"

namespace trellis::http {

namespace {

bool is_too_large(const Error& error) noexcept { return std::string_view(error.what()).starts_with(kBodyTooLarge); }

// An error of ours, or one that nobody attributed, whose code names something the client did is the client's.
Side side_of(const Error& error) noexcept {
  if (error.side() == Side::client || error.side() == Side::upstream) return error.side();
  switch (error.code()) {
    case Code::cancelled:
    case Code::not_found:
    case Code::already_exists:
    case Code::permission_denied:
    case Code::unauthenticated:
    case Code::failed_precondition:
    case Code::aborted: return Side::client;
    case Code::invalid_argument: return error.side() == Side::unset ? Side::client : Side::self;
    default: return Side::self;
  }
}

struct Answer {
  int status;
  std::string_view code;
  std::string_view detail;  // said unless the client may read the error's own words
};

Answer client_answer(const Error& error) noexcept {
  switch (error.code()) {
    case Code::cancelled: return {499, "cancelled", "The client went away."};
    case Code::invalid_argument: return {400, "invalid_argument", "The request is not valid."};
    case Code::deadline_exceeded: return {408, "request_timeout", "The request did not arrive in time."};
    case Code::not_found: return {404, "not_found", "There is nothing here."};
    case Code::already_exists: return {409, "already_exists", "It exists already."};
    case Code::permission_denied: return {403, "permission_denied", "This is not allowed."};
    case Code::unauthenticated: return {401, "unauthenticated", "Credentials are missing or not valid."};
    case Code::resource_exhausted:
      if (is_too_large(error)) return {413, kBodyTooLarge, "The body is larger than allowed."};
      return {429, "too_many_requests", "A limit was reached."};
    case Code::failed_precondition: return {412, "failed_precondition", "The state does not allow this."};
    case Code::aborted: return {409, "conflict", "Another change came first."};
    case Code::data_loss: return {400, "incomplete_request", "The request ended too early."};
    case Code::unavailable: return {400, "connection_lost", "The connection broke."};
    case Code::unimplemented: return {501, "unimplemented", "This is not supported."};
    case Code::internal: break;
  }
  return {500, "internal", "Something failed here."};
}

Answer upstream_answer(Code code) noexcept {
  switch (code) {
    case Code::cancelled: return {499, "cancelled", "The client went away."};
    case Code::deadline_exceeded: return {504, "upstream_timeout", "The upstream did not answer in time."};
    case Code::resource_exhausted: return {503, "upstream_overloaded", "The upstream is at its limit."};
    case Code::unavailable: return {502, "upstream_unavailable", "The upstream could not be reached."};
    default: return {502, "upstream_bad_answer", "The upstream gave an answer that is not valid."};
  }
}

Answer own_answer(Code code) noexcept {
  switch (code) {
    case Code::deadline_exceeded: return {503, "deadline_exceeded", "The answer was not ready in time."};
    case Code::resource_exhausted: return {503, "overloaded", "The service is at its limit."};
    case Code::unavailable: return {503, "unavailable", "The service is not available now."};
    case Code::unimplemented: return {501, "unimplemented", "This is not supported."};
    default: return {500, "internal", "Something failed here."};
  }
}

Answer answer_for(const Error& error) noexcept {
  switch (side_of(error)) {
    case Side::client: return client_answer(error);
    case Side::upstream: return upstream_answer(error.code());
    default: return own_answer(error.code());
  }
}

constexpr std::string_view kRetryAfter = "5";  // seconds: of what is full

bool is_temporary(int status) noexcept {
  return status == 408 || status == 429 || status == 502 || status == 503 || status == 504;
}

// Writes JSON text into memory that was measured beforehand.
struct JsonText {
  char* at;
  void put(std::string_view text) noexcept {
    if (text.empty()) return;
    std::memcpy(at, text.data(), text.size());
    at += text.size();
  }
  void string(std::string_view text) noexcept {
    *at++ = '"';
    at = json_escape(at, text);
    *at++ = '"';
  }
};

}  // namespace

Response problem(Arena& arena, int status, std::string_view code, std::string_view detail, bool temporary,
                 std::string_view request_id) {
  constexpr size_t kFixed = 160;  // names, punctuation and the status
  const std::string_view title = reason_phrase(status);
  char* const start =
      arena.alloc(kFixed + title.size() + kJsonGrowth * (code.size() + detail.size() + request_id.size()));
  JsonText json{start};
  json.put("{\"type\":\"about:blank\",\"title\":\"");
  json.put(title);
  json.put("\",\"status\":");
  *json.at++ = static_cast<char>('0' + status / 100 % 10);
  *json.at++ = static_cast<char>('0' + status / 10 % 10);
  *json.at++ = static_cast<char>('0' + status % 10);
  json.put(",\"code\":");
  json.string(code);
  if (!detail.empty()) {
    json.put(",\"detail\":");
    json.string(detail);
  }
  json.put(temporary ? ",\"temporary\":true" : ",\"temporary\":false");
  if (!request_id.empty()) {
    json.put(",\"request_id\":");
    json.string(request_id);
  }
  json.put("}\n");

  Response response(arena, status);
  response.fields.add(FieldId::content_type, "application/problem+json");
  response.fields.add(FieldId::cache_control, "no-store");
  response.body = Body::of_static({start, static_cast<size_t>(json.at - start)});
  return response;
}

int status_for(const Error& error) noexcept { return answer_for(error).status; }

std::string_view code_for(const Error& error) noexcept { return answer_for(error).code; }

namespace {

Response answer_with(const Error& error, const Answer& answer, std::string_view detail, RequestContext& context) {
  context.outcome = answer.code;
  context.failed_side = side_of(error);
  if (answer.code == kBodyTooLarge && detail.starts_with(kBodyTooLarge)) {
    detail.remove_prefix(kBodyTooLarge.size());
    if (detail.starts_with(": ")) detail.remove_prefix(2);
  }
  Response response =
      problem(context.arena, answer.status, answer.code, detail, is_temporary(answer.status), context.request_id);
  if (error.code() == Code::resource_exhausted && is_temporary(answer.status)) {
    response.fields.add(FieldId::retry_after, kRetryAfter);
  }
  return response;
}

}  // namespace

Response response_for(const Error& error, RequestContext& context) {
  const Answer answer = answer_for(error);
  // Only what was said to be the client's is written for the client.
  const bool theirs = error.side() == Side::client && answer.status < 500;
  return answer_with(error, answer, theirs ? std::string_view(error.what()) : answer.detail, context);
}

Response whole_response_for(const Error& error, RequestContext& context) {
  return answer_with(error, answer_for(error), error.to_string(), context);
}

}  // namespace trellis::http
