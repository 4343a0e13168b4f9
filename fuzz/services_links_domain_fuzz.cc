// Bodies about domains, hosts and queries: what is accepted is a domain that is found again by its host, and leads
// nowhere where the service itself answers.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/arena.h"
#include "base/error.h"
#include "services/links/domains/domain_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis;
  using namespace trellis::services::links;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const DomainTable kDomains("https://go.example.com");
  Arena arena;
  (void)read_domain_patch(text, kDomains.default_domain(), kDomains);
  (void)named_domain(text, kDomains);
  if (const auto name = name_of_request("page", text, kDomains, arena)) TRELLIS_ASSERT(*name == "page");
  const std::string name = kDomains.name_of_url(text);
  TRELLIS_ASSERT(name.empty() || is_code_text(name));
  auto domain = read_new_domain(text, kDomains);
  if (!domain) return 0;
  domain->id = 1;
  const DomainTable both("https://go.example.com", {Domain(), *domain}, 1);
  const Domain* found = both.find(domain->host);
  TRELLIS_ASSERT(found && both.of_authority(domain->host).id == found->id);
  for (const std::string& url : {domain->unknown_url, domain->gone_url, domain->root_url}) {
    if (url.empty()) continue;
    const Result<UrlHost> host = check_url(url);
    TRELLIS_ASSERT(host && !both.own().has(*host));
  }
  std::string out;
  append_domain(out, *domain);
  TRELLIS_ASSERT(nlohmann::json::parse(out)["host"] == domain->host);
  if (found->id == 0) return 0;
  TRELLIS_ASSERT(both.name_of_url(both.short_url(found->name_of("page"))) == found->name_of("page"));
  return 0;
}
