// One mail to one SMTP server (RFC 5321), by libcurl. Blocks, so never on a loop; any thread. Which failure may be
// tried again is told by the error's code: failed_precondition when the server refused this mail for good (5xx to MAIL,
// RCPT or DATA), with its words; unavailable for everything else: 4xx, a refused login, no connection, a broken one, a
// server that makes no sense.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"

namespace trellis::services::mail {

// smtp://HOST[:PORT] or smtps://HOST[:PORT]
struct SmtpAddress {
  std::string host;  // an IPv6 address with its brackets
  uint16_t port = 25;
  bool tls = false;  // from the first byte
  static Result<SmtpAddress> from_text(std::string_view text);
  std::string to_text() const;
  static constexpr std::string_view kText = "smtp://HOST[:PORT] or smtps://HOST[:PORT]";
  bool is_loopback() const noexcept;
};

// By STARTTLS. opportunistic: where the server offers it, whoever it is.
enum class SmtpTls : uint8_t { required, opportunistic, off };

struct SmtpLogin {
  std::string user;  // "": none
  std::string password;
};

struct SmtpMail {
  SmtpAddress server;
  SmtpTls tls = SmtpTls::required;
  std::string ca_file;  // "": the system's
  SmtpLogin login;
  std::string from;
  std::string to;
  std::string data;  // with CRLF
  Duration timeout{};
  const std::atomic<bool>* stopping = nullptr;  // breaks it off within about a second
};
Result<void> send_smtp(const SmtpMail& mail);

}  // namespace trellis::services::mail
