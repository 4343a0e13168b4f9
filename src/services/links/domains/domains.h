// The domains that short links stand on (docs/links-domains.md): the default one, which is base_url of the
// configuration, and up to kMaxDomains more, each with a default status and fallbacks of its own. All of them are held
// in memory as an immutable table behind one pointer; a change makes a new one. While there is the default one only and
// it has no fallbacks, a redirect pays one relaxed load. Owned by the link book; changes wait for the store, the rest
// does not; any core.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/time.h"
#include "cache/shard_lock.h"
#include "http/preconditions.h"
#include "runtime/task.h"
#include "services/links/link_name.h"
#include "services/links/url.h"

namespace trellis::store {
class SqliteStore;
}

namespace trellis::services::links {

inline constexpr size_t kMaxDomains = 1000;  // beside the default one

struct Domain {
  int64_t id = 0;             // 0: the default one
  std::string host;           // lower case, with the port when it is not the default one of the scheme
  std::string base_url;       // scheme and host, without a slash at its end
  std::optional<int> status;  // of links that do not say; none: the configuration's
  std::string unknown_url;    // fallbacks: where unknown codes lead; "": they answer 404
  std::string gone_url;       // deleted, expired and used up links; "": they answer 410
  std::string root_url;       // "/"; "": it answers 404
  int64_t version = 1;        // rises with every change

  bool is_default() const noexcept { return id == 0; }
  bool has_fallbacks() const noexcept { return !unknown_url.empty() || !gone_url.empty() || !root_url.empty(); }
  // As the names of its links have it (link_name.h).
  std::string_view name_host() const noexcept { return is_default() ? std::string_view() : host; }
  std::string name_of(std::string_view code) const { return link_name(name_host(), code); }
};

// What is absent stays as it is; "" is no fallback.
struct DomainPatch {
  std::optional<std::string> base_url;
  std::optional<std::optional<int>> status;
  std::optional<std::string> unknown_url;
  std::optional<std::string> gone_url;
  std::optional<std::string> root_url;

  void apply_to(Domain& domain) const;
};

class DomainTable {
 public:
  // The default one alone; `base_url` was checked and has no slash at its end.
  explicit DomainTable(std::string_view base_url);
  // `all`: rows by id, the default one first; its host and base_url are set here.
  DomainTable(std::string_view base_url, std::vector<Domain> all, int64_t revision);

  std::span<const Domain> all() const noexcept { return all_; }  // by id
  const Domain& default_domain() const noexcept { return all_.front(); }
  // Null: there is none. By host: in any case of letters, with or without the port that is the scheme's own.
  const Domain* find(std::string_view host) const;
  const Domain* find(int64_t id) const noexcept;
  // Whose links a request for this authority means: the default one's when there is no such domain. Does not allocate.
  const Domain& of_authority(std::string_view authority) const noexcept;
  const Domain& of_link(std::string_view name) const noexcept;
  std::string short_url(std::string_view name) const;
  // The name of the link that this is the short URL of; "" when it is none.
  std::string name_of_url(std::string_view short_url) const;
  const OwnHosts& own() const noexcept { return own_; }
  // Nothing that a redirect has to know.
  bool is_plain() const noexcept { return all_.size() == 1 && !all_.front().has_fallbacks(); }
  int64_t revision() const noexcept { return revision_; }

 private:
  std::vector<Domain> all_;
  std::unordered_map<std::string, size_t, StringHash, std::equal_to<>> by_host_;
  OwnHosts own_;
  int64_t revision_ = 0;
};
using DomainTablePointer = std::shared_ptr<const DomainTable>;

// "go.example.com" of "https://Go.Example.com:443"; with a port that is not the scheme's own: "go.example.com:8443".
std::string domain_host(const UrlHost& host);

class Domains {
 public:
  // Borrows the store, which outlives it.
  Domains(std::string base_url, store::SqliteStore& store);

  // After the migrations.
  Task<Result<void>> start();

  DomainTablePointer table() const;
  // Null while there is nothing that a redirect has to know.
  DomainTablePointer table_for_redirect() const {
    return held_->plain.load(std::memory_order_relaxed) ? nullptr : table();
  }

  struct Change {
    enum class Kind : uint8_t { done, exists, too_many, not_found, has_links, precondition } kind = Kind::done;
    std::optional<Domain> domain;  // as it is now; none when it was removed
  };
  Task<Result<Change>> add(Domain domain, Deadline deadline);
  // `conditions` are about the ETag of the domain as it is then.
  Task<Result<Change>> change(int64_t id, DomainPatch patch, http::EtagConditions conditions, Deadline deadline);
  Task<Result<Change>> remove(int64_t id, http::EtagConditions conditions, Deadline deadline);

 private:
  struct Held {
    std::string base_url;
    // WHY a lock: what was changed holds on every core from the answer on. It is held while a pointer is copied.
    mutable cache::ShardLock lock;
    DomainTablePointer table;
    std::atomic<bool> plain{true};

    void put(DomainTablePointer fresh);
  };
  struct Written;
  template <class Operation>
  Task<Result<Change>> write(Operation operation, Deadline deadline);

  store::SqliteStore& store_;
  std::shared_ptr<Held> held_;  // shared with writes under way
};

}  // namespace trellis::services::links
