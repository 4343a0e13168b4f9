// headers: sets, adds and removes fields of the request before it goes on and of the answer before it goes out; values
// may hold variables (proxy/text_template.h). Fields that frame a message or concern one connection are refused when
// the configuration is read. One instance a route and core; immutable.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/fields.h"
#include "http/fields.h"
#include "proxy/filter.h"
#include "proxy/text_template.h"

namespace trellis::proxy {

struct FieldEdits {
  std::vector<std::pair<std::string, std::string>> set;
  std::vector<std::pair<std::string, std::string>> add;
  std::vector<std::string> remove;
  static config::Fields<FieldEdits> fields();
  void check(config::Checker& at) const;
};

struct HeadersConfig {
  FieldEdits request;
  FieldEdits response;
  static config::Fields<HeadersConfig> fields();
};

class HeadersFilter final : public Filter {
 public:
  // The config has been checked.
  explicit HeadersFilter(const HeadersConfig& config);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override;

 private:
  struct Line {
    std::string name;
    http::FieldId id;
    TextTemplate value;
  };
  struct Edits {
    explicit Edits(const FieldEdits& config);
    bool empty() const noexcept { return remove.empty() && set.empty() && add.empty(); }
    void apply(http::Fields& fields, const http::Request& request, const http::RequestContext& context) const;
    // Fields whose names differ from the configuration's own by '_' for '-' only: some servers take them for the same.
    void take_off_alike(http::Fields& fields) const;
    std::vector<std::string> remove;
    std::vector<Line> set;
    std::vector<Line> add;
  };
  Task<Result<http::Response>> with_answer(http::Request& request, http::RequestContext& context, Next next);

  Edits request_;
  Edits response_;
};

}  // namespace trellis::proxy
