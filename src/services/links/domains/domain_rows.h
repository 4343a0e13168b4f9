// The table of domains and what is done with its rows: plain functions over a connection, inside an operation of the
// store, as in rows.h. Every change raises the revision, by which the node tells an older state from a newer one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "services/links/domains/domains.h"
#include "store/migrations.h"

namespace trellis::services::links {

std::span<const store::Migration> domain_migrations() noexcept;

struct DomainRows {
  std::vector<Domain> all;  // by id; the default one (id 0) first, without a host and a base_url
  int64_t revision = 0;
};
Result<DomainRows> all_domains(store::SqliteConnection& db);

// The id; 0: there are kMaxDomains already. Nothing: the host is there.
Result<std::optional<int64_t>> insert_domain(store::SqliteConnection& db, const Domain& domain);
Result<std::optional<Domain>> find_domain(store::SqliteConnection& db, int64_t id);
// All but its host, which stays.
Result<void> update_domain(store::SqliteConnection& db, const Domain& domain);
// False: there are links on it.
Result<bool> delete_domain(store::SqliteConnection& db, const Domain& domain);

Result<bool> has_domain(store::SqliteConnection& db, std::string_view host);

}  // namespace trellis::services::links
