// Whatever is read as a link can be written in our own form and reads back to the same link.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/bulk/import_formats.h"

namespace {

using namespace trellis::services::links;

std::vector<LinkImport> read(ImportShape shape, std::string_view text, size_t piece, size_t& problems) {
  std::vector<LinkImport> links;
  LinkReader reader(shape);
  const auto keep = [&](const std::expected<LinkReader::Step, ImportProblem>& step) {
    if (!step) {
      TRELLIS_ASSERT(step.error().line > 0 && !step.error().reason.empty());
      ++problems;
      return true;
    }
    if (*step == LinkReader::Step::link) links.push_back(reader.link());
    return *step == LinkReader::Step::link;
  };
  while (!text.empty()) {
    std::string_view bytes = text.substr(0, piece);
    text.remove_prefix(bytes.size());
    while (keep(reader.next(bytes))) {
    }
  }
  while (keep(reader.finish())) {
  }
  return links;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ImportShape shape = data[0] & 1 ? ImportShape::csv : ImportShape::ndjson;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  size_t problems = 0;
  const auto links = read(shape, text, SIZE_MAX, problems);
  size_t again = 0;
  TRELLIS_ASSERT(read(shape, text, 5, again) == links);
  TRELLIS_ASSERT(again == problems);
  std::string csv;
  append_import_header(csv);
  for (const LinkImport& link : links) append_import_csv(csv, link);
  size_t none = 0;
  TRELLIS_ASSERT(read(ImportShape::csv, csv, SIZE_MAX, none) == links);
  TRELLIS_ASSERT(none == 0);
  return 0;
}
