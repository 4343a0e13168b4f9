// `trellis import`: a foreign configuration as one of Trellis, and what was left of it. What comes out is good to
// `trellis check`: a route that the check would refuse is replaced by one that answers 501, and told. Files are read
// through a seam; nothing is written. Main thread.
#pragma once

#include <string>

#include "app/import/nginx/syntax.h"
#include "app/import/remark.h"
#include "base/error.h"

namespace trellis::app {

enum class ImportKind : uint8_t { nginx, haproxy };
std::string_view to_string(ImportKind kind) noexcept;

struct Imported {
  ImportKind kind = ImportKind::nginx;
  std::string yaml;
  Remarks remarks;
  size_t listeners = 0;
  size_t upstreams = 0;
  size_t routes = 0;
};

// The kind is told by the text unless it is given. An error: the file cannot be read, or holds nothing that is served.
Result<Imported> import_config(const std::string& path, const ImportKind* kind, const ImportFiles& files);

ImportKind kind_of(std::string_view text);

}  // namespace trellis::app
