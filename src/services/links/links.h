// The short links service: codes, redirects, clicks and the API over them (docs/links.md). One instance serves all
// cores: what they share is the store, the memory cache, the counter of ids and a ring of clicks for each; everything
// else of a request is in its coroutine. A redirect that the cache knows waits for nothing. Built by the app from its
// configuration; start(), mount(), stop() on the home loop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "cache/memory_cache.h"
#include "config/fields.h"
#include "http/routes.h"
#include "net/country.h"
#include "runtime/sync.h"
#include "runtime/task.h"
#include "services/links/clicks/click_stream.h"
#include "services/links/clicks/clicks.h"
#include "services/links/link_book.h"
#include "services/links/reports/report_config.h"
#include "services/links/target.h"
#include "services/service.h"

namespace trellis::store {
class SqliteStore;
}

namespace trellis::queue {
class EventLog;
class Outbox;
class OutboxRelay;
}  // namespace trellis::queue

namespace trellis::services::links {

class Access;
class BlocklistApi;
class BulkApi;
class DomainApi;
class Guesses;
class KeyApi;
class ReportApi;
class ReportMaker;
class ShlinkApi;
class WebhookApi;
class WebhookDelivery;
class YourlsApi;

struct LinksConfig {
  std::string store;  // names, resolved by the app
  std::string cache;
  std::string log;       // likewise; "": clicks go straight to the store, and changes are not told
  std::string base_url;  // short URLs begin with it
  int status = 302;      // of links that do not say
  Duration cache_for = std::chrono::minutes(10);
  Duration cache_unknown_for = std::chrono::seconds(5);
  Duration remove_expired_after = std::chrono::hours(24 * 30);
  std::string countries;  // a file; "": none
  enum class Keys : uint8_t { off, required };
  Keys keys = Keys::off;
  enum class Webhooks : uint8_t { any, only_public };
  Webhooks webhooks = Webhooks::only_public;
  uint32_t guesses = 1000;  // of a block of addresses in a minute
  ReportsConfig reports;
  std::string blocklist;  // a file; "": none

  static config::Fields<LinksConfig> fields();
  void check(config::Checker& at) const;
};

class LinksService final : public Service {
 public:
  // Borrows the store, the cache and the log (which may be none); they outlive it. Precondition: the configuration was
  // checked.
  LinksService(LinksConfig config, store::SqliteStore& store, cache::MemoryCache& cache, queue::EventLog* log);
  ~LinksService() override;

  Task<Result<void>> start(Env& env) override;
  void mount(http::Routes& routes) override;  // describe.cc
  bool files_changed() const override;
  void begin_drain() override { stream_.end(); }
  Task<Result<void>> stop(Deadline deadline) override;
  Access& access() noexcept { return *access_; }

 private:
  struct Found;
  // Paths that are none of a code, such as /old/page.html.
  class Elsewhere final : public http::Handler {
   public:
    explicit Elsewhere(LinksService& links) : links_(links) {}
    Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;

   private:
    LinksService& links_;
  };

  // The API, in api.cc.
  Task<Result<http::Response>> create(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> list(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> show(http::Request& request, http::RequestContext& context, std::string_view code);
  Task<Result<http::Response>> change(http::Request& request, http::RequestContext& context, std::string_view code);
  Task<Result<http::Response>> remove(http::Request& request, http::RequestContext& context, std::string_view code);
  // In stats_api.cc.
  Task<Result<http::Response>> stats(http::Request& request, http::RequestContext& context, std::string_view code);
  Task<Result<http::Response>> stream(http::Request& request, http::RequestContext& context);
  void mount_stats(http::Routes& routes);  // describe_stats.cc
  Task<Result<http::Response>> openapi(http::Request& request, http::RequestContext& context);
  http::Response link_answer(http::RequestContext& context, int status, const Link& link) const;

  // The redirect, in links.cc.
  Task<Result<http::Response>> redirect(http::Request& request, http::RequestContext& context, std::string_view code);
  Task<Result<http::Response>> root(http::Request& request, http::RequestContext& context);
  // 0: none held, else its number from 1; then `found` leads where the rule says.
  TakenRule apply_rules(Found& found, const http::Request& request, http::RequestContext& context, int64_t now) const;
  // Nothing: the visitor has the password, and `found` is what the link was when that was known.
  Task<Result<std::optional<http::Response>>> unlock(http::Request& request, http::RequestContext& context,
                                                     std::string name, Found& found);
  Task<Result<std::optional<Target>>> load(std::string code, Deadline deadline);
  Task<> forget_old_rows();
  // The same answer, or 429 when it tells that a code is unknown and too many were.
  Task<Result<http::Response>> slowed(Task<Result<http::Response>> answering, http::RequestContext& context);

  Elsewhere elsewhere_{*this};
  LinksConfig config_;
  store::SqliteStore& store_;
  queue::EventLog* log_;
  std::shared_ptr<cache::CacheSpace<Target>> targets_;
  std::shared_ptr<const queue::Outbox> outbox_;  // null: there is no log
  std::unique_ptr<queue::OutboxRelay> relay_;
  std::unique_ptr<LinkBook> book_;
  std::unique_ptr<BulkApi> bulk_;
  std::unique_ptr<BlocklistApi> blocklist_api_;
  std::unique_ptr<const net::CountryDatabase> countries_;  // null: none
  ClickStream stream_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<KeyApi> key_api_;
  std::unique_ptr<Guesses> guesses_;
  std::unique_ptr<DomainApi> domain_api_;
  std::unique_ptr<ShlinkApi> shlink_;
  std::unique_ptr<YourlsApi> yourls_;
  std::unique_ptr<WebhookApi> webhook_api_;
  std::unique_ptr<WebhookDelivery> webhooks_;
  std::unique_ptr<ReportApi> report_api_;
  std::unique_ptr<ReportMaker> reports_;
  std::unique_ptr<ClickCounter> clicks_;
  std::string openapi_;
  Loop* home_ = nullptr;
  bool stopping_ = false;
  Event stop_;
  TaskGroup background_;
};

}  // namespace trellis::services::links
