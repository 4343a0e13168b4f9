// Errors as values: what a client, an upstream, a disk or a configuration can cause is a Result; what only our own bug
// can cause is TRELLIS_ASSERT. An Error is one heap word, so sizeof(Result<int>) is 16. Its code is one of the gRPC
// canonical codes; its side says who caused it, so that an upstream's 503 and our own differ; its retry says whether a
// repeat may help. Usable on every core; an Error is moved, never shared.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace trellis {
inline namespace base {

enum class Code : uint8_t {
  cancelled,          // the caller went away
  invalid_argument,   // the request is wrong whatever the state
  deadline_exceeded,  // a wait reached its deadline
  not_found,
  already_exists,
  permission_denied,
  unauthenticated,
  resource_exhausted,   // a limit or a quota was reached
  failed_precondition,  // the state does not allow it; a repeat without a change is useless
  aborted,              // lost a race; a repeat of the whole operation may succeed
  unavailable,          // not reachable or not ready now
  data_loss,            // damaged or missing data
  unimplemented,
  internal,  // a fault of ours
};
enum class Side : uint8_t { unset, client, upstream, self };
enum class Retry : uint8_t { no, if_reused, yes };  // if_reused: only when the connection was a pooled one

std::string_view to_string(Code code) noexcept;
std::string_view to_string(Side side) noexcept;

class [[nodiscard]] Error {
 public:
  Error(Code code, std::string what);

  Error(Error&&) noexcept = default;
  Error& operator=(Error&&) noexcept = default;
  Error clone() const;

  // Builders: return Error(Code::unavailable, "connect 10.0.0.1:80").from(Side::upstream).retry(Retry::yes);
  Error&& from(Side side) &&;
  Error&& retry(Retry retry) &&;
  Error&& because(Error cause) &&;  // takes over the cause's side and retry where they were not set

  Code code() const noexcept { return rep_->code; }
  Side side() const noexcept { return rep_->side; }
  Retry retry() const noexcept { return rep_->retry; }
  const std::string& what() const noexcept { return rep_->what; }
  // "connect 10.0.0.1:80: Connection refused", the whole chain of causes.
  std::string to_string() const;

 private:
  struct Rep {
    Code code;
    Side side = Side::unset;
    Retry retry = Retry::no;
    std::string what;
    std::unique_ptr<Rep> cause;
  };
  explicit Error(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
  static std::unique_ptr<Rep> clone(const Rep& rep);

  std::unique_ptr<Rep> rep_;
};

template <class T = void>
using Result = std::expected<T, Error>;

// return fail(Code::not_found, "no such link");
[[nodiscard]] inline std::unexpected<Error> fail(Code code, std::string what) {
  return std::unexpected<Error>(Error(code, std::move(what)));
}
[[nodiscard]] inline std::unexpected<Error> fail(Error error) { return std::unexpected<Error>(std::move(error)); }

// The code that fits an errno value, and an Error whose text is "what: strerror(errno)".
Code code_for_errno(int err) noexcept;
Error errno_error(std::string_view what, int err);

[[noreturn]] void assert_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace base
}  // namespace trellis

// Only for what our own bug can cause; stays on in release builds, because going on would corrupt.
#define TRELLIS_ASSERT(condition) \
  (__builtin_expect(!!(condition), 1) ? void() : ::trellis::assert_failed(#condition, __FILE__, __LINE__))

#define TRELLIS_CONCAT_(a, b) a##b
#define TRELLIS_CONCAT(a, b) TRELLIS_CONCAT_(a, b)

// TRY(auto x, f()): x = value of f(), or return its error. CO_TRY is the same inside a coroutine.
#define TRELLIS_TRY_(tmp, ret, decl, ...)                          \
  auto tmp = (__VA_ARGS__);                                        \
  if (!tmp) [[unlikely]]                                           \
    ret std::unexpected<::trellis::Error>(std::move(tmp).error()); \
  decl = *std::move(tmp)
#define TRY(decl, ...) TRELLIS_TRY_(TRELLIS_CONCAT(trellis_try_, __COUNTER__), return, decl, __VA_ARGS__)
#define CO_TRY(decl, ...) TRELLIS_TRY_(TRELLIS_CONCAT(trellis_try_, __COUNTER__), co_return, decl, __VA_ARGS__)

// The same for a Result<void>.
#define TRELLIS_TRY_VOID_(tmp, ret, ...) \
  auto tmp = (__VA_ARGS__);              \
  if (!tmp) [[unlikely]]                 \
  ret std::unexpected<::trellis::Error>(std::move(tmp).error())
#define TRY_VOID(...) TRELLIS_TRY_VOID_(TRELLIS_CONCAT(trellis_try_, __COUNTER__), return, __VA_ARGS__)
#define CO_TRY_VOID(...) TRELLIS_TRY_VOID_(TRELLIS_CONCAT(trellis_try_, __COUNTER__), co_return, __VA_ARGS__)
