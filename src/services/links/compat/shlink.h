// The part of Shlink's REST API, version 3, that its web client uses: the same paths, members, statuses and types of
// problems over our link book, so that the client and what else speaks to Shlink works here. What differs is in
// docs/links-compatibility.md. Everything beneath /rest; one instance for all cores, owned by the service.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "http/handler.h"

namespace trellis::services::links {

class Access;
class DomainTable;
class LinkBook;
struct Domain;
struct Link;

class ShlinkApi final : public http::Handler {
 public:
  // Borrows both.
  ShlinkApi(LinkBook& book, Access& access);

  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;

 private:
  // Segments behind the version.
  struct Way {
    std::array<std::string_view, 4> parts;
    size_t count = 0;
    std::optional<int64_t> only;                                              // the domain that the key is limited to
    bool is(std::initializer_list<std::string_view> pattern) const noexcept;  // "*" is any segment but an empty one
  };

  std::optional<http::Response> refuse_origin(const http::Request& request, http::RequestContext& context) const;
  // `only`: what the key is limited to goes there.
  std::optional<http::Response> refuse_key(const http::Request& request, http::RequestContext& context,
                                           std::optional<int64_t>& only) const;
  // Makes the request one about the domain that the key is limited to, or refuses it.
  std::optional<http::Response> confine(http::Request& request, http::RequestContext& context, const Way& way) const;
  Task<Result<http::Response>> answer(http::Request& request, http::RequestContext& context, Way way);

  Task<Result<http::Response>> list(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> create(http::Request& request, http::RequestContext& context,
                                      std::optional<int64_t> only);
  Task<Result<http::Response>> show(http::Request& request, http::RequestContext& context, std::string code);
  Task<Result<http::Response>> change(http::Request& request, http::RequestContext& context, std::string code);
  Task<Result<http::Response>> remove(http::Request& request, http::RequestContext& context, std::string code);
  Task<Result<http::Response>> rules(http::Request& request, http::RequestContext& context, std::string code);
  Task<Result<http::Response>> set_rules(http::Request& request, http::RequestContext& context, std::string code);
  Task<Result<http::Response>> tags(http::Request& request, http::RequestContext& context, bool stats,
                                    std::optional<int64_t> only);
  Task<Result<http::Response>> rename(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> remove_tags(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> overview(http::RequestContext& context, std::optional<int64_t> only);
  // Of a link, of those with a tag, of a domain, or of all.
  Task<Result<http::Response>> visits(http::Request& request, http::RequestContext& context, std::string code,
                                      std::string tag, std::optional<int64_t> domain);
  http::Response domains(http::RequestContext& context, std::optional<int64_t> only) const;
  // The domain that a client means; null: there is no such.
  static const Domain* domain_of(std::string_view domain, const DomainTable& domains);
  // The name of the link with this code on the domain of the query; "", which no link has: there is no such domain.
  std::string name_of(std::string_view code, const http::Request& request, http::RequestContext& context) const;

  LinkBook& book_;
  Access& access_;
};

}  // namespace trellis::services::links
