// Passwords of links: stored as scrypt with a salt of its own, computed in the blocking pool, two at once and a bounded
// number that waits, because each takes a fifth of a second and 16 MiB. Wrong ones are counted by link and by block of
// addresses (password_tries.h), and beyond ten in a minute no more are looked at. A redirect asks a visitor whose link
// has one: by a page with a form, or for Basic credentials of a program. Owned by the link book; any core.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "http/handler.h"
#include "runtime/task.h"

namespace trellis::services::links {

class PasswordTries;

inline constexpr size_t kMaxPassword = 128;

// "scrypt$14$8$5$SALT$KEY", salt and key in hexadecimal digits. Blocks for a fifth of a second.
Result<std::string> scrypt_text(std::string_view password);
// Whether the password is that of the text. Blocks as long.
bool fits_scrypt(std::string_view text, std::string_view password);
// Whether it is as scrypt_text() writes it, byte for byte in form: what an import may bring.
bool is_scrypt_text(std::string_view text) noexcept;

// The password that a visitor brings: of a form's body, or of Basic credentials (their user name is not looked at).
// Foreign: fuzz/services_links_password_fuzz.cc.
std::optional<std::string> form_password(std::string_view body);
std::optional<std::string> basic_password(std::string_view authorization);

// Whether the visitor has something to say: a form, or credentials.
bool brings_password(const http::Request& request) noexcept;
// The page that asks for the password.
http::Response ask_for_password(http::RequestContext& context);
// The password that the visitor brings, else what he is told. Precondition: brings_password().
Task<std::expected<std::string, http::Response>> read_password(http::Request& request, http::RequestContext& context);

class Passwords {
 public:
  explicit Passwords(uint64_t seed);

  // What is kept of a password. unavailable when too many wait.
  Task<Result<std::string>> hash(std::string password, Deadline deadline);
  // A digest of a text with passwords in it, as slow to try as what is kept of them; the same for the same salt.
  Task<Result<std::string>> digest(std::string text, std::string salt, Deadline deadline);

  // Nothing: the password is right. Else what the visitor is told. Precondition: the link with this id has this text.
  Task<Result<std::optional<http::Response>>> check(http::RequestContext& context, int64_t link, std::string text,
                                                    std::string given);

 private:
  struct Work;
  // A place among those that compute; unavailable when too many wait.
  Task<Result<std::shared_ptr<void>>> enter(Deadline deadline);

  std::shared_ptr<Work> work_;  // shared with what runs in the pool
  std::shared_ptr<PasswordTries> tries_;
};

}  // namespace trellis::services::links
