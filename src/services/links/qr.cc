#include "services/links/qr.h"

#include <fmt/format.h>
#include <qrencode.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <utility>

#include "base/hash.h"
#include "http/preconditions.h"
#include "http/problem.h"
#include "http/routes.h"
#include "http/target.h"
#include "runtime/blocking_pool.h"
#include "services/links/answers.h"
#include "services/links/link_book.h"

namespace trellis::services::links {

using http::FieldId;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

struct FreeQr {
  void operator()(QRcode* code) const noexcept { QRcode_free(code); }
};

// The modules of a code with its margin around them.
class Modules {
 public:
  Modules(std::unique_ptr<QRcode, FreeQr> code, int margin) : code_(std::move(code)), margin_(margin) {}
  int width() const noexcept { return code_->width + 2 * margin_; }
  bool dark(int x, int y) const noexcept {
    x -= margin_;
    y -= margin_;
    if (x < 0 || y < 0 || x >= code_->width || y >= code_->width) return false;
    return (code_->data[y * code_->width + x] & 1) != 0;
  }

 private:
  std::unique_ptr<QRcode, FreeQr> code_;
  int margin_;
};

QRecLevel level_of(char ecc) noexcept {
  switch (ecc) {
    case 'L': return QR_ECLEVEL_L;
    case 'Q': return QR_ECLEVEL_Q;
    case 'H': return QR_ECLEVEL_H;
    default: return QR_ECLEVEL_M;
  }
}

// One path of horizontal runs: it stays sharp at any size, and no seams show between neighbours.
std::string svg_of(const Modules& modules, int size) {
  const int width = modules.width();
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{0}\" viewBox=\"0 0 {1} {1}\" role=\"img\" "
      "aria-label=\"QR code\" shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{1}v{1}H0z\"/><path d=\"",
      size, width);
  for (int y = 0; y < width; ++y) {
    for (int x = 0; x < width;) {
      int end = x;
      while (end < width && modules.dark(end, y)) ++end;
      if (end > x) out += fmt::format("M{} {}h{}v1h-{}z", x, y, end - x, end - x);
      x = end + 1;
    }
  }
  out += "\"/></svg>\n";
  return out;
}

void put32(std::string& out, uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(value >> shift & 0xff);
}

void put_chunk(std::string& out, std::string_view type, std::string_view data) {
  put32(out, static_cast<uint32_t>(data.size()));
  const size_t begin = out.size();
  out += type;
  out += data;
  const auto* bytes = reinterpret_cast<const Bytef*>(out.data() + begin);
  put32(out, static_cast<uint32_t>(crc32(0, bytes, static_cast<uInt>(out.size() - begin))));
}

// One bit a pixel, grey. Modules have a whole number of pixels; what is left over goes around them.
Result<std::string> png_of(const Modules& modules, int size) {
  const int pixels = size / modules.width();
  const int before = (size - pixels * modules.width()) / 2;
  const size_t row_bytes = static_cast<size_t>(size + 7) / 8;
  std::string white(1 + row_bytes, '\xff');
  white[0] = 0;  // no filter
  std::string rows;
  rows.reserve(static_cast<size_t>(size) * white.size());
  for (int at = 0; at < before; ++at) rows += white;
  for (int y = 0; y < modules.width(); ++y) {
    std::string row = white;
    for (int x = 0; x < modules.width(); ++x) {
      if (!modules.dark(x, y)) continue;
      for (int at = before + x * pixels; at < before + (x + 1) * pixels; ++at) {
        row[1 + static_cast<size_t>(at) / 8] &= static_cast<char>(~(0x80 >> at % 8));
      }
    }
    for (int at = 0; at < pixels; ++at) rows += row;
  }
  while (rows.size() < static_cast<size_t>(size) * white.size()) rows += white;

  uLongf packed_size = compressBound(rows.size());
  std::string packed(packed_size, '\0');
  if (compress2(reinterpret_cast<Bytef*>(packed.data()), &packed_size, reinterpret_cast<const Bytef*>(rows.data()),
                rows.size(), 6) != Z_OK) {
    return fail(Error(Code::internal, "a picture could not be compressed").from(Side::self));
  }
  packed.resize(packed_size);
  std::string head;
  put32(head, static_cast<uint32_t>(size));
  put32(head, static_cast<uint32_t>(size));
  head.append({1, 0, 0, 0, 0});  // a bit a pixel, grey, and the only methods there are
  std::string out = "\x89PNG\r\n\x1a\n";
  put_chunk(out, "IHDR", head);
  put_chunk(out, "IDAT", packed);
  put_chunk(out, "IEND", {});
  return out;
}

Fault fault(std::string_view field, std::string detail) { return Fault{std::string(field), std::move(detail)}; }

Response not_drawn(const Error& error, RequestContext& context) {
  if (error.side() != Side::client) return http::response_for(error, context);
  return http::field_problem(context, 400, "invalid_argument", "size", error.what());
}

std::optional<int> number(std::string_view text, int least, int most) noexcept {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) return std::nullopt;
  return value;
}

}  // namespace

std::expected<QrOptions, Fault> read_qr_options(std::string_view query, Arena& arena) {
  QrOptions options;
  constexpr std::array<std::string_view, 5> kNames = {"format", "size", "margin", "ecc", "domain"};
  std::array<bool, kNames.size()> seen{};
  while (const auto parameter = http::next_parameter(query)) {
    const auto name = http::decode_component(parameter->key, arena, true);
    const auto value = http::decode_component(parameter->value, arena, true);
    if (!name || !value) return std::unexpected(fault("", "The query is not percent-encoded as it should be."));
    const auto known = std::find(kNames.begin(), kNames.end(), *name);
    if (known == kNames.end()) {
      return std::unexpected(Fault{std::string(name->substr(0, 64)), "There is format, size, margin, ecc and domain.",
                                   "unknown_parameter"});
    }
    if (std::exchange(seen[static_cast<size_t>(known - kNames.begin())], true))
      return std::unexpected(fault(*name, "It is given twice."));
    if (*name == "format") {
      if (*value != "svg" && *value != "png") return std::unexpected(fault(*name, "The format is svg or png."));
      options.format = *value == "png" ? QrOptions::Format::png : QrOptions::Format::svg;
    } else if (*name == "size") {
      const std::optional<int> size = number(*value, kMinQrSize, kMaxQrSize);
      if (!size) return std::unexpected(fault(*name, "The size is a number of pixels from 32 to 2048."));
      options.size = *size;
    } else if (*name == "margin") {
      const std::optional<int> margin = number(*value, 0, kMaxQrMargin);
      if (!margin) return std::unexpected(fault(*name, "The margin is a number of modules from 0 to 32."));
      options.margin = *margin;
    } else if (*name == "domain") {
      options.domain = *value;
    } else {
      if (value->size() != 1 || std::string_view("LMQH").find(value->front()) == std::string_view::npos)
        return std::unexpected(fault(*name, "The error correction is L, M, Q or H."));
      options.ecc = value->front();
    }
  }
  return options;
}

Result<std::string> draw_qr(std::string_view text, const QrOptions& options) {
  std::unique_ptr<QRcode, FreeQr> code(QRcode_encodeData(
      static_cast<int>(text.size()), reinterpret_cast<const unsigned char*>(text.data()), 0, level_of(options.ecc)));
  if (!code) return fail(Error(Code::internal, "the URL does not fit into a QR code").from(Side::self));
  const Modules modules(std::move(code), options.margin);
  if (options.size < modules.width()) {
    return fail(Error(Code::invalid_argument, fmt::format("This code has {} modules a side with its margin; its size "
                                                          "cannot be smaller.",
                                                          modules.width()))
                    .from(Side::client));
  }
  if (options.format == QrOptions::Format::png) return png_of(modules, options.size);
  return svg_of(modules, options.size);
}

bool take_qr_mark(std::string_view& query) noexcept {
  if (!query.starts_with(kQrMark)) return false;
  if (query.size() == kQrMark.size()) {
    query = {};
    return true;
  }
  if (query[kQrMark.size()] != '&') return false;
  query.remove_prefix(kQrMark.size() + 1);
  return true;
}

Task<Result<Response>> answer_qr(LinkBook& book, Request& request, RequestContext& context, std::string code) {
  const auto options = read_qr_options(request.query, context.arena);
  if (!options) co_return refuse(context, options.error());
  if (!is_code_text(code)) co_return not_found(context);
  const DomainTablePointer domains = book.domain_table();
  const Domain* domain =
      options->domain.empty() ? &domains->of_authority(request.authority) : domains->find(options->domain);
  if (!domain) co_return not_found(context);
  const std::string name = domain->name_of(code);
  auto reading = book.find(name, context.deadline);
  const Result<std::optional<Link>> link = co_await reading;
  if (!link) co_return http::response_for(link.error(), context);
  const int64_t now = unix_millis(context.loop.wall());
  if (!*link || (*link)->not_before.value_or(INT64_MIN) > now) co_return not_found(context);
  if ((*link)->deleted) co_return gone(context);

  const std::string url = fmt::format("{}?{}", domains->short_url(name), kQrMark);
  const bool png = options->format == QrOptions::Format::png;
  const std::string etag = fmt::format(
      "\"{:016x}\"", hash64(fmt::format("1 {} {} {} {} {}", url, png, options->size, options->margin, options->ecc)));
  Response response(context.arena, 200);
  response.fields.add_copy(FieldId::etag, etag);
  response.fields.add(FieldId::cache_control, "public, max-age=86400");
  response.fields.add(FieldId::x_content_type_options, "nosniff");
  if (http::evaluate(request, {.etag = etag, .last_modified = std::nullopt}, 0) == http::Verdict::not_modified) {
    response.status = 304;
    co_return response;
  }
  auto drawing = blocking([url, wanted = *options]() { return draw_qr(url, wanted); });
  Result<std::string> picture = co_await drawing;
  if (!picture) co_return not_drawn(picture.error(), context);
  response.fields.add(FieldId::content_type, png ? "image/png" : "image/svg+xml");
  response.fields.add(FieldId::content_security_policy, "default-src 'none'");
  response.body = http::Body(*std::move(picture));
  co_return response;
}

}  // namespace trellis::services::links
