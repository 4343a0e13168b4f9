#include "services/links/access/passwords.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <utility>

#include "base/encoding.h"
#include "base/rng.h"
#include "http/field_text.h"
#include "http/problem.h"
#include "http/target.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "services/links/access/password_page.h"
#include "services/links/access/password_tries.h"
#include "services/links/answers.h"
#include "services/links/secrets.h"

namespace trellis::services::links {

using http::FieldId;
using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

// What OWASP holds equal to 128 MiB in one pass, with an eighth of the memory.
constexpr uint64_t kCost = 14;  // 2^14 rounds
constexpr uint64_t kBlock = 8;
constexpr uint64_t kParallel = 5;
constexpr uint64_t kMostMemory = uint64_t{64} << 20;
constexpr size_t kSaltSize = 16;
constexpr size_t kKeySize = 32;
constexpr int kAtOnce = 2;
constexpr int kMostWaiting = 64;
constexpr uint64_t kMaxForm = 4096;
constexpr Duration kFormTime = std::chrono::seconds(30);
constexpr Duration kLookAgain = std::chrono::milliseconds(20);

std::optional<std::string> derive(std::string_view password, std::string_view salt, uint64_t cost, uint64_t block,
                                  uint64_t parallel) {
  std::string key(kKeySize, '\0');
  const int done = EVP_PBE_scrypt(password.data(), password.size(), reinterpret_cast<const uint8_t*>(salt.data()),
                                  salt.size(), uint64_t{1} << cost, block, parallel, kMostMemory,
                                  reinterpret_cast<uint8_t*>(key.data()), key.size());
  if (done != 1) return std::nullopt;
  return key;
}

constexpr std::string_view kHead = "scrypt$14$8$5$";

Response page(RequestContext& context, int status, std::string_view outcome, std::string_view sentence) {
  if (!outcome.empty()) {
    context.outcome = outcome;
    context.failed_side = Side::client;
  }
  Response response(context.arena, status);
  response.fields.add(FieldId::content_type, "text/html; charset=utf-8");
  response.fields.add(FieldId::cache_control, "private, no-store");
  response.fields.add(FieldId::content_security_policy, password_page_policy());
  response.fields.add(FieldId::x_content_type_options, "nosniff");
  response.fields.add("X-Robots-Tag", "noindex, nofollow");
  response.fields.add("Referrer-Policy", "no-referrer");
  response.body = http::Body(password_page(sentence));
  return response;
}

Response slowed(RequestContext& context, Duration wait) {
  Response response = page(context, 429, "too_many_passwords", "Too many wrong passwords. Please wait a minute.");
  const auto left = std::chrono::ceil<std::chrono::seconds>(wait).count();
  response.fields.add_copy(FieldId::retry_after, std::to_string(left));
  return response;
}

Response busy(RequestContext& context) {
  Response response =
      page(context, 503, "passwords_busy", "Many passwords are being checked. Please try again in a moment.");
  context.failed_side = Side::self;
  response.fields.add(FieldId::retry_after, "1");
  return response;
}

Response wrong(RequestContext& context) { return page(context, 403, "wrong_password", "This password is wrong."); }

}  // namespace

// How many compute and how many wait to; places are given back when nobody holds them.
struct Passwords::Work : std::enable_shared_from_this<Work> {
  std::atomic<int> running{0};
  std::atomic<int> waiting{0};

  static std::shared_ptr<void> take(std::atomic<int> Work::* places, int limit, const std::shared_ptr<Work>& work) {
    int taken = (work.get()->*places).load();
    while (taken < limit && !(work.get()->*places).compare_exchange_weak(taken, taken + 1)) {
    }
    if (taken >= limit) return nullptr;
    return {static_cast<void*>(work.get()), [work, places](void*) { --(work.get()->*places); }};
  }
  // Null: there is none.
  std::shared_ptr<void> place_to_run() { return take(&Work::running, kAtOnce, shared_from_this()); }
  std::shared_ptr<void> place_to_wait() { return take(&Work::waiting, kMostWaiting, shared_from_this()); }
};

Passwords::Passwords(uint64_t seed) : work_(std::make_shared<Work>()), tries_(std::make_shared<PasswordTries>(seed)) {}

Result<std::string> scrypt_text(std::string_view password) {
  std::string salt(kSaltSize, '\0');
  random_bytes(salt.data(), salt.size());
  const std::optional<std::string> key = derive(password, salt, kCost, kBlock, kParallel);
  if (!key) return fail(Error(Code::resource_exhausted, "no memory for scrypt").from(Side::self));
  return std::string(kHead) + to_hex(salt) + "$" + to_hex(*key);
}

bool is_scrypt_text(std::string_view text) noexcept {
  constexpr size_t kSize = kHead.size() + 2 * kSaltSize + 1 + 2 * kKeySize;
  if (text.size() != kSize || !text.starts_with(kHead) || text[kHead.size() + 2 * kSaltSize] != '$') return false;
  text.remove_prefix(kHead.size());
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return std::all_of(text.begin(), text.begin() + 2 * kSaltSize, is_digit) &&
         std::all_of(text.begin() + 2 * kSaltSize + 1, text.end(), is_digit);
}

bool fits_scrypt(std::string_view text, std::string_view password) {
  std::array<std::string_view, 6> parts;
  for (std::string_view& part : parts) {
    const size_t end = std::min(text.find('$'), text.size());
    part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  std::array<uint64_t, 3> numbers{};
  for (size_t i = 0; i < numbers.size(); ++i) {
    const std::string_view part = parts[i + 1];
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), numbers[i]);
    if (error != std::errc() || end != part.data() + part.size()) return false;
  }
  const auto salt = from_hex(parts[4]);
  const auto key = from_hex(parts[5]);
  const bool bounded = numbers[0] >= 1 && numbers[0] <= 20 && numbers[1] <= 32 && numbers[2] <= 16;
  if (parts[0] != "scrypt" || !bounded || !salt || !key) return false;
  const std::optional<std::string> given = derive(password, *salt, numbers[0], numbers[1], numbers[2]);
  return given && equal_secrets(*given, *key);
}

std::optional<std::string> form_password(std::string_view body) {
  Arena arena;
  while (const auto parameter = http::next_parameter(body)) {
    if (parameter->key != "password") continue;
    const auto value = http::decode_component(parameter->value, arena, true);
    if (!value || value->empty() || value->size() > kMaxPassword) return std::nullopt;
    return std::string(*value);
  }
  return std::nullopt;
}

std::optional<std::string> basic_password(std::string_view authorization) {
  const size_t space = std::min(authorization.find(' '), authorization.size());
  if (!http::iequal(authorization.substr(0, space), "Basic")) return std::nullopt;
  std::string_view rest = authorization.substr(space);
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  const std::optional<std::string> pair = from_base64(rest);
  if (!pair) return std::nullopt;
  const size_t colon = pair->find(':');
  if (colon == std::string::npos || colon + 1 == pair->size() || pair->size() - colon - 1 > kMaxPassword)
    return std::nullopt;
  return pair->substr(colon + 1);
}

Task<Result<std::shared_ptr<void>>> Passwords::enter(Deadline deadline) {
  const std::shared_ptr<Work> work = work_;
  const std::shared_ptr<void> waits = work->place_to_wait();
  if (!waits) co_return fail(Error(Code::unavailable, "too many passwords are being checked").from(Side::self));
  while (true) {
    std::shared_ptr<void> place = work->place_to_run();
    if (place) co_return place;
    if (Loop::current().now() >= deadline)
      co_return fail(Error(Code::deadline_exceeded, "a password could not be checked in time").from(Side::self));
    co_await sleep_for(kLookAgain);
  }
}

Task<Result<std::string>> Passwords::hash(std::string password, Deadline deadline) {
  auto entering = enter(deadline);
  Result<std::shared_ptr<void>> place = co_await entering;
  if (!place) co_return fail(std::move(place).error());
  // The place is kept by the work itself: it goes on when the one who asked has gone.
  auto hashing = blocking(
      [password = std::move(password), place = *place]() -> Result<std::string> { return scrypt_text(password); });
  place->reset();
  Result<std::string> text = co_await hashing;
  co_return text;
}

Task<Result<std::string>> Passwords::digest(std::string text, std::string salt, Deadline deadline) {
  auto entering = enter(deadline);
  Result<std::shared_ptr<void>> place = co_await entering;
  if (!place) co_return fail(std::move(place).error());
  auto deriving = blocking([text = std::move(text), salt = std::move(salt), place = *place]() -> Result<std::string> {
    std::optional<std::string> key = derive(text, salt, kCost, kBlock, kParallel);
    if (!key) return fail(Error(Code::resource_exhausted, "no memory for scrypt").from(Side::self));
    return *std::move(key);
  });
  place->reset();
  Result<std::string> key = co_await deriving;
  co_return key;
}

bool brings_password(const Request& request) noexcept {
  return request.method == Method::post || request.fields.has(FieldId::authorization);
}

Response ask_for_password(RequestContext& context) { return page(context, 200, "", ""); }

Task<std::expected<std::string, Response>> read_password(Request& request, RequestContext& context) {
  std::optional<std::string> given;
  if (request.method == Method::post) {
    if (!http::iequal(http::media_type(request.fields.value(FieldId::content_type)),
                      "application/x-www-form-urlencoded"))
      co_return std::unexpected(page(context, 415, "unsupported_media_type", "Please use this form."));
    const Deadline deadline = std::min(context.deadline, after(context.loop.now(), kFormTime));
    auto reading = http::read_all(request.body.get(), kMaxForm, deadline);
    const Result<std::string> body = co_await reading;
    if (!body) co_return std::unexpected(body_failed(body.error(), context));
    given = form_password(*body);
  } else {
    given = basic_password(request.fields.value(FieldId::authorization));
  }
  // Costs nothing, so it counts for nothing: only what is looked at takes a place among those that are remembered.
  if (!given) co_return std::unexpected(wrong(context));
  co_return *std::move(given);
}

Task<Result<std::optional<Response>>> Passwords::check(RequestContext& context, int64_t link, std::string text,
                                                       std::string given) {
  const std::shared_ptr<Work> work = work_;
  const std::shared_ptr<PasswordTries> tries = tries_;
  const PasswordTries::Who who = tries->who(context.client_address, link);
  std::shared_ptr<void> waits;
  std::shared_ptr<void> place;
  std::shared_ptr<PasswordTries::Try> attempt;
  while (true) {
    const Time now = context.loop.now();
    if (const auto wait = tries->slowed(who, now)) co_return std::optional(slowed(context, *wait));
    place = work->place_to_run();
    if (place) attempt = tries->begin(who, now);
    if (attempt) break;
    place.reset();
    if (!waits) waits = work->place_to_wait();
    if (!waits || now >= context.deadline) co_return std::optional(busy(context));
    co_await sleep_for(kLookAgain);
  }
  waits.reset();
  // The place and the try are kept by the work itself: it goes on, and counts, when the one who asked has gone.
  auto checking = blocking([text = std::move(text), given = std::move(given), place = std::move(place),
                            attempt = std::move(attempt)]() -> Result<bool> {
    const bool fits = fits_scrypt(text, given);
    if (!fits) attempt->wrong();
    return fits;
  });
  const Result<bool> fits = co_await checking;
  if (!fits) co_return fail(fits.error().clone());
  if (!*fits) co_return std::optional(wrong(context));
  co_return std::optional<Response>();
}

}  // namespace trellis::services::links
