// /v1/keys: the API of API keys. A key's text is in one answer, that to its making, and nowhere else. While keys are
// not required these routes refuse: otherwise whoever reaches the API could make himself a key for the day they are.
// Owned by the service; any core.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "http/routes.h"
#include "runtime/task.h"

namespace trellis::services::links {

class Access;
class Domains;
struct ApiKey;

class KeyApi {
 public:
  // Borrows both.
  KeyApi(Access& access, const Domains& domains) noexcept : access_(access), domains_(domains) {}
  void mount(http::Routes& routes);

 private:
  Task<Result<http::Response>> create(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> list(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> show(http::Request& request, http::RequestContext& context, std::string_view id);
  Task<Result<http::Response>> change(http::Request& request, http::RequestContext& context, std::string_view id);
  Task<Result<http::Response>> remove(http::Request& request, http::RequestContext& context, std::string_view id);

  std::string json_of(const ApiKey& key, std::string_view text = {}) const;
  http::Response key_answer(http::RequestContext& context, int status, const ApiKey& key, std::string_view text = {});

  Access& access_;
  const Domains& domains_;
};

// {"id":1,"name":...}; `text` "" when it is not to be told. `default_host`: of the default domain.
void append_key(std::string& out, const ApiKey& key, std::string_view text, std::string_view default_host);

}  // namespace trellis::services::links
