// YOURLS' API, /yourls-api.php: one address, the action in a parameter, of the query or of a form. Actions shorturl,
// expand, url-stats, stats, db-stats and version, answered as json, jsonp, xml or simple text in the shapes of YOURLS
// 1.10, for the many small tools that speak it. What differs is in docs/links-compatibility.md. One instance for all
// cores, owned by the service. Forms are foreign: fuzz/services_links_yourls_fuzz.cc.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "http/handler.h"
#include "http/routes.h"

namespace trellis::services::links {

class Access;
class LinkBook;

// Names and values, the later of two with one name wins, as there.
struct YourlsForm {
  std::vector<std::pair<std::string, std::string>> fields;

  std::string get(std::string_view name) const;
  // "a=1&b=2"; what cannot be decoded is left out.
  void read_query(std::string_view text);
  // multipart/form-data with this boundary; parts that are files are left out. False: it has not this form.
  bool read_multipart(std::string_view body, std::string_view boundary);
};

// An answer: members in their order, as text or as an object of the same.
struct YourlsValue {
  std::string name;
  std::string text;
  std::vector<YourlsValue> members;  // an object when there are any
};
std::string yourls_json(const std::vector<YourlsValue>& members);
std::string yourls_xml(const std::vector<YourlsValue>& members);

bool is_callback(std::string_view name) noexcept;

class YourlsApi {
 public:
  YourlsApi(LinkBook& book, Access& access);
  void mount(http::Routes& routes);

 private:
  struct Reply {
    int status = 200;
    std::vector<YourlsValue> members;
    std::string simple;
  };
  Task<Result<http::Response>> answer(http::Request& request, http::RequestContext& context);
  std::optional<Reply> refuse(const http::Request& request, const http::RequestContext& context, const YourlsForm& form,
                              bool writes, std::optional<int64_t>& only) const;
  // `only`: the domain that the key is limited to.
  Task<Result<Reply>> act(http::RequestContext& context, YourlsForm form, std::optional<int64_t> only);
  Task<Result<Reply>> shorten(http::RequestContext& context, YourlsForm form, std::optional<int64_t> only);
  Task<Result<Reply>> expand(http::RequestContext& context, std::string short_url, bool stats,
                             std::optional<int64_t> only);
  Task<Result<Reply>> stats(http::RequestContext& context, YourlsForm form, std::optional<int64_t> only);

  LinkBook& book_;
  Access& access_;
};

}  // namespace trellis::services::links
