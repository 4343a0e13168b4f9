// A text gives the same rows and problems in pieces of any size, and what was read can be written and read again.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/bulk/csv.h"

namespace {

using namespace trellis::services::links;

struct Read {
  std::vector<std::vector<std::string>> rows;
  std::vector<uint64_t> problems;  // their lines and columns
};

Read read(std::string_view text, size_t piece) {
  Read result;
  CsvReader reader({.row = 200, .field = 100, .columns = 20});
  const auto keep = [&](const std::expected<CsvReader::Step, CsvProblem>& step) {
    if (!step) {
      result.problems.push_back(step.error().line);
      result.problems.push_back(step.error().column);
      return true;
    }
    if (*step == CsvReader::Step::row) result.rows.emplace_back(reader.fields().begin(), reader.fields().end());
    return *step == CsvReader::Step::row;
  };
  while (!text.empty()) {
    std::string_view bytes = text.substr(0, piece);
    text.remove_prefix(bytes.size());
    while (keep(reader.next(bytes))) {
    }
    TRELLIS_ASSERT(bytes.empty());
  }
  keep(reader.finish());
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Read whole = read(text, SIZE_MAX);
  for (const size_t piece : {1, 3, 7}) {
    const Read pieces = read(text, piece);
    TRELLIS_ASSERT(pieces.rows == whole.rows);
    TRELLIS_ASSERT(pieces.problems == whole.problems);
  }
  std::string written;
  for (const auto& row : whole.rows) append_csv_row(written, std::vector<std::string_view>(row.begin(), row.end()));
  const Read again = read(written, SIZE_MAX);
  TRELLIS_ASSERT(again.rows == whole.rows);
  TRELLIS_ASSERT(again.problems.empty());
  return 0;
}
