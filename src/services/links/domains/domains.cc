#include "services/links/domains/domains.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "services/links/domains/domain_rows.h"
#include "services/links/resource.h"
#include "store/sqlite.h"

namespace trellis::services::links {

namespace {

// Without the dot that may end a name and the port that goes without saying.
std::string_view plain_host(std::string_view authority) noexcept {
  for (const std::string_view port : {":80", ":443"}) {
    if (authority.ends_with(port)) {
      authority.remove_suffix(port.size());
      break;
    }
  }
  if (authority.ends_with('.')) authority.remove_suffix(1);
  return authority;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return out;
}

UrlHost host_of(std::string_view base_url) {
  Result<UrlHost> host = check_url(base_url);
  return host ? *std::move(host) : UrlHost{};
}

}  // namespace

std::string domain_host(const UrlHost& host) {
  return host.default_port ? host.host : host.host + ":" + std::to_string(host.port);
}

void DomainPatch::apply_to(Domain& domain) const {
  if (base_url) domain.base_url = *base_url;
  if (status) domain.status = *status;
  if (unknown_url) domain.unknown_url = *unknown_url;
  if (gone_url) domain.gone_url = *gone_url;
  if (root_url) domain.root_url = *root_url;
}

// --- The table ---

DomainTable::DomainTable(std::string_view base_url) : DomainTable(base_url, {Domain()}, -1) {}

DomainTable::DomainTable(std::string_view base_url, std::vector<Domain> all, int64_t revision)
    : all_(std::move(all)), revision_(revision) {
  TRELLIS_ASSERT(!all_.empty() && all_.front().is_default());
  all_.front().base_url = base_url;
  all_.front().host = domain_host(host_of(base_url));
  std::vector<UrlHost> own;
  own.reserve(all_.size());
  for (size_t i = 0; i < all_.size(); ++i) {
    by_host_.emplace(all_[i].host, i);  // the first one stays: the default one
    own.push_back(host_of(all_[i].base_url));
  }
  own_ = OwnHosts(std::move(own));
}

const Domain* DomainTable::find(std::string_view host) const {
  auto at = by_host_.find(host);
  if (at == by_host_.end()) at = by_host_.find(plain_host(lower(host)));
  return at == by_host_.end() ? nullptr : &all_[at->second];
}

const Domain* DomainTable::find(int64_t id) const noexcept {
  const auto at = std::lower_bound(all_.begin(), all_.end(), id,
                                   [](const Domain& each, int64_t wanted) { return each.id < wanted; });
  return at == all_.end() || at->id != id ? nullptr : &*at;
}

const Domain& DomainTable::of_authority(std::string_view authority) const noexcept {
  auto at = by_host_.find(authority);
  if (at == by_host_.end()) at = by_host_.find(plain_host(authority));
  return at == by_host_.end() ? all_.front() : all_[at->second];
}

const Domain& DomainTable::of_link(std::string_view name) const noexcept {
  const std::string_view host = split_name(name).host;
  if (host.empty()) return all_.front();
  const auto at = by_host_.find(host);
  return at == by_host_.end() ? all_.front() : all_[at->second];
}

std::string DomainTable::short_url(std::string_view name) const {
  std::string url = of_link(name).base_url;
  return url.append("/").append(split_name(name).code);
}

std::string DomainTable::name_of_url(std::string_view short_url) const {
  const Result<UrlHost> host = check_url(short_url);
  if (!host) return {};
  const Domain* domain = find(domain_host(*host));
  const std::string_view code = short_url.substr(short_url.rfind('/') + 1);
  return domain && is_code_text(code) ? domain->name_of(code) : std::string();
}

// --- Life ---

Domains::Domains(std::string base_url, store::SqliteStore& store) : store_(store), held_(std::make_shared<Held>()) {
  held_->table = std::make_shared<const DomainTable>(base_url);
  held_->base_url = std::move(base_url);
}

Task<Result<void>> Domains::start() {
  auto reading = store_.read([](store::SqliteConnection& db) { return all_domains(db); });
  Result<DomainRows> rows = co_await reading;
  if (!rows) co_return fail(std::move(rows).error());
  const auto fresh = std::make_shared<const DomainTable>(held_->base_url, std::move(rows->all), rows->revision);
  for (const Domain& domain : fresh->all()) {
    if (!domain.is_default() && domain.host == fresh->default_domain().host)
      log_warn("base_url is on a domain that has links of its own; they cannot be followed", {{"host", domain.host}});
  }
  held_->put(fresh);
  co_return Result<void>();
}

// Of two changes under way at once the later one stays, whichever is told first.
void Domains::Held::put(DomainTablePointer fresh) {
  const std::lock_guard guard(lock);
  if (table && table->revision() > fresh->revision()) return;
  plain = fresh->is_plain();
  table.swap(fresh);
}

DomainTablePointer Domains::table() const {
  const std::lock_guard guard(held_->lock);
  return held_->table;
}

// --- Changes ---

struct Domains::Written {
  Change::Kind kind = Change::Kind::done;
  int64_t id = 0;
  DomainTablePointer table;  // null: nothing was changed
};

// `operation` gives a Written without a table.
template <class Operation>
Task<Result<Domains::Change>> Domains::write(Operation operation, Deadline deadline) {
  auto put = [operation = std::move(operation), held = held_](store::SqliteConnection& db) -> Result<Written> {
    TRY(Written written, operation(db));
    if (written.kind != Change::Kind::done) return written;
    TRY(DomainRows rows, all_domains(db));
    written.table = std::make_shared<const DomainTable>(held->base_url, std::move(rows.all), rows.revision);
    return written;
  };
  auto remember = [held = held_](const Result<Written>& written) {
    if (written && written->table) held->put(written->table);
  };
  auto writing = store_.write(std::move(put), deadline, 1024, std::move(remember));
  const Result<Written> written = co_await writing;
  if (!written) co_return fail(written.error().clone());
  Change change;
  change.kind = written->kind;
  if (written->table) {
    if (const Domain* domain = written->table->find(written->id)) change.domain = *domain;
  }
  co_return change;
}

Task<Result<Domains::Change>> Domains::add(Domain domain, Deadline deadline) {
  auto insert = [domain = std::move(domain)](store::SqliteConnection& db) -> Result<Written> {
    TRY(const std::optional<int64_t> id, insert_domain(db, domain));
    if (!id) return Written{Change::Kind::exists, 0, nullptr};
    if (*id == 0) return Written{Change::Kind::too_many, 0, nullptr};
    return Written{Change::Kind::done, *id, nullptr};
  };
  return write(std::move(insert), deadline);
}

Task<Result<Domains::Change>> Domains::change(int64_t id, DomainPatch patch, http::EtagConditions conditions,
                                              Deadline deadline) {
  auto update = [id, patch = std::move(patch),
                 conditions = std::move(conditions)](store::SqliteConnection& db) -> Result<Written> {
    TRY(std::optional<Domain> domain, find_domain(db, id));
    if (!domain) return Written{Change::Kind::not_found, id, nullptr};
    if (!conditions.hold(etag_of(id, domain->version))) return Written{Change::Kind::precondition, id, nullptr};
    patch.apply_to(*domain);
    ++domain->version;
    TRY_VOID(update_domain(db, *domain));
    return Written{Change::Kind::done, id, nullptr};
  };
  return write(std::move(update), deadline);
}

Task<Result<Domains::Change>> Domains::remove(int64_t id, http::EtagConditions conditions, Deadline deadline) {
  auto forget = [id, conditions = std::move(conditions)](store::SqliteConnection& db) -> Result<Written> {
    TRY(const std::optional<Domain> domain, find_domain(db, id));
    if (!domain || domain->is_default()) return Written{Change::Kind::not_found, id, nullptr};
    if (!conditions.hold(etag_of(id, domain->version))) return Written{Change::Kind::precondition, id, nullptr};
    TRY(const bool gone, delete_domain(db, *domain));
    return Written{gone ? Change::Kind::done : Change::Kind::has_links, id, nullptr};
  };
  return write(std::move(forget), deadline);
}

}  // namespace trellis::services::links
