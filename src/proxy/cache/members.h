// The other nodes of a cluster of edges, as one cache and one core deal with them. They are the hosts of an upstream
// (their edge listeners), so they come from the configuration, DNS or a file, and their health is known.
//
// Purges: whoever takes one tells all others and reports who has it; once a second each node asks every other for what
// it lacks, so that one that was away is up to date a second after it can be reached again.
//
// Objects: each has an owner among the members, by consistent hash. A node asks the owner before the origin, so that
// the origin is asked once and not by every node. Who is asked that way asks nobody but the origin: no way leads round.
// A node that knows purges which the owner does not know yet gets nothing from it: the owner's copy may be older than
// the purge, and the node would keep it as new.
//
// A member that does not answer the question for purges within a second is asked for no objects until it does: its
// objects have the next owner meanwhile.
//
// One a cache and core; the book, the counters and who is silent are shared. docs/edge-cache-purge.md,
// docs/edge-cache-cluster.md.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/edge/purge_book.h"
#include "http/handler.h"
#include "proxy/cache/silence.h"
#include "runtime/sync.h"
#include "upstream/hosts.h"

namespace trellis {
inline namespace base {
class Counter;
class Metrics;
}  // namespace base
}  // namespace trellis

namespace trellis::upstream {
class Cluster;
}

namespace trellis::proxy {

struct MembersOptions {
  std::string cache;  // its name, the same on all nodes
  std::string key;    // shared by all nodes
  std::string node;   // this node's name, of which each has another
  // Makes what is stored under a key of the cache invalid, here; any core.
  std::function<void(std::string_view key)> forget = {};
  // Of all cores. null: each by itself, for tests.
  std::shared_ptr<Silence> silence = nullptr;
};

// What became of telling one member.
struct MemberAck {
  std::string member;
  std::string error;  // "": it has the rules
};

class Members {
 public:
  Members(std::shared_ptr<const MembersOptions> options, std::shared_ptr<upstream::Cluster> cluster,
          std::shared_ptr<cache::PurgeBook> book, Metrics& metrics);
  ~Members();
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  // The addresses under which this node is a member itself, HOST:PORT. Before anything else.
  void set_self(std::vector<std::string> addresses) { self_ = std::move(addresses); }

  // The number by which a book knows a node: PurgeBookOptions::node.
  static uint64_t number_of(std::string_view node) noexcept;

  // Tells all other members of rules that were added here; a second at most. In no order.
  Task<std::vector<MemberAck>> tell(cache::PurgeBatch batch);

  // Asks the others for rules once a second. On one core; for as long as this lives.
  void follow();
  void end_following() noexcept { following_.cancel_all(); }

  // A message of another member: its path begins with kPath.
  static constexpr std::string_view kPath = "/.trellis/cache/";
  // The cache's name in such a path.
  static std::string_view cache_of_path(std::string_view path) noexcept;
  // 404 for who has no mark, as if nothing was there.
  Task<Result<http::Response>> answer(http::Request& request, http::RequestContext& context);

  // --- objects ---

  // What a request for an object is. The field is taken off in any case.
  struct Sender {
    enum class Kind : uint8_t {
      client,  // or whoever has no key
      member,
      ahead,  // a member that knows purges which are not here yet: it is to be answered by refuse_ahead()
    } kind = Kind::client;
    std::string_view scheme = {};  // of a member: the one that its client used; static text
  };
  Sender sender_of(http::Request& request, const http::RequestContext& context);
  http::Response refuse_ahead(http::RequestContext& context);
  // Marks the answer to a member: the fields that are for caches stay in it. `stale`: it was given though its time is
  // over, or a soft purge met it here.
  static void mark_answer(http::Response& response, bool stale);

  // What an owner answered.
  struct Owned {
    http::Response response;
    bool stale = false;  // see mark_answer()
  };

  // The answer of the object's owner. None: this node is the owner, there is none to ask, or the one there is did not
  // answer (well), or fell silent meanwhile: the origin is to be asked. The request stays as it is. Not for requests of
  // members.
  Task<std::optional<Owned>> fetch(uint64_t key, const http::Request& request, http::RequestContext& context);
  // What is stored under these keys is no longer so: their owners forget it, for whoever changed it asks them next. The
  // others keep theirs to their end. A second at most.
  Task<> forget(std::vector<std::string> keys);
  // Is another node the owner?
  bool owns_another(uint64_t key);

 private:
  bool is_self(const upstream::Host& host) const;
  std::vector<std::shared_ptr<upstream::Host>> others();
  std::shared_ptr<upstream::Host> owner_of(uint64_t key);  // null: this node, or there is none
  struct Asked;
  static Task<> ask_owner(Members& self, std::shared_ptr<upstream::Host> owner, http::Request& request,
                          http::RequestContext& context, Asked& asked);
  Task<Result<std::string>> send(std::shared_ptr<upstream::Host> host, std::string_view what, std::string body,
                                 Deadline deadline);
  static Task<> tell_one(Members& self, std::shared_ptr<upstream::Host> host, std::string body, Deadline deadline,
                         MemberAck& ack);
  static Task<> tell_forgotten(Members& self, std::shared_ptr<upstream::Host> host, std::string body,
                               Deadline deadline);
  static Task<> follow_members(Members& self);
  static Task<> ask_one(Members& self, std::shared_ptr<upstream::Host> host, bool& answered);
  static Task<> ask_soon(Members& self);
  Task<Result<bool>> ask_for_missing(std::shared_ptr<upstream::Host> host);
  Task<Result<http::Response>> take_rules(std::string body, http::RequestContext& context);
  Task<Result<http::Response>> take_forgotten(const std::string& body, http::RequestContext& context);
  Task<Result<http::Response>> give_missing(std::string body, http::RequestContext& context);
  void begin_asking();

  const std::shared_ptr<const MembersOptions> options_;
  const uint64_t number_;
  const std::shared_ptr<upstream::Cluster> cluster_;
  const std::shared_ptr<cache::PurgeBook> book_;
  const std::shared_ptr<Silence> silence_;
  Counter& told_;
  Counter& not_told_;
  Counter& fetched_;
  Counter& not_fetched_;
  Counter& behind_;
  bool asking_ = false;
  std::vector<std::string> self_;
  TaskGroup following_;
  TaskGroup background_;
};

}  // namespace trellis::proxy
