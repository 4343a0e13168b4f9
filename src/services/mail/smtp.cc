#include "services/mail/smtp.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <memory>

#include "services/curl.h"

namespace trellis::services::mail {

namespace {

constexpr long kConnectMillis = 10'000;
constexpr size_t kMostWords = 300;                 // of a server that an error keeps
constexpr size_t kMostReplies = size_t{64} << 10;  // of a server in all
constexpr std::string_view kSmtp = "smtp://";
constexpr std::string_view kSmtps = "smtps://";

// What is known of an exchange while libcurl has it.
struct Exchange {
  std::string_view rest;  // of the data
  size_t received = 0;
  std::string words;   // the last reply
  bool whole = true;   // the reply has ended
  bool begun = false;  // MAIL was sent: a refusal from here on is about the mail
  bool ended = false;  // QUIT was sent
};

size_t give(char* out, size_t size, size_t count, void* user) {
  auto* exchange = static_cast<Exchange*>(user);
  const size_t bytes = std::min(size * count, exchange->rest.size());
  std::memcpy(out, exchange->rest.data(), bytes);
  exchange->rest.remove_prefix(bytes);
  return bytes;
}

// A line of a reply. It is shown to people, so what is not printable ASCII is not kept.
size_t take_line(char* bytes, size_t size, size_t count, void* user) {
  auto* exchange = static_cast<Exchange*>(user);
  std::string_view line(bytes, size * count);
  exchange->received += line.size();
  if (exchange->received > kMostReplies) return 0;
  if (exchange->ended) return size * count;
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  if (exchange->whole) exchange->words.clear();
  exchange->whole = line.size() < 4 || line[3] != '-';
  if (!exchange->words.empty()) exchange->words += ' ';
  for (const char c : line.substr(0, kMostWords - std::min(kMostWords, exchange->words.size())))
    exchange->words += c >= ' ' && c <= '~' ? c : '?';
  return size * count;
}

// Only to see how far it has come: nothing of it is kept, for there are passwords in it.
int watch(CURL*, curl_infotype type, char* bytes, size_t size, void* user) {
  if (type != CURLINFO_HEADER_OUT) return 0;
  auto* exchange = static_cast<Exchange*>(user);
  const std::string_view command(bytes, size);
  if (command.starts_with("MAIL ")) exchange->begun = true;
  if (command.starts_with("QUIT")) exchange->ended = true;
  return 0;
}

int broken_off(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto* stopping = static_cast<const std::atomic<bool>*>(user);
  return stopping != nullptr && stopping->load(std::memory_order_relaxed) ? 1 : 0;
}

std::unexpected<Error> trouble(Code code, std::string what) {
  return fail(Error(code, "the mail server: " + std::move(what)).from(Side::upstream));
}

bool is_host(std::string_view host) noexcept {
  if (host.empty() || host.size() > 255) return false;
  const bool address = host.front() == '[';
  if (address && (host.back() != ']' || host.size() < 4)) return false;
  if (address) host = host.substr(1, host.size() - 2);
  return std::all_of(host.begin(), host.end(), [address](char c) {
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (address) return hex || c == ':' || c == '.';
    return hex || (c >= 'g' && c <= 'z') || (c >= 'G' && c <= 'Z') || c == '-' || c == '.';
  });
}

}  // namespace

Result<SmtpAddress> SmtpAddress::from_text(std::string_view text) {
  SmtpAddress out;
  out.tls = text.starts_with(kSmtps);
  if (!out.tls && !text.starts_with(kSmtp)) return fail(Code::invalid_argument, "it begins with smtp:// or smtps://");
  text.remove_prefix(out.tls ? kSmtps.size() : kSmtp.size());
  out.port = out.tls ? 465 : 25;
  const size_t colon = text.rfind(':');
  if (colon != text.npos && text.find(']', colon) == text.npos) {
    const std::string_view port = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
    if (error != std::errc() || end != port.data() + port.size() || out.port == 0)
      return fail(Code::invalid_argument, "the port is a number from 1 to 65535");
    text = text.substr(0, colon);
  }
  if (!is_host(text)) return fail(Code::invalid_argument, "a host and a port, and nothing behind them");
  out.host = text;
  return out;
}

std::string SmtpAddress::to_text() const {
  if (host.empty()) return "";
  return std::string(tls ? kSmtps : kSmtp) + host + ":" + std::to_string(port);
}

bool SmtpAddress::is_loopback() const noexcept {
  in_addr address{};
  return host == "localhost" || host == "[::1]" ||
         (host.starts_with("127.") && ::inet_pton(AF_INET, host.c_str(), &address) == 1);
}

Result<void> send_smtp(const SmtpMail& mail) {
  TRY(const CurlLibrary* library, curl_library());
  CurlHandle curl(library->easy_init(), FreeCurl{library});
  CurlList to(library->slist_append(nullptr, ("<" + mail.to + ">").c_str()), FreeCurlList{library});
  if (!curl || !to) return fail(Error(Code::resource_exhausted, "no memory for a mail").from(Side::self));
  Exchange exchange;
  exchange.rest = mail.data;
  // The path is what we say our name is.
  const std::string url = mail.server.to_text() + "/" + mail.from.substr(mail.from.rfind('@') + 1);
  const std::string from = "<" + mail.from + ">";
  const long tls = mail.tls == SmtpTls::required        ? CURLUSESSL_ALL
                   : mail.tls == SmtpTls::opportunistic ? CURLUSESSL_TRY
                                                        : CURLUSESSL_NONE;
  const bool any_certificate = mail.tls == SmtpTls::opportunistic && !mail.server.tls;
  const auto set = [&](CURLoption option, auto value) { (void)library->easy_setopt(curl.get(), option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "smtp,smtps");
  set(CURLOPT_PROXY, "");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_USE_SSL, tls);
  if (any_certificate) {
    // Who could put a false one there could as well hide that there is TLS.
    set(CURLOPT_SSL_VERIFYPEER, 0L);
    set(CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (!mail.ca_file.empty()) set(CURLOPT_CAINFO, mail.ca_file.c_str());
  if (!mail.login.user.empty()) {
    set(CURLOPT_USERNAME, mail.login.user.c_str());
    set(CURLOPT_PASSWORD, mail.login.password.c_str());
  }
  set(CURLOPT_MAIL_FROM, from.c_str());
  set(CURLOPT_MAIL_RCPT, to.get());
  set(CURLOPT_UPLOAD, 1L);
  set(CURLOPT_READFUNCTION, &give);
  set(CURLOPT_READDATA, &exchange);
  set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(mail.data.size()));
  set(CURLOPT_HEADERFUNCTION, &take_line);
  set(CURLOPT_HEADERDATA, &exchange);
  set(CURLOPT_VERBOSE, 1L);
  set(CURLOPT_DEBUGFUNCTION, &watch);
  set(CURLOPT_DEBUGDATA, &exchange);
  const long millis = static_cast<long>(std::chrono::duration_cast<std::chrono::milliseconds>(mail.timeout).count());
  set(CURLOPT_CONNECTTIMEOUT_MS, std::min(kConnectMillis, millis));
  set(CURLOPT_TIMEOUT_MS, millis);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &broken_off);
  set(CURLOPT_XFERINFODATA, const_cast<std::atomic<bool>*>(mail.stopping));
  const CURLcode code = library->easy_perform(curl.get());
  if (code == CURLE_OK) return {};
  long status = 0;
  (void)library->easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  // A server might say the password again, so nothing of what it says then is kept.
  if (code == CURLE_LOGIN_DENIED)
    return trouble(Code::unavailable, "the login was refused (" + std::to_string(status) + ")");
  if (exchange.received > kMostReplies) return trouble(Code::unavailable, "it says too much");
  const bool refused = code != CURLE_OPERATION_TIMEDOUT && code != CURLE_ABORTED_BY_CALLBACK && status >= 400;
  if (!refused) return trouble(Code::unavailable, library->easy_strerror(code));
  // 530 is about us: a login or TLS is missing.
  const bool for_good = exchange.begun && status >= 500 && status <= 599 && status != 530;
  return trouble(for_good ? Code::failed_precondition : Code::unavailable, exchange.words);
}

}  // namespace trellis::services::mail
