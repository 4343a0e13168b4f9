// Variables of nginx whose value is chosen for each request and leads to hosts: split_clients, and maps of a cookie or
// a field. In Trellis that is the filter split of the route that uses them. One http block, one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/import/draft.h"
#include "app/import/nginx/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

struct NginxChoice {
  struct Way {
    uint32_t share = 0;  // of 10,000
    FieldLines when;     // header or cookie
    std::string value;
  };
  std::vector<Way> ways;
  std::string rest;           // the value for all others
  std::string key;            // of the shares
  bool ignores_case = false;  // of values that `when` compares with their case
};

class NginxChoices {
 public:
  void declare(const NginxDirective& block);
  // The choice of a variable that stands in the text, and its name; what is asked for counts as used.
  std::optional<std::pair<std::string, NginxChoice>> in(std::string_view text);
  // The blocks that no proxy_pass used: there are no variables of your own.
  void tell_unused(Remarks& remarks) const;

 private:
  struct Declared {
    const NginxDirective* block;
    std::optional<NginxChoice> choice;  // nothing: a split cannot say it
    bool used = false;
  };
  void resolve_rest(NginxChoice& choice);

  std::map<std::string, Declared, std::less<>> by_name_;  // without the '$'
  std::vector<const NginxDirective*> others_;
};

}  // namespace trellis::app
