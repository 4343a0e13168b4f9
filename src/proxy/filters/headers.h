// headers: changes fields of the request before it goes on and of the answer before it goes out, of the answer also by
// its status; values may hold variables (proxy/text_template.h). Within one set of changes the order is fixed: remove,
// rename, set, default, add, append. Fields that frame a message or concern one connection are refused when the
// configuration is read. One instance a route and core; immutable.
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
  std::vector<std::string> remove;
  std::vector<std::pair<std::string, std::string>> rename;  // old and new name
  std::vector<std::pair<std::string, std::string>> set;
  std::vector<std::pair<std::string, std::string>> fallback;
  std::vector<std::pair<std::string, std::string>> add;
  std::vector<std::pair<std::string, std::string>> append;
  static config::Fields<FieldEdits> fields();
  void check(config::Checker& at) const;
};

struct HeadersConfig {
  FieldEdits request;
  FieldEdits response;
  std::vector<std::pair<std::string, FieldEdits>> by_status;  // "404", "5xx"
  static config::Fields<HeadersConfig> fields();
  void check(config::Checker& at) const;
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
  struct Renamed {
    std::string from;
    std::string to;
    http::FieldId to_id;
  };
  struct Edits {
    explicit Edits(const FieldEdits& config);
    bool empty() const noexcept;
    void apply(http::Fields& fields, const http::Request& request, const http::RequestContext& context) const;
    // Fields whose names differ from the configuration's own by '_' for '-' only: some servers take them for the same.
    void take_off_alike(http::Fields& fields) const;
    std::vector<std::string> remove;
    std::vector<Renamed> rename;
    std::vector<Line> set;
    std::vector<Line> fallback;
    std::vector<Line> add;
    std::vector<Line> append;
  };
  struct StatusEdits {
    int first;  // of the statuses
    int last;
    Edits edits;
  };
  Task<Result<http::Response>> with_answer(http::Request& request, http::RequestContext& context, Next next);

  Edits request_;
  Edits response_;
  std::vector<StatusEdits> by_status_;  // in the order of the file, after response_
};

}  // namespace trellis::proxy
