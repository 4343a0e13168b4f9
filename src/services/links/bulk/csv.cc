#include "services/links/bulk/csv.h"

#include <algorithm>
#include <utility>

namespace trellis::services::links {

namespace {

constexpr std::string_view kMark = "\xef\xbb\xbf";

bool must_be_quoted(std::string_view field) noexcept {
  if (field.find_first_of(",\"\r\n") != std::string_view::npos) return true;
  // Readers trim spaces that are not quoted, and a mark at the very beginning would be taken for one.
  return !field.empty() && (field.front() == ' ' || field.back() == ' ' || field.starts_with(kMark));
}

}  // namespace

std::unexpected<CsvProblem> CsvReader::problem(std::string reason) {
  state_ = State::skip;
  return std::unexpected(CsvProblem{line_, column_, std::move(reason)});
}

std::expected<CsvReader::Step, CsvProblem> CsvReader::add(char c) {
  if (c == '\0') return problem("a NUL byte; is the file UTF-16? UTF-8 is needed");
  const size_t begin = ends_.empty() ? 0 : ends_.back().end;
  if (text_.size() - begin >= limits_.field)
    return problem("a field is longer than " + std::to_string(limits_.field) + " bytes");
  if (text_.size() >= limits_.row) return problem("a row is longer than " + std::to_string(limits_.row) + " bytes");
  text_.push_back(c);
  return Step::more;
}

std::expected<CsvReader::Step, CsvProblem> CsvReader::end_field() {
  if (ends_.size() >= limits_.columns)
    return problem("a row has more than " + std::to_string(limits_.columns) + " fields");
  ends_.push_back({text_.size(), field_column_});
  state_ = State::start;
  return Step::more;
}

std::expected<CsvReader::Step, CsvProblem> CsvReader::end_row() {
  if (auto ended = end_field(); !ended) return ended;
  size_t begin = 0;
  for (const End& end : ends_) {
    fields_.push_back(std::string_view(text_).substr(begin, end.end - begin));
    begin = end.end;
  }
  row_over_ = true;
  if (separator_ == '\0') separator_ = separators_.front();  // a row of one field
  return Step::row;
}

void CsvReader::begin_row() noexcept {
  text_.clear();
  ends_.clear();
  fields_.clear();
  row_line_ = line_;
  row_over_ = false;
}

bool CsvReader::separates(char c) noexcept {
  if (separator_ != '\0') return c == separator_;
  if (separators_.find(c) == std::string_view::npos) return false;
  separator_ = c;
  return true;
}

std::expected<CsvReader::Step, CsvProblem> CsvReader::take(char c) {
  switch (state_) {
    case State::skip:
      if (c == '\n') {
        state_ = State::start;
        row_over_ = true;
      }
      return Step::more;
    case State::cr: return c == '\n' ? end_row() : problem("a carriage return without a line feed");
    case State::quoted:
      if (c != '"') return add(c);
      state_ = State::quote;
      return Step::more;
    case State::quote:
      if (c == '"') {
        state_ = State::quoted;
        return add(c);
      }
      break;
    case State::start:
      field_column_ = column_;
      if (c == '"') {
        state_ = State::quoted;
        return Step::more;
      }
      break;
    case State::plain: break;
  }
  if (separates(c)) return end_field();
  if (c == '\n') return end_row();
  if (c == '\r') {
    state_ = State::cr;
    return Step::more;
  }
  if (state_ == State::quote) return problem("text after a closing quote; a quote inside quotes is written twice");
  if (c == '"') return problem("a quote inside a field that is not quoted");
  state_ = State::plain;
  return add(c);
}

// Whether the beginning is settled; a mark may be cut into pieces.
bool CsvReader::skip_mark(std::string_view& bytes) {
  while (mark_ < kMark.size() && !bytes.empty()) {
    if (bytes.front() != kMark[mark_]) {
      give_back_mark();
      return true;
    }
    bytes.remove_prefix(1);
    ++mark_;
  }
  return mark_ >= kMark.size();
}

// What looked like a mark is the beginning of the first field.
void CsvReader::give_back_mark() {
  const size_t held = std::exchange(mark_, static_cast<uint8_t>(kMark.size()));
  if (held == 0) return;
  begin_row();
  text_.assign(kMark.substr(0, held));
  state_ = State::plain;
  column_ += held;
}

std::expected<CsvReader::Step, CsvProblem> CsvReader::next(std::string_view& bytes) {
  if (mark_ < kMark.size() && !skip_mark(bytes)) return Step::more;
  while (!bytes.empty()) {
    const char c = bytes.front();
    bytes.remove_prefix(1);
    if (row_over_) begin_row();
    auto step = take(c);
    if (c == '\n') {
      ++line_;
      column_ = 1;
      if (!step) {  // the line that broke a limit is over already
        state_ = State::start;
        row_over_ = true;
      }
    } else {
      ++column_;
    }
    if (!step || *step == Step::row) return step;
  }
  return Step::more;
}

std::expected<CsvReader::Step, CsvProblem> CsvReader::finish() {
  if (mark_ < kMark.size()) give_back_mark();
  if (row_over_) return Step::more;
  const State state = std::exchange(state_, State::start);
  row_over_ = true;
  switch (state) {
    case State::skip: return Step::more;
    case State::quoted:
      return std::unexpected(
          CsvProblem{line_, column_, "a quoted field of the row in line " + std::to_string(row_line_) + " never ends"});
    case State::cr: return std::unexpected(CsvProblem{line_, column_, "a carriage return without a line feed"});
    case State::start: field_column_ = column_; break;
    case State::plain:
    case State::quote: break;
  }
  auto step = end_row();
  if (!step) state_ = State::start;
  return step;
}

void append_csv_row(std::string& out, std::span<const std::string_view> fields) {
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) out.push_back(',');
    // A row of one empty field would be an empty line, which many readers drop.
    if (!must_be_quoted(fields[i]) && !(fields.size() == 1 && fields[i].empty())) {
      out.append(fields[i]);
      continue;
    }
    out.push_back('"');
    for (const char c : fields[i]) {
      if (c == '"') out.push_back('"');
      out.push_back(c);
    }
    out.push_back('"');
  }
  out.append("\r\n");
}

}  // namespace trellis::services::links
