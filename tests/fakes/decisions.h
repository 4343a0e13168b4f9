// The decisions that X-Trellis-Explain tells in an answer's fields, as "step words".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/fields.h"

namespace trellis::fakes {

inline std::vector<std::string> decisions_in(const http::Fields& fields) {
  std::vector<std::string> decisions;
  for (const http::Field& field : fields) {
    if (field.id != http::FieldId::x_trellis_explain) continue;
    const std::string_view text = field.value;
    const size_t detail = text.find("d=\"") + 3;
    decisions.push_back(std::string(text.substr(0, text.find(';'))) + " " +
                        std::string(text.substr(detail, text.size() - detail - 1)));
  }
  return decisions;
}

}  // namespace trellis::fakes
