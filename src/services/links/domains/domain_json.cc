#include "services/links/domains/domain_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"
#include "http/h1_parser.h"
#include "http/target.h"
#include "services/links/json_object.h"

namespace trellis::services::links {

namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 5> kMembers = {"base_url", "status", "unknown_url", "gone_url", "root_url"};

std::unexpected<Fault> fault(std::string field, std::string detail) {
  return std::unexpected(Fault{std::move(field), std::move(detail)});
}

// As a Host field has it: browsers send names of other scripts in their ASCII form.
bool is_plain_host(std::string_view host) noexcept {
  return std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           std::string_view(".-_:[]").find(c) != std::string_view::npos;
  });
}

struct BaseUrl {
  UrlHost host;
  std::string text;
};

std::expected<BaseUrl, Fault> read_base_url(const Json& value) {
  if (!value.is_string()) return fault("base_url", "The base URL must be a string.");
  const auto& url = value.get_ref<const std::string&>();
  Result<UrlHost> host = check_url(url);
  if (!host) return fault("base_url", host.error().what());
  if (!is_plain_host(host->host))
    return fault("base_url", "The host must be written in ASCII, as in xn--bcher-kva.example.");
  const size_t begin = url.find("//") + 2;
  const size_t behind = std::min(url.find_first_of("/?#", begin), url.size());
  if (!http::valid_authority(std::string_view(url).substr(begin, behind - begin)))
    return fault("base_url", "No request can have this host.");
  if (behind != url.size() && url.substr(behind) != "/")
    return fault("base_url", "The base URL is scheme and host alone: codes stand right behind the host.");
  const bool https = (url[4] | 0x20) == 's';
  std::string text = (https ? "https://" : "http://") + domain_host(*host);
  return BaseUrl{*std::move(host), std::move(text)};
}

// `base`: of the domain itself, when it is not among ours yet.
std::expected<std::string, Fault> read_fallback(const char* member, const Json& value, const DomainTable& domains,
                                                const UrlHost* base) {
  if (value.is_null()) return std::string();
  if (!value.is_string()) return fault(member, "The URL must be a string, or null for none.");
  const auto& url = value.get_ref<const std::string&>();
  const Result<UrlHost> host = check_url(url);
  if (!host) return fault(member, host.error().what());
  if (domains.own().has(*host) || (base && same_host(*host, *base)))
    return fault(member, "The URL leads to a domain of this service; such a redirect could run in a circle.");
  return url;
}

std::expected<DomainPatch, Fault> read_members(const Json& json, const DomainTable& domains) {
  DomainPatch out;
  std::optional<UrlHost> base;
  if (const auto at = json.find("base_url"); at != json.end()) {
    auto read = read_base_url(*at);
    if (!read) return std::unexpected(std::move(read).error());
    out.base_url = std::move(read->text);
    base = std::move(read->host);
  }
  if (const auto at = json.find("status"); at != json.end()) {
    if (!at->is_null() && (!at->is_number_integer() || !is_redirect_status(at->get<int64_t>())))
      return fault("status", "The status must be 301, 302, 307 or 308, or null for that of the configuration.");
    out.status.emplace();
    if (!at->is_null()) *out.status = static_cast<int>(at->get<int64_t>());
  }
  const std::array<std::pair<const char*, std::optional<std::string>*>, 3> fallbacks = {
      {{"unknown_url", &out.unknown_url}, {"gone_url", &out.gone_url}, {"root_url", &out.root_url}}};
  for (const auto& [member, to] : fallbacks) {
    const auto at = json.find(member);
    if (at == json.end()) continue;
    auto url = read_fallback(member, *at, domains, base ? &*base : nullptr);
    if (!url) return std::unexpected(std::move(url).error());
    *to = *std::move(url);
  }
  return out;
}

}  // namespace

std::expected<Domain, Fault> read_new_domain(std::string_view body, const DomainTable& domains) {
  auto json = read_object(body, kMembers);
  if (!json) return std::unexpected(std::move(json).error());
  if (!json->contains("base_url")) return fault("base_url", "The base URL is missing, such as https://go.example.com.");
  auto patch = read_members(*json, domains);
  if (!patch) return std::unexpected(std::move(patch).error());
  Domain domain;
  patch->apply_to(domain);
  domain.host = domain.base_url.substr(domain.base_url.find("//") + 2);
  return domain;
}

std::expected<DomainPatch, Fault> read_domain_patch(std::string_view body, const Domain& domain,
                                                    const DomainTable& domains) {
  auto json = read_object(body, kMembers);
  if (!json) return std::unexpected(std::move(json).error());
  auto patch = read_members(*json, domains);
  if (!patch) return patch;
  if (domain.is_default() && (patch->base_url || patch->status))
    return fault(patch->base_url ? "base_url" : "status", "Of the default domain this is set in the configuration.");
  if (patch->base_url && patch->base_url->substr(patch->base_url->find("//") + 2) != domain.host)
    return fault("base_url", "The host of a domain stays; only http and https may change.");
  return patch;
}

void append_domain(std::string& out, const Domain& domain) {
  JsonWriter json(out);
  json.begin_object().member("id", domain.id).member("host", domain.host).member("base_url", domain.base_url);
  json.member("default", domain.is_default()).key("status");
  if (domain.status) {
    json.value(*domain.status);
  } else {
    json.null();
  }
  const auto url = [&json](const char* name, const std::string& text) {
    json.key(name);
    if (text.empty()) {
      json.null();
    } else {
      json.value(text);
    }
  };
  url("unknown_url", domain.unknown_url);
  url("gone_url", domain.gone_url);
  url("root_url", domain.root_url);
  json.end_object();
}

std::expected<const Domain*, Fault> named_domain(std::string_view host, const DomainTable& domains) {
  if (const Domain* domain = domains.find(host)) return domain;
  return fault("domain", "There is no such domain here.");
}

std::expected<const Domain*, Fault> domain_of_query(std::string_view query, const DomainTable& domains, Arena& arena) {
  const Domain* domain = nullptr;
  while (const auto parameter = http::next_parameter(query)) {
    const auto name = http::decode_component(parameter->key, arena, true);
    const auto value = http::decode_component(parameter->value, arena, true);
    if (!name || !value) return fault("", "The query is not percent-encoded as it should be.");
    if (*name != "domain")
      return std::unexpected(Fault{std::string(name->substr(0, 64)), "There is domain.", "unknown_parameter"});
    if (domain) return fault("domain", "It is given twice.");
    auto named = named_domain(*value, domains);
    if (!named) return named;
    domain = *named;
  }
  return domain;
}

std::expected<std::string, Fault> name_of_request(std::string_view code, std::string_view query,
                                                  const DomainTable& domains, Arena& arena) {
  const auto asked = domain_of_query(query, domains, arena);
  if (!asked) return std::unexpected(asked.error());
  return (*asked ? **asked : domains.default_domain()).name_of(code);
}

std::optional<Fault> settle_domain(NewLink& link, const DomainTable& domains, const Domain* only) {
  const Domain* domain = only;
  if (!link.domain.empty()) {
    const auto named = named_domain(link.domain, domains);
    if (!named) return named.error();
    if (only && *named != only) return fault("domain", "The request is about another domain.").error();
    domain = *named;
  }
  link.domain = domain ? domain->host : std::string();
  return std::nullopt;
}

std::string path_of_link(std::string_view name) {
  const LinkName parts = split_name(name);
  std::string path = "/v1/links/" + std::string(parts.code);
  if (!parts.host.empty()) path.append("?domain=").append(parts.host);
  return path;
}

}  // namespace trellis::services::links
