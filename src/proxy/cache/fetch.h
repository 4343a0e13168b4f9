// One request of the cache's own to the rest of the chain: for an object that is missing, to validate one that is
// stale, for the bytes that are missing of a part. It runs beside the requests that wait for it, so a client that is
// slow or goes away changes nothing for the others. What comes is judged by the rules: an answer that may be stored
// becomes an object that grows as its body comes; any other is for the request that the fetch was made for, and only
// for it. One core.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "cache/edge/edge_cache.h"
#include "cache/rules/directives.h"
#include "cache/rules/partial.h"
#include "http/detached.h"
#include "http/explain.h"
#include "proxy/cache/cache_route.h"
#include "proxy/filter.h"
#include "runtime/sync.h"

namespace trellis::proxy {

class Fetch final : public http::Detached, public http::InterimSink {
  const std::shared_ptr<void> keeps_;  // the route and all it stands on; outlives what follows

 public:
  enum class End : uint8_t {
    running,
    object,  // answer from it
    passed,  // `answer` is for the one who asked
    failed,
  };

  // `key`: of the URI. Precondition: the request is a GET.
  Fetch(CacheRoute& its_route, const http::Request& from, const http::RequestContext& its, Next rest, std::string key);

  // What it is for; set before start().
  std::optional<cache::FillLeader> leader;  // null: nobody else waits
  cache::ObjectRef stored;                  // stale, or a part: what the answer may confirm, complete, or stand in for
  std::string undivided_key;                // where an answer stands that is no slice, as the one asked for is; or ""
  bool validates = false;                   // the request is made conditional by `stored`
  bool completes = false;                   // the request is for what `stored` lacks
  bool fills_gap = false;                   // likewise, though the one who asked wants all of it
  cache::RequestDirectives wanted;
  bool awaited = false;                // a request waits for it
  http::InterimSink* sink = nullptr;   // of who waits; null again before that one goes
  http::Explain* explained = nullptr;  // likewise
  // At the first byte of a body that may pass, until who waits reads it itself; likewise.
  std::shared_ptr<cache::ObjectBody::Reader> place;

  // Runs in the background of the core.
  static void start(std::shared_ptr<Fetch> fetch);

  Event done;  // everything below stands
  End end = End::running;
  cache::ObjectRef object;
  std::optional<http::Response> answer;
  std::optional<Error> error;
  bool stored_now = false;                  // object: came with this fetch, and is kept
  bool validated = false;                   // object: the stored one, confirmed
  bool stale = false;                       // object: the stored one, because the origin failed
  bool stale_at_owner = false;              // the object's owner gave what is stale there
  int status = 0;                           // the origin's
  std::string_view reason;                  // why it is not stored, or "stored"; static
  http::Fields extra{arena};                // see add_extra()
  std::optional<cache::ContentRange> part;  // what a 206 held

  void send_interim(http::Response& response) noexcept override;
  // What its way through the chain says for the log.
  void tell_way(http::RequestContext& to) const;
  // The origin's status, where it has answered.
  std::optional<int> forwarded_status() const noexcept {
    return status != 0 ? std::optional<int>(status) : std::nullopt;
  }
  // Gives the one who asked what is not stored of the answer.
  void add_extra(http::Response& response) const;

 private:
  static Task<> run(std::shared_ptr<Fetch> fetch);
  Task<> ask();
  Task<Result<http::Response>> ask_next();
  void ask_for_all();
  // Each gives the body to be read on, where there is one.
  std::unique_ptr<http::BodyReader> judge(http::Response response);
  bool is_what_was_asked_for(const cache::ContentRange& got) const;
  bool joins(const cache::ObjectRef& have, const http::Fields& fields) const;
  cache::ObjectRef with_other_parts() const;
  cache::ObjectRef place_variant(std::string& key, const http::Fields& fields);
  bool confirm(const http::Response& response);
  void take_over_staleness();
  void shorten(cache::Freshness& freshness) const noexcept;
  void take_numbers();
  void release(std::string_view why);
  bool serve_stale();
  std::unique_ptr<http::BodyReader> keep(http::Response& response, const cache::StoreVerdict& verdict,
                                         const cache::ResponseDirectives& directives);
  void pass(http::Response response, std::string_view why);
  void fail_with(Error why);
  void finish(End how);
  Task<> pump(std::unique_ptr<http::BodyReader> body);

  CacheRoute& route_;
  Next next_;
  std::string key_;
  bool again_ = false;  // what came is of no use to the one who asked: the whole is asked for
  Time asked_{};
  WallTime asked_wall_{};
  uint64_t filled_ = 0;
  cache::Stamp stamp_ = 0;
  http::Explain own_explain_;
};

// Who waits for a fetch, if it is a request whose answer has not begun.
struct Waiting {
  http::InterimSink* interim = nullptr;
  http::Explain* explain = nullptr;
};
// The waiting request's own sinks are the fetch's only as long as it waits, and the fetch keeps its place in the body.
class Lent {
 public:
  Lent(Fetch& fetch, Waiting waiting) noexcept : fetch_(fetch) {
    fetch_.awaited = true;
    fetch_.sink = waiting.interim;
    fetch_.explained = waiting.explain;
  }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;
  ~Lent() {
    fetch_.awaited = false;
    fetch_.sink = nullptr;
    fetch_.explained = nullptr;
    fetch_.place.reset();
  }

 private:
  Fetch& fetch_;
};

// What an answer from its object is. Precondition: it has ended.
Cached what_came_of(const Fetch& fetch) noexcept;

// The body of a fetch that passed, which it keeps; null where it is none to be read.
std::unique_ptr<http::BodyReader> passed_body(const std::shared_ptr<Fetch>& fetch);

// The answer of a fetch that passed, for the request it was made for: 304 where the client has it already.
http::Response passed_answer(const std::shared_ptr<Fetch>& fetch, const http::Request& request,
                             http::RequestContext& context, CacheRoute& route, cache::Forwarded why);

}  // namespace trellis::proxy
