#include "base/error.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace trellis {
inline namespace base {

std::string_view to_string(Code code) noexcept {
  switch (code) {
    case Code::cancelled: return "cancelled";
    case Code::invalid_argument: return "invalid_argument";
    case Code::deadline_exceeded: return "deadline_exceeded";
    case Code::not_found: return "not_found";
    case Code::already_exists: return "already_exists";
    case Code::permission_denied: return "permission_denied";
    case Code::unauthenticated: return "unauthenticated";
    case Code::resource_exhausted: return "resource_exhausted";
    case Code::failed_precondition: return "failed_precondition";
    case Code::aborted: return "aborted";
    case Code::unavailable: return "unavailable";
    case Code::data_loss: return "data_loss";
    case Code::unimplemented: return "unimplemented";
    case Code::internal: return "internal";
  }
  return "internal";
}

std::string_view to_string(Side side) noexcept {
  switch (side) {
    case Side::unset: return "unset";
    case Side::client: return "client";
    case Side::upstream: return "upstream";
    case Side::self: return "self";
  }
  return "unset";
}

Error::Error(Code code, std::string what) : rep_(std::make_unique<Rep>()) {
  rep_->code = code;
  rep_->what = std::move(what);
}

std::unique_ptr<Error::Rep> Error::clone(const Rep& rep) {
  auto copy = std::make_unique<Rep>();
  copy->code = rep.code;
  copy->side = rep.side;
  copy->retry = rep.retry;
  copy->what = rep.what;
  if (rep.cause) copy->cause = clone(*rep.cause);
  return copy;
}

Error Error::clone() const { return Error(clone(*rep_)); }

Error&& Error::from(Side side) && {
  rep_->side = side;
  return std::move(*this);
}

Error&& Error::retry(Retry retry) && {
  rep_->retry = retry;
  return std::move(*this);
}

Error&& Error::because(Error cause) && {
  if (rep_->side == Side::unset) rep_->side = cause.rep_->side;
  if (rep_->retry == Retry::no) rep_->retry = cause.rep_->retry;
  rep_->cause = std::move(cause.rep_);
  return std::move(*this);
}

std::string Error::to_string() const {
  std::string text = rep_->what;
  for (const Rep* cause = rep_->cause.get(); cause; cause = cause->cause.get()) {
    text += ": ";
    text += cause->what;
  }
  return text;
}

Code code_for_errno(int err) noexcept {
  switch (err) {
    case ECANCELED: return Code::cancelled;
    case EINVAL: return Code::invalid_argument;
    case ETIMEDOUT: return Code::deadline_exceeded;
    case ENOENT: return Code::not_found;
    case EEXIST:
    case EADDRINUSE: return Code::already_exists;
    case EACCES:
    case EPERM: return Code::permission_denied;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS: return Code::resource_exhausted;
    case EIO: return Code::data_loss;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENOTCONN: return Code::unavailable;
    default: return Code::internal;
  }
}

Error errno_error(std::string_view what, int err) {
  std::string text(what);
  text += ": ";
  text += std::strerror(err);
  return Error(code_for_errno(err), std::move(text));
}

void assert_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace base
}  // namespace trellis
