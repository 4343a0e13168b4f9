// Domains as JSON, in and out, and what a request says of the domain it is about. Reading is strict, as in link_json.h.
// Pure; any core. Input is foreign: fuzz/services_links_domain_fuzz.cc.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "base/arena.h"
#include "services/links/domains/domains.h"
#include "services/links/link_json.h"

namespace trellis::services::links {

// A whole new domain. Fallbacks that lead to a domain of ours, which could run in a circle, are refused.
std::expected<Domain, Fault> read_new_domain(std::string_view body, const DomainTable& domains);
// Of this one, whose host stays. The default one has its base_url and status from the configuration.
std::expected<DomainPatch, Fault> read_domain_patch(std::string_view body, const Domain& domain,
                                                    const DomainTable& domains);
// {"id":1,"host":...}
void append_domain(std::string& out, const Domain& domain);

// The domain with this host, as somebody wrote it.
std::expected<const Domain*, Fault> named_domain(std::string_view host, const DomainTable& domains);
// That of a query which has nothing but ?domain=; null when it has nothing.
std::expected<const Domain*, Fault> domain_of_query(std::string_view query, const DomainTable& domains, Arena& arena);
// The name of the link with this code, on the domain of such a query, or on the default one.
std::expected<std::string, Fault> name_of_request(std::string_view code, std::string_view query,
                                                  const DomainTable& domains, Arena& arena);
// Puts the host of the link's domain in the place of what was written. `only`: it may be no other, and without a word
// of one it is this; null: any of ours.
std::optional<Fault> settle_domain(NewLink& link, const DomainTable& domains, const Domain* only);
// "/v1/links/page?domain=go.example.com"
std::string path_of_link(std::string_view name);

}  // namespace trellis::services::links
