#include "services/links/webhooks/webhook_delivery.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "queue/service_jobs.h"
#include "runtime/loop.h"
#include "runtime/sync.h"
#include "services/curl.h"
#include "services/links/webhooks/webhook_rows.h"
#include "store/sqlite.h"

namespace trellis::services::links {

namespace {

constexpr long kConnectMillis = 3'000;
constexpr long kTotalMillis = 10'000;
constexpr size_t kThreads = 2;
constexpr size_t kMostWaiting = 100;
constexpr size_t kMostAnswer = size_t{64} << 10;  // of the body of an answer, which nobody reads

struct Range4 {
  uint32_t begin;
  int bits;
};
// RFC 6890 and what came after it.
constexpr std::array<Range4, 15> kSpecial4 = {{{0x00000000, 8},
                                               {0x0a000000, 8},
                                               {0x64400000, 10},
                                               {0x7f000000, 8},
                                               {0xa9fe0000, 16},
                                               {0xac100000, 12},
                                               {0xc0000000, 24},
                                               {0xc0000200, 24},
                                               {0xc0586300, 24},
                                               {0xc0a80000, 16},
                                               {0xc6120000, 15},
                                               {0xc6336400, 24},
                                               {0xcb007100, 24},
                                               {0xe0000000, 4},
                                               {0xf0000000, 4}}};

bool is_public4(uint32_t address) noexcept {
  for (const Range4& range : kSpecial4) {
    const uint32_t mask = ~uint32_t{0} << (32 - range.bits);
    if ((address & mask) == range.begin) return false;
  }
  return true;
}

uint32_t word(const uint8_t* bytes) noexcept {
  return static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 |
         static_cast<uint32_t>(bytes[2]) << 8 | bytes[3];
}

struct Transfer {
  size_t received = 0;
  bool allow_private = false;
  bool refused = false;
};

curl_socket_t open_socket(void* user, curlsocktype, curl_sockaddr* address) {
  auto* transfer = static_cast<Transfer*>(user);
  if (!transfer->allow_private && !is_public_address(&address->addr)) {
    transfer->refused = true;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

size_t take(char*, size_t size, size_t count, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  transfer->received += size * count;
  return transfer->received > kMostAnswer ? 0 : size * count;
}

std::string text_at(const nlohmann::json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// What the webhook gets of a job: all but the number of the webhook.
Result<WebhookPost> post_of(const Webhook& webhook, const std::string& payload, int64_t job, int64_t seconds) {
  nlohmann::json json = nlohmann::json::parse(payload, nullptr, false);
  if (!json.is_object()) return fail(Error(Code::invalid_argument, "the job's payload is not JSON").from(Side::self));
  json.erase("webhook");
  WebhookPost post;
  post.url = webhook.url;
  post.event = text_at(json, "event");
  post.delivery = std::to_string(job);
  json["delivery"] = job;
  post.body = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  post.signature = webhook_signature(webhook.secret, seconds, post.body);
  return post;
}

int64_t webhook_of(const std::string& payload) {
  const nlohmann::json json = nlohmann::json::parse(payload, nullptr, false);
  if (!json.is_object()) return 0;
  const auto id = json.find("webhook");
  return id != json.end() && id->is_number_integer() ? id->get<int64_t>() : 0;
}

int broken_off(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto* stopping = static_cast<const std::atomic<bool>*>(user);
  return stopping != nullptr && stopping->load(std::memory_order_relaxed) ? 1 : 0;
}

// What the threads and the home loop share of a post; who waits may go first.
struct Posting {
  Event done;
  std::optional<Result<int>> status;
};

}  // namespace

bool is_public_address(const sockaddr* address) noexcept {
  if (address->sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, address, sizeof(v4));
    return is_public4(ntohl(v4.sin_addr.s_addr));
  }
  if (address->sa_family != AF_INET6) return false;
  sockaddr_in6 v6{};
  std::memcpy(&v6, address, sizeof(v6));
  const uint8_t* bytes = v6.sin6_addr.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return is_public4(word(bytes + 12));
  const uint32_t first = word(bytes);
  if (first >> 29 != 1) return false;                               // outside 2000::/3
  if (first == 0x20010db8 || first >> 12 == 0x3fff0) return false;  // documentation
  if (first >> 9 == 0x20010000u >> 9) return false;                 // 2001::/23: Teredo, ORCHID and others
  return first >> 16 != 0x2002;                                     // 6to4, which has an IPv4 address inside
}

std::string webhook_signature(std::string_view secret, int64_t seconds, std::string_view body) {
  const std::string time = std::to_string(seconds);
  std::string text = time + ".";
  text += body;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size);
  std::string out = "t=" + time + ",v1=";
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (unsigned i = 0; i < size; ++i) {
    out += kDigits[digest[i] >> 4];
    out += kDigits[digest[i] & 15];
  }
  return out;
}

Result<int> post_webhook(const WebhookPost& post) {
  TRY(const CurlLibrary* library, curl_library());
  CurlHandle curl(library->easy_init(), FreeCurl{library});
  if (!curl) return fail(Error(Code::internal, "libcurl could not begin").from(Side::self));
  Transfer transfer;
  transfer.allow_private = post.allow_private;
  CurlList headers(nullptr, FreeCurlList{library});
  for (const std::string& line :
       {std::string("Content-Type: application/json"), "Trellis-Event: " + post.event,
        "Trellis-Delivery: " + post.delivery, "Trellis-Signature: " + post.signature, std::string("Expect:")}) {
    curl_slist* longer = library->slist_append(headers.get(), line.c_str());
    if (longer == nullptr) return fail(Error(Code::resource_exhausted, "no memory for a webhook").from(Side::self));
    (void)headers.release();
    headers.reset(longer);
  }
  const auto set = [&](CURLoption option, auto value) { (void)library->easy_setopt(curl.get(), option, value); };
  set(CURLOPT_URL, post.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_PROXY, "");  // a proxy would resolve names, and reach what we may not
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_CONNECTTIMEOUT_MS, kConnectMillis);
  set(CURLOPT_TIMEOUT_MS, kTotalMillis);
  set(CURLOPT_USERAGENT, "Trellis-Webhooks/1");
  set(CURLOPT_HTTPHEADER, headers.get());
  set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(post.body.size()));
  set(CURLOPT_POSTFIELDS, post.body.data());
  set(CURLOPT_WRITEFUNCTION, &take);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_OPENSOCKETFUNCTION, &open_socket);
  set(CURLOPT_OPENSOCKETDATA, &transfer);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &broken_off);
  set(CURLOPT_XFERINFODATA, const_cast<std::atomic<bool>*>(post.stopping));
  const CURLcode code = library->easy_perform(curl.get());
  if (transfer.refused) {
    return fail(
        Error(Code::failed_precondition, "the webhook's address is not on the public internet").from(Side::self));
  }
  long status = 0;
  (void)library->easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  // A body that is too long was cut off after the status, which is what counts.
  const bool cut = code == CURLE_WRITE_ERROR && transfer.received > kMostAnswer;
  if (code != CURLE_OK && !cut)
    return fail(
        Error(Code::unavailable, std::string("the webhook: ") + library->easy_strerror(code)).from(Side::upstream));
  return static_cast<int>(status);
}

WebhookDelivery::~WebhookDelivery() { stopping_ = true; }

void WebhookDelivery::start(queue::ServiceJobs& jobs, Loop& home, Clock& clock) {
  home_ = &home;
  clock_ = &clock;
  jobs.handle(kWebhooksQueue, kDeliverWebhook,
              [this](const queue::JobRun& job) { return deliver(job.lease.id, job.payload, job.deadline); });
}

Task<Result<queue::Done>> WebhookDelivery::deliver(int64_t job, std::string payload, Deadline deadline) {
  auto reading =
      store_.read([id = webhook_of(payload)](store::SqliteConnection& db) { return find_webhook(db, id); }, deadline);
  const Result<std::optional<Webhook>> webhook = co_await reading;
  if (!webhook) co_return fail(webhook.error().clone());
  if (!*webhook) co_return queue::Done::yes;  // nobody wants it any more
  const int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(clock_->wall().time_since_epoch()).count();
  Result<WebhookPost> post = post_of(**webhook, payload, job, seconds);
  if (!post) co_return fail(std::move(post).error());
  post->allow_private = allow_private_;
  post->stopping = &stopping_;

  if (!pool_) pool_ = std::make_unique<BlockingPool>(kThreads, kMostWaiting);
  auto posting = std::make_shared<Posting>();
  const bool queued = pool_->try_post([post = *std::move(post), posting, home = home_]() {
    auto status = std::make_shared<Result<int>>(post_webhook(post));
    home->post([posting, status] {
      posting->status = std::move(*status);
      posting->done.set();
    });
  });
  if (!queued) co_return fail(Error(Code::resource_exhausted, "too many webhooks are waiting").from(Side::self));
  (void)co_await posting->done.wait(deadline);
  if (!posting->status)
    co_return fail(Error(Code::deadline_exceeded, "the webhook was not through in time").from(Side::upstream));
  if (!*posting->status) co_return fail(posting->status->error().clone());
  const int status = **posting->status;
  if (status < 200 || status > 299)
    co_return fail(Error(Code::unavailable, "the webhook answered " + std::to_string(status)).from(Side::upstream));
  co_return queue::Done::yes;
}

}  // namespace trellis::services::links
