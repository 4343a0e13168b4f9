#include "services/links/links.h"

#include <algorithm>
#include <chrono>
#include <expected>
#include <utility>

#include "base/log.h"
#include "base/rng.h"
#include "http/explain.h"
#include "http/problem.h"
#include "queue/outbox_relay.h"
#include "queue/service_jobs.h"
#include "services/links/access/access.h"
#include "services/links/access/blocklist_api.h"
#include "services/links/access/guesses.h"
#include "services/links/access/key_api.h"
#include "services/links/answers.h"
#include "services/links/bulk/bulk_api.h"
#include "services/links/clicks/figures_rows.h"
#include "services/links/compat/shlink.h"
#include "services/links/compat/yourls.h"
#include "services/links/domains/domain_api.h"
#include "services/links/expiry.h"
#include "services/links/link_events.h"
#include "services/links/link_json.h"
#include "services/links/preview.h"
#include "services/links/qr.h"
#include "services/links/reports/report_api.h"
#include "services/links/reports/report_maker.h"
#include "services/links/rows.h"
#include "services/links/rules/rules.h"
#include "services/links/webhooks/webhook_api.h"
#include "services/links/webhooks/webhook_delivery.h"
#include "store/sqlite.h"

namespace trellis::services::links {

using http::FieldId;
using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

constexpr Duration kForgetEvery = std::chrono::minutes(10);
constexpr uint64_t kChangesKeptBytes = uint64_t{1} << 30;  // of what happens to links, in the log
constexpr Duration kChangesKept = std::chrono::hours(24 * 30);

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

// A problem for programs, a page for people.
struct DeadEnd {
  int status = 404;
  std::string_view code = "not_found";
  std::string_view headline;
  std::string_view sentence;
};
constexpr DeadEnd kUnknown{404, "not_found", "No such link", "There is no such link."};
constexpr DeadEnd kNothing{404, "not_found", "Nothing here", "There is nothing here."};
constexpr DeadEnd kDeleted{410, "gone", "This link is gone", "This link was deleted."};
constexpr DeadEnd kBlocked{410, "blocked", "This link is blocked", "Where this link leads may not be linked."};
constexpr DeadEnd kExpired{410, "gone", "This link has ended", "This link has expired."};
constexpr DeadEnd kUsedUp{410, "gone", "This link has ended", "This link has had all its visits."};

Response dead_end(const DeadEnd& why, const Request& request, RequestContext& context) {
  context.outcome = why.code;
  Response response = http::problem(context.arena, why.status, why.code, why.sentence, false, context.request_id);
  show_refusal(response, request, why.headline, why.sentence);
  return response;
}

// The parameters behind those that the URL has, before its fragment.
std::string_view with_query(std::string_view url, std::string_view query, Arena& arena) {
  const std::string_view base = url.substr(0, url.find('#'));
  const bool first = base.find('?') == std::string_view::npos;
  const bool open = base.ends_with('?') || base.ends_with('&');
  return arena.concat({base, first ? "?" : open ? "" : "&", query, url.substr(base.size())});
}

Response too_many_guesses(RequestContext& context, Duration wait) {
  context.outcome = "too_many_guesses";
  context.failed_side = Side::client;
  Response response =
      http::problem(context.arena, 429, "too_many_guesses",
                    "Too many unknown codes were asked for from there; try again later.", true, context.request_id);
  const auto left = std::chrono::ceil<std::chrono::seconds>(wait).count();
  response.fields.add_copy(FieldId::retry_after, std::to_string(left));
  response.fields.add(FieldId::cache_control, "no-store");
  return response;
}

// A domain's own answer to what it has no link for; "": it has none.
Response fall_back(RequestContext& context, const Request& request, std::string_view url, const DeadEnd& why) {
  if (url.empty() || (request.method != Method::get && request.method != Method::head))
    return dead_end(why, request, context);
  Response response(context.arena, 302);
  response.fields.add_copy(FieldId::location, location_of(url));
  response.fields.add(FieldId::cache_control, "private, max-age=0");
  return response;
}

Task<Result<Response>> ready(Response response) { co_return std::move(response); }

bool is_permanent(int status) noexcept { return status == 301 || status == 308; }
bool keeps_method(int status) noexcept { return status == 307 || status == 308; }

}  // namespace

// --- Configuration ---

config::Fields<LinksConfig> LinksConfig::fields() {
  using namespace std::chrono_literals;
  return {
      {"store", "the store that keeps the links", &LinksConfig::store, config::kRequired},
      {"cache", "the cache in front of it", &LinksConfig::cache, config::kRequired},
      {"log",
       "the log that keeps clicks until they are counted, and what happens to links; none: clicks wait in memory",
       &LinksConfig::log},
      {"base_url", "what short URLs begin with, such as https://go.example.com", &LinksConfig::base_url,
       config::kRequired},
      {"status", "status of links that do not name one: 301, 302, 307 or 308", &LinksConfig::status,
       config::range(301, 308)},
      {"cache_for", "how long a link is kept in the cache; a change takes effect at once on this node",
       &LinksConfig::cache_for, config::range(1s, 24h)},
      {"cache_unknown_for", "how long it is remembered that a code is unknown", &LinksConfig::cache_unknown_for,
       config::range(0s, 10min)},
      {"remove_expired_after", "how long a link is kept once it has expired; then only its code is left",
       &LinksConfig::remove_expired_after, config::range(0s, 24h * 36500)},
      {"countries",
       "file of a MaxMind database (.mmdb) that tells a visitor's country by his address; none: nobody has one",
       &LinksConfig::countries},
      {"keys", "required: the API takes requests with a valid key only; off: everybody who reaches it may use it",
       &LinksConfig::keys, config::one_of<Keys>({{"off", Keys::off}, {"required", Keys::required}})},
      {"webhooks", "public: webhooks reach the public internet only; any: also this machine and private networks",
       &LinksConfig::webhooks, config::one_of<Webhooks>({{"public", Webhooks::only_public}, {"any", Webhooks::any}})},
      {"guesses", "unknown codes that a block of addresses may ask for in a minute; 0: any number",
       &LinksConfig::guesses, config::range(0, 1'000'000)},
      {"reports", "files with figures, made in the background", &LinksConfig::reports},
      {"blocklist", "a file of destinations that may not be linked, one a line; read again by a reload",
       &LinksConfig::blocklist}};
}

void LinksConfig::check(config::Checker& at) const {
  if (!is_redirect_status(status)) at.problem("status", "must be 301, 302, 307 or 308");
  if (const Result<UrlHost> host = check_url(base_url); !host) at.problem("base_url", host.error().what());
  if (base_url.find_first_of("?#") != std::string::npos) at.problem("base_url", "must have no query and no fragment");
  const size_t path = base_url.find('/', base_url.find("//") + 2);
  if (path != std::string::npos && path + 1 < base_url.size()) {
    at.problem("base_url", "must have no path: codes stand right behind the host",
               "give the links a host of their own");
  }
}

// --- Life ---

LinksService::LinksService(LinksConfig config, store::SqliteStore& store, cache::MemoryCache& cache,
                           queue::EventLog* log)
    : config_(std::move(config)),
      store_(store),
      log_(log),
      targets_(std::make_shared<cache::CacheSpace<Target>>(
          cache, cache::CacheSpace<Target>::Options{.name = "links",
                                                    .ttl = config_.cache_for,
                                                    .negative_ttl = config_.cache_unknown_for,
                                                    .bytes_of = memory_of})) {
  config_.base_url = without_slash(std::move(config_.base_url));
  if (log_) outbox_ = std::make_shared<const queue::Outbox>(kChangesTopic, queue::kMaxOutboxWaiting);
  book_ = std::make_unique<LinkBook>(
      LinkBook::Options{
          .base_url = config_.base_url, .status = config_.status, .blocklist = config_.blocklist, .outbox = outbox_},
      store_, targets_);
  bulk_ = std::make_unique<BulkApi>(*book_);
  blocklist_api_ = std::make_unique<BlocklistApi>(book_->blocklist());
  access_ = std::make_unique<Access>(config_.keys == LinksConfig::Keys::required, store_);
  key_api_ = std::make_unique<KeyApi>(*access_, book_->domains());
  domain_api_ = std::make_unique<DomainApi>(book_->domains());
  shlink_ = std::make_unique<ShlinkApi>(*book_, *access_);
  yourls_ = std::make_unique<YourlsApi>(*book_, *access_);
  report_api_ = std::make_unique<ReportApi>(*book_, config_.reports);
  reports_ = std::make_unique<ReportMaker>(store_, config_.reports, config_.base_url);
  webhook_api_ = std::make_unique<WebhookApi>(store_);
  webhooks_ = std::make_unique<WebhookDelivery>(store_, config_.webhooks == LinksConfig::Webhooks::any);
}

LinksService::~LinksService() = default;

bool LinksService::files_changed() const { return book_->blocklist().file_changed(); }

Task<Result<void>> LinksService::start(Env& env) {
  home_ = &env.loop;
  if (!config_.countries.empty()) {
    auto opening = blocking([path = config_.countries] { return net::CountryDatabase::open(path); });
    Result<net::CountryDatabase> countries = co_await opening;
    if (!countries) co_return fail(Error(countries.error().code(), "countries").because(std::move(countries).error()));
    countries_ = std::make_unique<const net::CountryDatabase>(*std::move(countries));
  }
  Result<void> opened = co_await book_->start(env.loop, env.clock);
  if (!opened) co_return fail(std::move(opened).error());
  if (outbox_) {
    const queue::OutboxRelayOptions how{.keep = {.retain_bytes = kChangesKeptBytes, .retain_for = kChangesKept}};
    relay_ = std::make_unique<queue::OutboxRelay>(outbox_, store_, *log_, env.metrics, how);
    Result<void> related = co_await relay_->start();
    if (!related) co_return fail(Error(related.error().code(), "outbox").because(std::move(related).error()));
  }
  if (env.jobs) {
    Result<void> expiring = co_await start_expiry(*env.jobs, *book_, env.clock, config_.remove_expired_after);
    if (!expiring) co_return fail(std::move(expiring).error());
    webhooks_->start(*env.jobs, env.loop, env.clock);
  }
  Result<void> reporting = co_await reports_->start(env.jobs, env.clock);
  if (!reporting) co_return fail(std::move(reporting).error());
  report_api_->set_jobs(env.jobs ? &env.jobs->queue() : nullptr);
  Result<void> guarded = co_await access_->start(env.loop);
  if (!guarded) co_return fail(std::move(guarded).error());
  guesses_ = std::make_unique<Guesses>(config_.guesses, random_seed(), env.metrics);
  ClickCounter::Options options;
  options.cores = env.cores;
  options.log = log_;
  options.countries = countries_.get();
  options.stream = &stream_;
  clicks_ = std::make_unique<ClickCounter>(store_, env.loop, env.metrics, options);
  Result<void> counting = co_await clicks_->start();
  if (!counting) co_return fail(std::move(counting).error());
  background_.spawn(forget_old_rows());
  co_return Result<void>();
}

Task<Result<void>> LinksService::stop(Deadline deadline) {
  stopping_ = true;
  stop_.set();
  background_.close();
  Result<void> closed = co_await book_->stop(deadline);
  Result<void> noted = co_await access_->stop(deadline);
  if (relay_) (void)co_await relay_->stop(deadline);
  Result<void> written;
  if (clicks_) written = co_await clicks_->stop(deadline);
  const bool ended = co_await background_.join(deadline);
  if (!ended) background_.cancel_all();
  if (closed && !written) closed = std::move(written);
  if (closed && !noted) closed = std::move(noted);
  co_return closed;
}

// Idempotency keys live for a day, figures of minutes for two; the old ones go in small pieces.
Task<> LinksService::forget_old_rows() {
  while (!stopping_) {
    const int64_t before = unix_millis(home_->wall()) - kKeysLast;
    auto dropping = store_.write([before](store::SqliteConnection& db) { return drop_replays(db, before); });
    const Result<int64_t> dropped = co_await dropping;
    if (!dropped) log_debug("old idempotency keys could not be dropped", {{"error", dropped.error().to_string()}});
    auto sweeping = store_.write(
        [now = unix_millis(home_->wall())](store::SqliteConnection& db) { return drop_old_figures(db, now); });
    const Result<int64_t> swept = co_await sweeping;
    if ((dropped && *dropped > 0) || (swept && *swept > 0)) continue;
    (void)co_await stop_.wait(after(home_->now(), kForgetEvery));
  }
}

// --- Redirects ---

// What a redirect needs of a target, copied out of the cache.
struct LinksService::Found {
  int64_t id = 0;
  int64_t not_before = 0;
  int64_t expires_at = 0;
  int status = 0;
  Target::Ending ending = Target::Ending::none;
  bool forward_query = false;
  bool limited = false;
  bool locked = false;
  uint32_t blocklist = 0;
  std::shared_ptr<const Rules> rules;
  std::string_view location;  // in the arena

  void copy(const Target& target, Arena& arena) {
    id = target.id;
    not_before = target.not_before;
    expires_at = target.expires_at;
    status = target.status;
    ending = target.ending;
    forward_query = target.forward_query;
    limited = target.limited;
    locked = target.locked;
    blocklist = target.blocklist;
    rules = target.rules;
    location = arena.copy(target.location.view());
  }
};

TakenRule LinksService::apply_rules(Found& found, const Request& request, RequestContext& context, int64_t now) const {
  Visit visit;
  visit.agent = read_user_agent(request.fields.value(FieldId::user_agent));
  visit.accept_language = request.fields.value(FieldId::accept_language);
  visit.address = context.client_address;
  visit.query = request.query;
  visit.now = now;
  visit.link = static_cast<uint64_t>(found.id);
  net::Place place;
  if (countries_ && found.rules->need_country()) {
    if (const Result<net::Place> known = countries_->find(context.client_address)) place = *known;
  }
  visit.country = place.country_code();
  const std::optional<Rules::Match> match = found.rules->find(visit);
  if (!match) return {};
  found.location = context.arena.copy(location_of(match->url));
  return {static_cast<uint8_t>(match->rule + 1), static_cast<uint8_t>(match->target)};
}

Task<Result<std::optional<Target>>> LinksService::load(std::string code, Deadline deadline) {
  auto reading = book_->find(std::move(code), deadline);
  Result<std::optional<Link>> link = co_await reading;
  if (!link) co_return fail(std::move(link).error());
  if (!*link) co_return std::optional<Target>();
  co_return std::optional<Target>(target_of(**link, book_->blocklist()));
}

Task<Result<Response>> LinksService::slowed(Task<Result<Response>> answering, RequestContext& context) {
  const Time now = context.loop.now();
  const auto shut = guesses_->any_shut(now) ? guesses_->shut(context.client_address, now) : std::nullopt;
  if (shut) co_return too_many_guesses(context, *shut);
  Result<Response> answer = co_await answering;
  if (!answer || answer->status != 404) co_return answer;
  const auto wait = guesses_->unknown(context.client_address, now);
  if (wait) co_return too_many_guesses(context, *wait);
  co_return answer;
}

Task<Result<std::optional<Response>>> LinksService::unlock(Request& request, RequestContext& context, std::string name,
                                                           Found& found) {
  if (request.method != Method::get && request.method != Method::head && request.method != Method::post) {
    Response response = refuse(context, 405, "method_not_allowed", "A link with a password takes GET, HEAD and POST.");
    response.fields.add(FieldId::allow, "GET, HEAD, POST");
    co_return std::optional(std::move(response));
  }
  if (!brings_password(request)) co_return std::optional(ask_for_password(context));
  // First, for the visitor may take his time and the link may change meanwhile.
  auto asking = read_password(request, context);
  std::expected<std::string, Response> given = co_await asking;
  if (!given) co_return std::optional(std::move(given).error());
  const auto changed = [&context] {
    return std::optional(refuse(context, 409, "changed", "The link was changed meanwhile; try again."));
  };
  auto reading = book_->find(name, context.deadline);
  Result<std::optional<Link>> link = co_await reading;
  if (!link) co_return fail(std::move(link).error());
  if (!*link) co_return changed();
  if (!(*link)->password.empty()) {
    const std::string text = (*link)->password;
    auto checking = book_->passwords().check(context, (*link)->id, text, *std::move(given));
    Result<std::optional<Response>> refused = co_await checking;
    if (!refused || *refused) co_return refused;
    // Checking takes its time, too, and more when many wait.
    auto reading_again = book_->find(std::move(name), context.deadline);
    link = co_await reading_again;
    if (!link) co_return fail(std::move(link).error());
    if (!*link || (!(*link)->password.empty() && (*link)->password != text)) co_return changed();
  }
  found.copy(target_of(**link, book_->blocklist()), context.arena);
  co_return std::optional<Response>();
}

Task<Result<Response>> LinksService::redirect(Request& request, RequestContext& context, std::string_view code) {
  Found found;
  bool known = false;
  if (guesses_->any_shut(context.loop.now())) [[unlikely]] {
    const auto wait = guesses_->shut(context.client_address, context.loop.now());
    if (wait) co_return too_many_guesses(context, *wait);
  }
  // Null, as most often: there is but the default domain, and it has no fallbacks.
  const DomainTablePointer domains = book_->domains().table_for_redirect();
  const Domain* const domain = domains ? &domains->of_authority(request.authority) : nullptr;
  const std::string_view name =
      domain && !domain->is_default() ? context.arena.concat({domain->host, "/", code}) : code;
  if (is_code_text(code)) {
    cache::CacheOutcome outcome =
        targets_->look(name, context.loop.now(), [&](const Target& target) { found.copy(target, context.arena); });
    if (outcome == cache::CacheOutcome::hit && found.blocklist != book_->blocklist().version()) [[unlikely]] {
      targets_->invalidate(name);
      outcome = cache::CacheOutcome::miss;
    }
    known = outcome == cache::CacheOutcome::hit;
    context.cache_status = known ? "hit" : outcome == cache::CacheOutcome::negative ? "negative" : "miss";
    if (outcome == cache::CacheOutcome::miss) {
      const Deadline deadline = context.deadline;
      auto loader = [this, name = std::string(name), deadline] { return load(name, deadline); };
      auto loading = targets_->get_or_load(std::string(name), std::move(loader), deadline);
      auto handle = co_await loading;
      if (!handle) co_return http::response_for(handle.error(), context);
      known = static_cast<bool>(*handle);
      if (known) found.copy(**handle, context.arena);
    }
  }
  int64_t now = unix_millis(context.loop.wall());
  const auto ended = [&](const DeadEnd& why) {
    const std::string_view url = domain ? std::string_view(domain->gone_url) : std::string_view();
    return fall_back(context, request, url, why);
  };
  // What there is instead of a link that leads somewhere now.
  const auto closed = [&]() -> std::optional<Response> {
    // A link that is not valid yet is as unknown as one that is not there.
    if (!known || (found.not_before > now && found.ending == Target::Ending::none)) {
      const auto wait = guesses_->unknown(context.client_address, context.loop.now());
      if (wait) return too_many_guesses(context, *wait);
      return fall_back(context, request, domain ? std::string_view(domain->unknown_url) : std::string_view(), kUnknown);
    }
    if (found.ending == Target::Ending::deleted) return ended(kDeleted);
    if (found.ending == Target::Ending::blocked) return ended(kBlocked);
    if (found.expires_at <= now) return ended(kExpired);
    if (found.ending == Target::Ending::used_up) return ended(kUsedUp);
    return std::nullopt;
  };
  if (std::optional<Response> answer = closed()) co_return *std::move(answer);
  const bool head = request.method == Method::head;
  if (found.locked) {
    auto unlocking = unlock(request, context, std::string(name), found);
    Result<std::optional<Response>> refused = co_await unlocking;
    if (!refused) co_return http::response_for(refused.error(), context);
    if (*refused) co_return **std::move(refused);
    now = unix_millis(context.loop.wall());
    if (std::optional<Response> answer = closed()) co_return *std::move(answer);
    // What was sent is for this page and not for where the link leads.
    if (request.method == Method::post) found.status = 303;
  } else if (!head && request.method != Method::get && !keeps_method(found.status)) {
    context.outcome = "method_not_allowed";
    Response response = http::problem(context.arena, 405, "method_not_allowed",
                                      "This link redirects GET and HEAD only.", false, context.request_id);
    response.fields.add(FieldId::allow, "GET, HEAD");
    co_return response;
  }
  if (found.limited && !head) {
    // Granted when it is on disk: the maximum holds for all cores and over a crash.
    auto visiting =
        store_.write([id = found.id](store::SqliteConnection& db) { return count_visit(db, id); }, context.deadline);
    const Result<bool> granted = co_await visiting;
    if (!granted) co_return http::response_for(granted.error(), context);
    if (!*granted) {
      targets_->invalidate(name);  // read again, it says so without a write
      co_return ended(kUsedUp);
    }
  }
  TakenRule rule;
  if (found.rules) rule = apply_rules(found, request, context, now);
  if (context.explain) [[unlikely]] {
    std::string text = std::string(name) + ": target from the cache: " + std::string(context.cache_status);
    if (rule.number > 0) text += ", rule " + std::to_string(rule.number) + " holds";
    if (rule.target > 0) text += ", target " + std::to_string(rule.target) + " of its split";
    if (found.rules && rule.number == 0) text += ", none of its rules holds";
    context.explain->add("link", text);
  }
  Response response(context.arena, found.status);
  std::string_view query = request.query;
  const bool scan = take_qr_mark(query);
  if (!head) {
    clicks_->record(context.loop.index(), {.link = found.id,
                                           .at = now,
                                           .rule = rule,
                                           .scan = scan,
                                           .code = name,
                                           .address = context.client_address,
                                           .agent = request.fields.value(FieldId::user_agent),
                                           .referrer = request.fields.value(FieldId::referer),
                                           .language = request.fields.value(FieldId::accept_language),
                                           .query = query,
                                           .domain = domain ? static_cast<uint32_t>(domain->id + 1) : 0});
  }
  if (found.forward_query && !query.empty()) {
    found.location = with_query(found.location, query, context.arena);
  }
  response.fields.add(FieldId::location, found.location);
  // A visit that a browser answers itself would not be counted against the maximum.
  response.fields.add(FieldId::cache_control, found.limited || found.locked ? "private, no-store"
                                              : is_permanent(found.status)  ? "private, max-age=90"
                                                                            : "private, max-age=0");
  co_return response;
}

// What cannot be a code is as unknown as one that nobody has; a mistyped path of the API is said to be one.
Task<Result<Response>> LinksService::Elsewhere::handle(Request& request, RequestContext& context) {
  if (!request.path.starts_with("/v1/")) return links_.redirect(request, context, request.path.substr(1));
  context.outcome = "not_found";
  return ready(http::problem(context.arena, 404, "not_found", "There is nothing here.", false, context.request_id));
}

Task<Result<Response>> LinksService::root(Request& request, RequestContext& context) {
  const DomainTablePointer domains = book_->domains().table_for_redirect();
  const Domain* const domain = domains ? &domains->of_authority(request.authority) : nullptr;
  co_return fall_back(context, request, domain ? std::string_view(domain->root_url) : std::string_view(), kNothing);
}

}  // namespace trellis::services::links
