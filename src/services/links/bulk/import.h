// An import on its way: the body of the answer, which takes the rows of the request's body in pieces while they arrive
// and tells what became of each, a line of JSON a row. A piece is one operation of the store; while it is written the
// next is read, and nothing is read ahead of that: a client that sends faster than the store writes, or takes its
// answer too slowly, waits. So memory is bounded whatever the length. One an import, on the connection's core.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "http/message.h"
#include "services/links/bulk/bulk.h"
#include "services/links/bulk/import_formats.h"
#include "services/links/code_set.h"

namespace trellis::services::links {

struct ImportOptions {
  std::optional<ImportShape> shape;  // none: by the first byte
  bool dry_run = false;
  bool skip_conflicts = false;  // a code that somebody has is skipped and no failure
  bool find_existing = false;   // a row whose URL and settings a link has already makes none
  bool only_problems = false;   // rows that went well are counted and not told
  std::string domain;           // host: all go there, and rows that say another are problems; "": any of ours
};

class ImportBody final : public http::BodyReader {
 public:
  // Borrows the book and the loop, which outlive it. `source` may be null: an empty file.
  ImportBody(LinkBook& book, Loop& loop, std::unique_ptr<http::BodyReader> source, ImportOptions options);
  ~ImportBody() override;

  Task<Result<Chunk>> read(Deadline deadline) override;
  std::optional<uint64_t> length() const noexcept override { return std::nullopt; }

 private:
  // WHY as large: codes and URLs come in no order, so that each transaction changes most pages of their indexes, and
  // each change of a page is written twice. One of a quarter of this size costs 1.3 times as much a link.
  static constexpr size_t kRows = 65'536;        // a piece
  static constexpr size_t kBytes = 32ULL << 20;  // likewise, about
  static constexpr size_t kTold = 64ULL << 10;   // of the answer, before more is read
  static constexpr size_t kRowsBeforeYield = 256;
  static constexpr Duration kProgressEvery = std::chrono::milliseconds(250);
  static constexpr Duration kTellEvery = std::chrono::milliseconds(250);  // what there is, however little

  struct Row {
    uint64_t line = 0;
    bool is_link = false;  // the next one of the piece
    std::optional<ImportProblem> problem;
  };
  struct Piece {
    std::vector<Row> rows;
    BulkLinks links = std::make_shared<std::vector<BulkLink>>();
    size_t bytes = 0;
  };

  // Reads rows until the piece is full, the source has nothing now, or it has ended.
  Task<Result<void>> fill(Deadline deadline);
  Task<Result<void>> step(Deadline deadline);
  void take_row(const LinkImport& link, uint64_t line);
  void take_problem(ImportProblem problem);
  // One row, a problem or nothing more; false: nothing more.
  bool take_next(bool at_end);
  Task<Result<void>> settle();
  void begin_writing(Deadline deadline);
  Task<> tell_rows(Piece& piece, const BulkDone* done);
  void tell_problem(uint64_t line, uint64_t column, std::string_view code, std::string_view field,
                    std::string_view detail);
  void tell_counts(const char* name, const Error* error);
  bool full() const noexcept { return piece_.rows.size() >= kRows || piece_.bytes >= kBytes; }

  LinkBook& book_;
  Loop& loop_;
  std::unique_ptr<http::BodyReader> source_;
  ImportOptions options_;
  std::optional<LinkReader> reader_;

  Task<Result<Chunk>> receiving_;
  std::string text_;       // received
  std::string_view rest_;  // of it, not yet read
  bool source_ended_ = false;
  bool reader_ended_ = false;
  Piece piece_;    // being filled
  Piece written_;  // being written; then what its operation left
  Task<Result<BulkResult>> writing_;
  bool is_writing_ = false;
  std::string out_;
  bool ended_ = false;

  CodeSet seen_;  // of a dry run, which has no store to remember them
  uint64_t rows_ = 0;
  uint64_t made_ = 0;
  uint64_t exists_ = 0;
  uint64_t skipped_ = 0;
  uint64_t failed_ = 0;
  uint64_t bytes_ = 0;
  Time began_;
  Time told_;
  Time progress_told_;
};

}  // namespace trellis::services::links
