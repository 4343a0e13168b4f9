// Comma-separated values as RFC 4180 has them, read and written. The reader is fed pieces of any size and gives rows,
// so that an import of any length needs memory for one row; it is strict, and a row that breaks the form is reported
// with line and column and skipped to its end of line, after which reading goes on. Accepted beside the RFC: a byte
// order mark at the beginning, LF alone as the end of a line, rows of different lengths (the caller knows how many it
// wants). The writer quotes what must be quoted and changes nothing: what it wrote reads back to the same bytes, also
// a field that a spreadsheet would take for a formula. Pure; any core. Input is foreign:
// fuzz/services_links_csv_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trellis::services::links {

struct CsvLimits {
  size_t row = 256 << 10;   // bytes of all fields of a row, without quotes and commas
  size_t field = 64 << 10;  // bytes
  size_t columns = 256;
};

// Lines count from 1 by LF, also inside quotes; columns are bytes from 1.
struct CsvProblem {
  uint64_t line = 0;
  uint64_t column = 0;
  std::string reason;
};

class CsvReader {
 public:
  // Why next() returned.
  enum class Step : uint8_t {
    row,   // fields() holds one; what follows it is still in `bytes`
    more,  // `bytes` is used up
  };

  explicit CsvReader(CsvLimits limits = {}) : limits_(limits), separator_(',') {}
  // `separators`: what may stand between fields; the first of them in the first row does so in all. Outlives this.
  CsvReader(CsvLimits limits, std::string_view separators) : limits_(limits), separators_(separators) {}

  // Takes from the front of `bytes` until a row is complete. After a problem it may be called again as usual.
  std::expected<Step, CsvProblem> next(std::string_view& bytes);
  // Call when the input has ended: a last row without an end of line, or Step::more when there is none.
  std::expected<Step, CsvProblem> finish();

  // Of the last row, valid until the next call. An empty line is a row of one empty field.
  std::span<const std::string_view> fields() const noexcept { return fields_; }
  uint64_t line() const noexcept { return row_line_; }  // where the row begins
  // Where the nth field of the row begins, on line().. or below when quoted fields before it hold line breaks.
  uint64_t column(size_t field) const noexcept { return field < ends_.size() ? ends_[field].column : 0; }

 private:
  enum class State : uint8_t { start, plain, quoted, quote, cr, skip };  // quote: after a quote in a quoted field

  struct End {
    size_t end;       // of the field in text_
    uint64_t column;  // where it began
  };

  std::unexpected<CsvProblem> problem(std::string reason);
  std::expected<Step, CsvProblem> take(char c);  // row: it is complete
  std::expected<Step, CsvProblem> add(char c);
  std::expected<Step, CsvProblem> end_field();
  std::expected<Step, CsvProblem> end_row();
  void begin_row() noexcept;
  bool skip_mark(std::string_view& bytes);
  void give_back_mark();

  bool separates(char c) noexcept;

  CsvLimits limits_;
  char separator_ = '\0';  // NUL: one of these
  std::string_view separators_;
  std::string text_;  // the fields of the row, one behind the other
  std::vector<End> ends_;
  std::vector<std::string_view> fields_;
  State state_ = State::start;
  bool row_over_ = true;  // the next byte begins a row
  uint8_t mark_ = 0;      // bytes of the byte order mark seen so far
  uint64_t line_ = 1;     // of the next byte
  uint64_t column_ = 1;   // of the next byte
  uint64_t row_line_ = 1;
  uint64_t field_column_ = 1;
};

// Appends one row with CRLF at its end. A NUL, which the reader refuses, must not be in a field.
void append_csv_row(std::string& out, std::span<const std::string_view> fields);

}  // namespace trellis::services::links
