// Payloads of mail jobs: what is accepted writes back to the same, and its mail has no line and no header but its own.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "services/mail/message.h"
#include "services/mail/smtp.h"

namespace {

using namespace trellis::services::mail;

void check(const std::string& mail) {
  size_t begin = 0;
  size_t headers = 0;
  bool in_head = true;
  while (begin < mail.size()) {
    const size_t end = mail.find("\r\n", begin);
    TRELLIS_ASSERT(end != std::string::npos);
    const std::string_view line = std::string_view(mail).substr(begin, end - begin);
    TRELLIS_ASSERT(line.size() <= 998);
    for (const char c : line) TRELLIS_ASSERT((c >= ' ' && c <= '~') || c == '\t');
    if (line.empty()) in_head = false;
    if (in_head && line.front() != ' ') ++headers;
    begin = end + 2;
  }
  // Date, From, To, Subject, Message-ID, Auto-Submitted, MIME-Version, Content-Type, and of a single part
  // Content-Transfer-Encoding.
  TRELLIS_ASSERT(headers == 8 || headers == 9);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto server = SmtpAddress::from_text(text)) {
    TRELLIS_ASSERT(SmtpAddress::from_text(server->to_text())->to_text() == server->to_text());
  }
  const Sender from{.address = "links@example.com", .name = std::string("L\xc3\xaenks")};
  Message loose;
  loose.to = "ada@example.org";
  loose.text = text;
  loose.html = text;
  check(compose(loose, from, message_id(1, text, from.address), 0));
  const auto message = read_message(text);
  if (!message) return 0;
  check(compose(*message, from, message_id(1, text, from.address), 0));
  const std::string json = message_json(*message);
  const auto again = read_message(json);
  TRELLIS_ASSERT(again && message_json(*again) == json);
  return 0;
}
