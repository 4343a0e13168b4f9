// QR codes of short URLs, as SVG or PNG: a picture is made anew for each request from what the query says and kept by
// whoever asked. The URL inside carries a mark, `?qr`, so that a scan is told apart from a click; the redirect takes
// the mark off before it looks at the query. Pure, but for answer_qr(); any core, drawing in the blocking pool. The
// query is foreign: fuzz/services_links_qr_fuzz.cc.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "base/error.h"
#include "http/handler.h"

namespace trellis::services::links {

class LinkBook;
struct Fault;

struct QrOptions {
  enum class Format : uint8_t { svg, png } format = Format::svg;
  int size = 300;      // pixels of a side, with the margin
  int margin = 4;      // modules of a side; 4 is what readers are promised
  char ecc = 'M';      // L, M, Q or H: how much of the picture may be lost
  std::string domain;  // of the link, as it was written; "": that of the Host field
};

inline constexpr int kMinQrSize = 32;
inline constexpr int kMaxQrSize = 2048;
inline constexpr int kMaxQrMargin = 32;
inline constexpr std::string_view kQrMark = "qr";

// format, size, margin, ecc and domain, each at most once and nothing else.
std::expected<QrOptions, Fault> read_qr_options(std::string_view query, Arena& arena);

// invalid_argument (side client) when the size is too small for one pixel a module.
Result<std::string> draw_qr(std::string_view text, const QrOptions& options);

// Whether the query begins with the mark, which is then cut off.
bool take_qr_mark(std::string_view& query) noexcept;

// GET /{code}.qr
Task<Result<http::Response>> answer_qr(LinkBook& book, http::Request& request, http::RequestContext& context,
                                       std::string code);

}  // namespace trellis::services::links
