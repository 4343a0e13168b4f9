// A mail as a job carries it (JSON), and as SMTP sends it: RFC 5322 with MIME, text and HTML as alternatives of each
// other, attachments. What goes into a header is refused when it could begin another one: addresses have a strict form
// (ASCII, no quoting, no comments), a subject has no control characters and is encoded (RFC 2047) where it must be.
// Pure; any thread. The JSON is foreign to who sends it: fuzz/services_mail_message_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "queue/jobs.h"

namespace trellis::services::mail {

inline constexpr const char* kMailQueue = "mail";
inline constexpr const char* kMailKind = "mail";
inline constexpr int kMailAttempts = 20;  // over about five hours

inline constexpr size_t kMaxAddress = 254;
inline constexpr size_t kMaxSubject = 500;
inline constexpr size_t kMaxAttachments = 10;
inline constexpr size_t kMaxAttachmentName = 100;

struct Attachment {
  std::string name;  // of A-Z a-z 0-9 . _ -
  std::string type;  // such as text/csv
  std::string bytes;
};

struct Message {
  std::string to;
  std::string subject;
  std::string text;
  std::string html;           // "": none
  std::optional<int64_t> at;  // its Date, milliseconds since 1970; unset: when it is sent
  std::vector<Attachment> attachments;
};

// local@domain as people have it: both of atoms with dots between them, 254 bytes at most.
bool is_mail_address(std::string_view text) noexcept;
// Text that may stand in a header: valid where it has no control characters.
bool is_header_text(std::string_view text) noexcept;

// The payload of a job. invalid_argument: an unknown member, a wrong type, an address, a size.
std::string message_json(const Message& message);
Result<Message> read_message(std::string_view json);

// Sends it once it is enqueued. resource_exhausted: the message is larger than a payload may be.
Result<queue::NewJob> mail_job(const Message& message);

struct Sender {
  std::string address;
  std::string name;  // "": none
};

// The same for every attempt of a job, so that who gets a mail twice can know it again: <42.1f…@example.com>
std::string message_id(int64_t job, std::string_view payload, std::string_view from);

// The whole mail with CRLF, lines of at most 78 characters but for long addresses, ASCII only. `at`: where the message
// says none.
std::string compose(const Message& message, const Sender& from, std::string_view id, int64_t at);

}  // namespace trellis::services::mail
