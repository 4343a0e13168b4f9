// The reference of the configuration, as Markdown for people and as a JSON schema (draft 2020-12) for editors, made
// from the field tables that read it. `docs/reference/` is its output. Pure, any core.
#pragma once

#include <string>
#include <string_view>

#include "config/fields.h"
#include "config/type_info.h"

namespace trellis::config {

// A section for each struct, an option a line: name, type, default, range, what it does.
std::string reference_markdown(const TableInfo& root, std::string_view title);
std::string json_schema(const TableInfo& root, std::string_view title);

template <HasFields T>
std::string reference_markdown(std::string_view title) {
  return reference_markdown(table_info<T>(), title);
}
template <HasFields T>
std::string json_schema(std::string_view title) {
  return json_schema(table_info<T>(), title);
}

}  // namespace trellis::config
