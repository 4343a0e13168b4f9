// All links as a file, while it is read from the store: the body of the answer. Pages by number, each read by itself,
// so that no snapshot is held while a slow client takes the file: a link that is changed meanwhile is written as it was
// or as it is. Removed links are left out. One an export, on the connection's core; pages are read in the blocking
// pool.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "http/message.h"
#include "services/links/link_book.h"

namespace trellis::services::links {

// csv and ndjson are the trellis format of import_formats.h and read back to the same links; shlink has what Shlink's
// importer reads, as CSV, without links that have a password.
enum class ExportFormat : uint8_t { csv, ndjson, shlink };
std::optional<ExportFormat> export_format_of(std::string_view name) noexcept;

class ExportBody final : public http::BodyReader {
 public:
  // Borrows the book, which outlives it. `domain`: only links of it, as split_name() gives it.
  ExportBody(LinkBook& book, ExportFormat format, std::optional<std::string> domain) noexcept
      : book_(book), format_(format), domain_(std::move(domain)) {}

  Task<Result<Chunk>> read(Deadline deadline) override;
  std::optional<uint64_t> length() const noexcept override { return std::nullopt; }

 private:
  static constexpr size_t kPage = 1000;  // links

  LinkBook& book_;
  ExportFormat format_;
  std::optional<std::string> domain_;
  int64_t last_ = -1;  // -1: not begun
  bool ended_ = false;
};

}  // namespace trellis::services::links
