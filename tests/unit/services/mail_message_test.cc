#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "services/mail/message.h"

namespace trellis::services::mail {
namespace {

Message simple() {
  Message message;
  message.to = "ada@example.org";
  message.subject = "Clicks";
  message.text = "Hello\n";
  message.at = 1'767'225'600'000;
  return message;
}

const Sender kFrom{.address = "links@example.com", .name = "Links"};

std::string composed(const Message& message, const Sender& from = kFrom) {
  return compose(message, from, message_id(7, "payload", from.address), 0);
}

// Every line of a mail is ASCII, ends with CRLF and is as short as promised.
void expect_well_formed(const std::string& mail) {
  size_t begin = 0;
  while (begin < mail.size()) {
    const size_t end = mail.find("\r\n", begin);
    ASSERT_NE(end, std::string::npos) << "a line without its end";
    EXPECT_LE(end - begin, 78u) << mail.substr(begin, end - begin);
    for (size_t i = begin; i < end; ++i) {
      EXPECT_TRUE((mail[i] >= ' ' && mail[i] <= '~') || mail[i] == '\t') << static_cast<int>(mail[i]);
    }
    begin = end + 2;
  }
}

TEST(MailMessage, KnowsAnAddress) {
  for (const char* text : {"a@b", "ada@example.org", "ada.king+links@mail.example.org", "x_y-z@a-b.c1", "o'neil@e.org"})
    EXPECT_TRUE(is_mail_address(text)) << text;
  for (const char* text : {"",
                           "@",
                           "a@",
                           "@b",
                           "a",
                           "a@b@c",
                           "a b@c",
                           "a@b c",
                           "<a@b>",
                           "a@b>",
                           "a@b\r\nRCPT TO:<c@d>",
                           "a\n@b",
                           "a@-b",
                           "a@b-",
                           "a@b..c",
                           "a@.b",
                           "a@b.",
                           ".a@b",
                           "a.@b",
                           "a..b@c",
                           "\"a\"@b",
                           "a@[127.0.0.1]",
                           "a,b@c",
                           "ä@b",
                           "a@ö"})
    EXPECT_FALSE(is_mail_address(text)) << text;
  EXPECT_FALSE(is_mail_address(std::string(65, 'a') + "@b"));
  EXPECT_FALSE(is_mail_address("a@" + std::string(64, 'b')));
  EXPECT_FALSE(is_mail_address("a@" + std::string(60, 'b') + "." + std::string(60, 'b') + "." + std::string(60, 'b') +
                               "." + std::string(60, 'b') + "." + std::string(60, 'b')));
}

TEST(MailMessage, ReadsWhatItWrites) {
  Message message = simple();
  message.html = "<p>ä</p>";
  message.attachments.push_back({"a.csv", "text/csv", std::string("\0\xff\r\n.", 5)});
  const auto read = read_message(message_json(message));
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->to, message.to);
  EXPECT_EQ(read->subject, message.subject);
  EXPECT_EQ(read->text, message.text);
  EXPECT_EQ(read->html, message.html);
  EXPECT_EQ(read->at, message.at);
  ASSERT_EQ(read->attachments.size(), 1u);
  EXPECT_EQ(read->attachments[0].bytes, message.attachments[0].bytes);
  EXPECT_EQ(message_json(*read), message_json(message));
}

TEST(MailMessage, IsReadStrictly) {
  for (const char* text : {"",
                           "[]",
                           "{",
                           R"({"to":"a"})",
                           R"({"to":"a@b","more":1})",
                           R"({"to":["a@b"]})",
                           R"({"to":"a@b\r\nBcc: c@d"})",
                           R"({"to":"a@b","subject":"x\r\nBcc: c@d"})",
                           R"({"to":"a@b","subject":"x\u0000"})",
                           R"({"to":"a@b","text":1})",
                           R"({"to":"a@b","at":"now"})",
                           R"({"to":"a@b","at":-1})",
                           R"({"to":"a@b","attachments":{}})",
                           R"({"to":"a@b","attachments":[{"name":"a","type":"text/csv"}]})",
                           R"({"to":"a@b","attachments":[{"name":"a","type":"text/csv","base64":"A"}]})",
                           R"({"to":"a@b","attachments":[{"name":"a","type":"text/csv","base64":"AB=="}]})",
                           R"({"to":"a@b","attachments":[{"name":"a","type":"text/csv","base64":"AA=A"}]})",
                           R"({"to":"a@b","attachments":[{"name":"a\"\r\nX: y","type":"text/csv","base64":""}]})",
                           R"({"to":"a@b","attachments":[{"name":"../a","type":"text/csv","base64":""}]})",
                           R"({"to":"a@b","attachments":[{"name":"a","type":"text/csv\r\nX: y","base64":""}]})",
                           R"({"to":"a@b","attachments":[{"name":"a","type":"multipart/mixed","base64":""}]})"}) {
    const auto read = read_message(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code(), Code::invalid_argument) << text;
  }
  EXPECT_TRUE(read_message(R"({"to":"a@b"})"));
  EXPECT_FALSE(read_message(nlohmann::json{{"to", "a@b"}, {"subject", std::string(501, 'x')}}.dump()));
}

TEST(MailMessage, OfTextAloneIsOnePart) {
  EXPECT_EQ(composed(simple()),
            "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
            "From: \"Links\"\r\n <links@example.com>\r\n"
            "To: ada@example.org\r\n"
            "Subject: Clicks\r\n"
            "Message-ID: " +
                message_id(7, "payload", "links@example.com") +
                "\r\n"
                "Auto-Submitted: auto-generated\r\n"
                "MIME-Version: 1.0\r\n"
                "Content-Type: text/plain; charset=utf-8\r\n"
                "Content-Transfer-Encoding: quoted-printable\r\n"
                "\r\n"
                "Hello\r\n");
}

TEST(MailMessage, HasAlternativesAndAttachments) {
  Message message = simple();
  message.html = "<p>Hello</p>";
  message.attachments.push_back({"a.csv", "text/csv", std::string(200, 'x')});
  message.attachments.push_back({"b.csv", "text/csv", ""});
  const std::string mail = composed(message);
  expect_well_formed(mail);
  EXPECT_NE(mail.find("multipart/mixed"), std::string::npos);
  EXPECT_LT(mail.find("text/plain"), mail.find("text/html"));
  EXPECT_LT(mail.find("text/html"), mail.find("filename=\"a.csv\""));
  EXPECT_LT(mail.find("filename=\"a.csv\""), mail.find("filename=\"b.csv\""));
}

TEST(MailMessage, EncodesWhatIsNotPlain) {
  Message message = simple();
  message.subject = "Zugriffe für «Äpfel», 一二三四五六七八九十, und noch vieles mehr als in eine Zeile passt";
  message.text = "ä=\ttab \nspace at the end \r\nbare\rreturn\n.\n..\n" + std::string(500, 'x') + "\n" +
                 std::string(300, '\xc3') + "\nend";
  message.html = std::string("\0\x01", 2);
  const std::string mail = composed(message, {.address = "a@b", .name = "Bücher \"und\" mehr"});
  expect_well_formed(mail);
  EXPECT_NE(mail.find("=C3=A4=3D\ttab=20\r\nspace at the end=20\r\nbare=0Dreturn\r\n.\r\n..\r\n"), std::string::npos);
  message.subject = "=?UTF-8?B?looks like one?=";
  EXPECT_NE(composed(message).find("Subject: =?UTF-8?B?PT9VVEYtOD9CP2xvb2tzIGxpa2Ugb25lPz0=?=\r\n"), std::string::npos);
}

TEST(MailMessage, HasAnIdThatIsTheSameForEachAttempt) {
  const std::string id = message_id(42, "payload", "links@example.com");
  EXPECT_EQ(id, message_id(42, "payload", "links@example.com"));
  EXPECT_NE(id, message_id(43, "payload", "links@example.com"));
  EXPECT_NE(id, message_id(42, "other", "links@example.com"));
  EXPECT_TRUE(id.starts_with("<42."));
  EXPECT_TRUE(id.ends_with("@example.com>"));
}

TEST(MailMessage, MakesAJobOfWhatFitsIntoOne) {
  Message message = simple();
  const auto job = mail_job(message);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->queue, kMailQueue);
  EXPECT_EQ(job->kind, kMailKind);
  EXPECT_TRUE(read_message(job->payload));
  message.text.assign(queue::kMaxPayload, 'x');
  EXPECT_EQ(mail_job(message).error().code(), Code::resource_exhausted);
  message.text.clear();
  message.to = "nobody";
  EXPECT_EQ(mail_job(message).error().code(), Code::invalid_argument);
}

}  // namespace
}  // namespace trellis::services::mail
