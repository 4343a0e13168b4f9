#include "services/mail/message.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/encoding.h"
#include "base/json.h"

namespace trellis::services::mail {

namespace {

using Json = nlohmann::json;

constexpr size_t kLine = 76;
constexpr size_t kWord = 39;         // bytes of an encoded word: 52 characters and 12 around them
constexpr size_t kPlainHeader = 60;  // characters of a header's text that is left as it is
constexpr int64_t kLatest = 253'402'300'799'000;

bool is_alnum(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// Atoms with a dot between each two, RFC 5322 §3.2.3.
bool is_dot_atom(std::string_view text) noexcept {
  char before = '.';
  for (const char c : text) {
    if (c == '.' ? before == '.' : !is_alnum(c) && std::string_view("!#$%&'*+-/=?^_`{|}~").find(c) == text.npos)
      return false;
    before = c;
  }
  return before != '.';
}

bool is_domain(std::string_view text) noexcept {
  size_t label = 0;
  char before = '.';
  for (const char c : text) {
    if (c == '.') {
      if (before == '.' || before == '-') return false;
      label = 0;
    } else {
      if (!is_alnum(c) && (c != '-' || before == '.')) return false;
      if (++label > 63) return false;
    }
    before = c;
  }
  return before != '.' && before != '-';
}

bool is_file_name(std::string_view text) noexcept {
  return !text.empty() && text.size() <= kMaxAttachmentName && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; });
}

bool is_media_type(std::string_view text) noexcept {
  const size_t slash = text.find('/');
  if (slash == 0 || slash == text.npos || slash + 1 == text.size() || text.size() > 100) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i != slash && !is_alnum(text[i]) && text[i] != '-' && text[i] != '.' && text[i] != '+') return false;
  }
  return !text.starts_with("multipart/") && !text.starts_with("message/");
}

bool is_printable(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

// --- Encodings ---

// RFC 2045 §6.7. A line break of any kind becomes CRLF.
void append_quoted_printable(std::string& out, std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  size_t line = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool ends = c == '\n' || (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n');
    if (ends) {
      if (c == '\r') ++i;
      out += "\r\n";
      line = 0;
      continue;
    }
    const bool last = i + 1 == text.size() || text[i + 1] == '\n' || text[i + 1] == '\r';
    const bool plain = (c > ' ' && c <= '~' && c != '=') || ((c == ' ' || c == '\t') && !last);
    const size_t width = plain ? 1 : 3;
    if (line + width > kLine - 1) {
      out += "=\r\n";
      line = 0;
    }
    if (plain) {
      out += c;
    } else {
      out += '=';
      out += kDigits[static_cast<uint8_t>(c) >> 4];
      out += kDigits[static_cast<uint8_t>(c) & 15];
    }
    line += width;
  }
  if (line > 0) out += "\r\n";
}

// RFC 2047, a word a line.
void append_encoded_words(std::string& out, std::string_view text) {
  bool first = true;
  while (!text.empty()) {
    size_t end = std::min(kWord, text.size());
    while (end < text.size() && end > kWord - 4 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
    if (!first) out += "\r\n ";
    first = false;
    out += "=?UTF-8?B?";
    append_base64(out, text.substr(0, end));
    out += "?=";
    text.remove_prefix(end);
  }
}

// Whether a header may have it as it is.
bool is_plain(std::string_view text) noexcept {
  return is_printable(text) && text.size() <= kPlainHeader && text.find("=?") == text.npos;
}

void append_date(std::string& out, int64_t at) {
  static constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const time_t seconds = std::clamp<int64_t>(at, 0, kLatest) / 1000;
  std::tm time{};
  gmtime_r(&seconds, &time);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%s, %d %s %d %02d:%02d:%02d +0000", kDays[static_cast<size_t>(time.tm_wday)],
                time.tm_mday, kMonths[static_cast<size_t>(time.tm_mon)], time.tm_year + 1900, time.tm_hour, time.tm_min,
                time.tm_sec);
  out += text.data();
}

void append_text_part(std::string& out, std::string_view subtype, std::string_view text) {
  out += "Content-Type: text/";
  out += subtype;
  out += "; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
  append_quoted_printable(out, text);
}

void append_alternatives(std::string& out, const Message& message, const std::string& boundary) {
  if (message.html.empty()) {
    append_text_part(out, "plain", message.text);
    return;
  }
  out += "Content-Type: multipart/alternative;\r\n boundary=\"" + boundary + "\"\r\n\r\n--" + boundary + "\r\n";
  append_text_part(out, "plain", message.text);
  out += "--" + boundary + "\r\n";
  append_text_part(out, "html", message.html);
  out += "--" + boundary + "--\r\n";
}

void append_attachment(std::string& out, const Attachment& attachment) {
  out += "Content-Type: " + attachment.type + "\r\nContent-Disposition: attachment;\r\n filename=\"" + attachment.name +
         "\"\r\nContent-Transfer-Encoding: base64\r\n\r\n";
  std::string text;
  append_base64(text, attachment.bytes);
  for (size_t i = 0; i < text.size(); i += kLine) {
    out += std::string_view(text).substr(i, kLine);
    out += "\r\n";
  }
}

// --- Reading ---

std::unexpected<Error> wrong(std::string what) {
  return fail(Error(Code::invalid_argument, "the mail: " + std::move(what)).from(Side::self));
}

Result<std::string> text_of(const Json& value, const char* name) {
  if (!value.is_string()) return wrong(std::string(name) + " must be text");
  return value.get<std::string>();
}

Result<Attachment> read_attachment(const Json& json) {
  if (!json.is_object()) return wrong("an attachment must be an object");
  Attachment out;
  std::optional<std::string> bytes;
  for (const auto& [name, value] : json.items()) {
    if (name == "name") {
      TRY(out.name, text_of(value, "the name of an attachment"));
    } else if (name == "type") {
      TRY(out.type, text_of(value, "the type of an attachment"));
    } else if (name == "base64") {
      TRY(const std::string text, text_of(value, "base64"));
      bytes = from_base64(text);
      if (!bytes) return wrong("base64 is none");
    } else {
      return wrong("an attachment has name, type and base64");
    }
  }
  if (!bytes) return wrong("an attachment has name, type and base64");
  out.bytes = *std::move(bytes);
  return out;
}

Result<void> check_message(const Message& message) {
  if (!is_mail_address(message.to)) return wrong("to is no address");
  if (message.subject.size() > kMaxSubject || !is_header_text(message.subject))
    return wrong("the subject has at most 500 bytes and no control characters");
  if (message.attachments.size() > kMaxAttachments) return wrong("there are at most 10 attachments");
  for (const Attachment& attachment : message.attachments) {
    if (!is_file_name(attachment.name)) return wrong("the name of an attachment is of A-Z a-z 0-9 . _ -");
    if (!is_media_type(attachment.type)) return wrong("the type of an attachment is no media type");
  }
  if (message.at && (*message.at < 0 || *message.at > kLatest)) return wrong("at is out of range");
  return {};
}

}  // namespace

bool is_mail_address(std::string_view text) noexcept {
  if (text.size() > kMaxAddress) return false;
  const size_t at = text.rfind('@');
  if (at == text.npos || at == 0 || at > 64) return false;
  return is_dot_atom(text.substr(0, at)) && is_domain(text.substr(at + 1));
}

bool is_header_text(std::string_view text) noexcept {
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < ' ' || c == '\x7f'; });
}

std::string message_json(const Message& message) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().member("to", message.to).member("subject", message.subject).member("text", message.text);
  if (!message.html.empty()) json.member("html", message.html);
  if (message.at) json.member("at", *message.at);
  if (!message.attachments.empty()) {
    json.key("attachments").begin_array();
    for (const Attachment& attachment : message.attachments) {
      std::string bytes;
      append_base64(bytes, attachment.bytes);
      json.begin_object().member("name", attachment.name).member("type", attachment.type);
      json.member("base64", bytes).end_object();
    }
    json.end_array();
  }
  json.end_object();
  return out;
}

Result<Message> read_message(std::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!json.is_object()) return wrong("it must be a JSON object");
  Message out;
  for (const auto& [name, value] : json.items()) {
    if (name == "to") {
      TRY(out.to, text_of(value, "to"));
    } else if (name == "subject") {
      TRY(out.subject, text_of(value, "subject"));
    } else if (name == "text") {
      TRY(out.text, text_of(value, "text"));
    } else if (name == "html") {
      TRY(out.html, text_of(value, "html"));
    } else if (name == "at") {
      if (!value.is_number_integer()) return wrong("at must be milliseconds since 1970");
      out.at = value.get<int64_t>();
    } else if (name == "attachments") {
      if (!value.is_array()) return wrong("attachments must be a list");
      for (const Json& each : value) {
        TRY(Attachment attachment, read_attachment(each));
        out.attachments.push_back(std::move(attachment));
      }
    } else {
      return wrong("there is to, subject, text, html, at and attachments");
    }
  }
  TRY_VOID(check_message(out));
  return out;
}

Result<queue::NewJob> mail_job(const Message& message) {
  TRY_VOID(check_message(message));
  queue::NewJob job;
  job.queue = kMailQueue;
  job.kind = kMailKind;
  job.max_attempts = kMailAttempts;
  job.payload = message_json(message);
  if (job.payload.size() > queue::kMaxPayload)
    return fail(Error(Code::resource_exhausted, "the mail is too large").from(Side::self));
  return job;
}

std::string message_id(int64_t job, std::string_view payload, std::string_view from) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(payload.data()), payload.size(), digest.data());
  std::string out = "<" + std::to_string(job) + ".";
  for (size_t i = 0; i < 12; ++i) {
    out += kDigits[digest[i] >> 4];
    out += kDigits[digest[i] & 15];
  }
  out += from.substr(from.rfind('@'));
  out += '>';
  return out;
}

std::string compose(const Message& message, const Sender& from, std::string_view id, int64_t at) {
  // What is encoded has no "=_" in it, so no boundary is.
  const std::string name = "=_" + std::string(id.substr(1, id.find('@') - 1));
  std::string out = "Date: ";
  append_date(out, message.at.value_or(at));
  out += "\r\nFrom: ";
  if (from.name.empty()) {
    out += from.address;
  } else {
    if (is_plain(from.name) && from.name.find_first_of("\"\\") == std::string::npos) {
      out += "\"" + from.name + "\"";
    } else {
      append_encoded_words(out, from.name);
    }
    out += "\r\n <" + from.address + ">";
  }
  out += "\r\nTo: " + message.to + "\r\nSubject: ";
  if (is_plain(message.subject)) {
    out += message.subject;
  } else {
    append_encoded_words(out, message.subject);
  }
  out += "\r\nMessage-ID: ";
  out += id;
  out += "\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n";
  if (message.attachments.empty()) {
    append_alternatives(out, message, name + "_a");
    return out;
  }
  const std::string boundary = name + "_m";
  out += "Content-Type: multipart/mixed;\r\n boundary=\"" + boundary + "\"\r\n\r\n--" + boundary + "\r\n";
  append_alternatives(out, message, name + "_a");
  for (const Attachment& attachment : message.attachments) {
    out += "--" + boundary + "\r\n";
    append_attachment(out, attachment);
  }
  out += "--" + boundary + "--\r\n";
  return out;
}

}  // namespace trellis::services::mail
