#include "services/links/qr.h"

#include <gtest/gtest.h>
#include <qrencode.h>
#include <zlib.h>

#include <string>
#include <vector>

#include "services/links/link_json.h"
#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

constexpr std::string_view kUrl = "https://go.example.com/4fQ2xZk?qr";

uint32_t number_at(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

// The pixels of a PNG as we write it, row by row; each chunk's checksum is looked at.
std::vector<std::string> pixels_of(std::string_view png) {
  EXPECT_TRUE(png.starts_with("\x89PNG\r\n\x1a\n"));
  std::string data;
  uint32_t size = 0;
  std::vector<std::string> types;
  for (size_t at = 8; at < png.size();) {
    const uint32_t length = number_at(png, at);
    const std::string_view chunk = png.substr(at + 4, 4 + length);
    EXPECT_EQ(crc32(0, reinterpret_cast<const Bytef*>(chunk.data()), static_cast<uInt>(chunk.size())),
              number_at(png, at + 8 + length));
    types.emplace_back(chunk.substr(0, 4));
    if (types.back() == "IHDR") {
      size = number_at(png, at + 8);
      EXPECT_EQ(number_at(png, at + 12), size);
    }
    if (types.back() == "IDAT") data = chunk.substr(4);
    at += 12 + length;
  }
  EXPECT_EQ(types, (std::vector<std::string>{"IHDR", "IDAT", "IEND"}));
  const size_t row = 1 + (size + 7) / 8;
  std::string raw(row * size, '\0');
  uLongf got = raw.size();
  EXPECT_EQ(
      uncompress(reinterpret_cast<Bytef*>(raw.data()), &got, reinterpret_cast<const Bytef*>(data.data()), data.size()),
      Z_OK);
  EXPECT_EQ(got, raw.size());
  std::vector<std::string> rows;
  for (size_t y = 0; y < size; ++y) {
    std::string line;
    EXPECT_EQ(raw[y * row], 0);
    for (size_t x = 0; x < size; ++x) {
      const uint8_t byte = static_cast<uint8_t>(raw[y * row + 1 + x / 8]);
      line += (byte >> (7 - x % 8) & 1) != 0 ? ' ' : '#';
    }
    rows.push_back(line);
  }
  return rows;
}

TEST(Qr, APictureHasTheModulesOfTheCodeInItsMiddle) {
  QrOptions options;
  options.format = QrOptions::Format::png;
  options.size = 200;
  options.margin = 2;
  const Result<std::string> png = draw_qr(kUrl, options);
  ASSERT_TRUE(png) << png.error().to_string();
  const std::vector<std::string> rows = pixels_of(*png);
  ASSERT_EQ(rows.size(), 200u);
  QRcode* code = QRcode_encodeData(static_cast<int>(kUrl.size()), reinterpret_cast<const unsigned char*>(kUrl.data()),
                                   0, QR_ECLEVEL_M);
  ASSERT_NE(code, nullptr);
  const int pixels = 200 / (code->width + 4);
  const int before = (200 - pixels * (code->width + 4)) / 2 + 2 * pixels;
  for (int y = 0; y < 200; ++y) {
    for (int x = 0; x < 200; ++x) {
      const int mx = (x - before + 200 * pixels) / pixels - 200;
      const int my = (y - before + 200 * pixels) / pixels - 200;
      const bool inside = mx >= 0 && my >= 0 && mx < code->width && my < code->width;
      const bool dark = inside && (code->data[my * code->width + mx] & 1) != 0;
      ASSERT_EQ(rows[static_cast<size_t>(y)][static_cast<size_t>(x)], dark ? '#' : ' ') << x << "," << y;
    }
  }
  QRcode_free(code);
}

TEST(Qr, AVectorPictureSaysItsSize) {
  const Result<std::string> svg = draw_qr(kUrl, {});
  ASSERT_TRUE(svg);
  EXPECT_TRUE(svg->starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"300\" height=\"300\" viewBox=\"0 0 "))
      << *svg;
  EXPECT_EQ(*svg, *draw_qr(kUrl, {}));
  EXPECT_NE(*svg, *draw_qr(kUrl, {.ecc = 'H'}));
}

TEST(Qr, APictureTooSmallForItsModulesIsRefused) {
  const Result<std::string> small = draw_qr(kUrl, {.size = 32});
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().code(), Code::invalid_argument);
  EXPECT_EQ(small.error().side(), Side::client);
}

TEST(Qr, OptionsAreReadStrictly) {
  Arena arena;
  const auto good = read_qr_options("format=png&size=512&margin=0&ecc=Q", arena);
  ASSERT_TRUE(good);
  EXPECT_EQ(good->format, QrOptions::Format::png);
  EXPECT_EQ(good->size, 512);
  EXPECT_EQ(good->margin, 0);
  EXPECT_EQ(good->ecc, 'Q');
  EXPECT_TRUE(read_qr_options("", arena));
  for (const char* query :
       {"format=gif", "format=SVG", "size=31", "size=2049", "size=1e3", "size=", "size=+64", "margin=-1", "margin=33",
        "ecc=m", "ecc=", "ecc=LL", "size=64&size=64", "colour=red", "%zz"})
    EXPECT_FALSE(read_qr_options(query, arena)) << query;
  EXPECT_EQ(read_qr_options("colour=red", arena).error().field, "colour");
}

TEST(Qr, TheMarkIsOneOnlyAtTheBeginning) {
  const auto taken = [](std::string_view query) -> std::pair<bool, std::string_view> {
    const bool mark = take_qr_mark(query);
    return {mark, query};
  };
  using Taken = std::pair<bool, std::string_view>;
  EXPECT_EQ(taken("qr"), Taken(true, ""));
  EXPECT_EQ(taken("qr&a=1"), Taken(true, "a=1"));
  EXPECT_EQ(taken(""), Taken(false, ""));
  EXPECT_EQ(taken("qr=1"), Taken(false, "qr=1"));
  EXPECT_EQ(taken("qrs"), Taken(false, "qrs"));
  EXPECT_EQ(taken("a=1&qr"), Taken(false, "a=1&qr"));
}

class QrService : public ServiceTest {};

TEST_F(QrService, IsDrawnForLinksThatAreThereAndKeptByWhoAsked) {
  start();
  const std::string code = code_of("https://example.com/");
  const Answer svg = request("GET", "/" + code + ".qr");
  EXPECT_EQ(svg.status, 200);
  EXPECT_EQ(svg.field("Content-Type"), "image/svg+xml");
  EXPECT_EQ(svg.body, *draw_qr("https://go.example.com/" + code + "?qr", {}));
  const Answer again = request("GET", "/" + code + ".qr", {}, {{"If-None-Match", svg.field("ETag")}});
  EXPECT_EQ(again.status, 304);
  EXPECT_EQ(again.body, "");
  const Answer png = request("GET", "/" + code + ".qr?format=png&size=400");
  EXPECT_EQ(png.field("Content-Type"), "image/png");
  EXPECT_NE(png.field("ETag"), svg.field("ETag"));
  EXPECT_EQ(pixels_of(png.body).size(), 400u);
  EXPECT_EQ(request("GET", "/" + code + ".qr?size=33").json()["field"], "size");
  EXPECT_EQ(request("GET", "/nobody.qr").status, 404);
  EXPECT_EQ(request("DELETE", "/v1/links/" + code).status, 204);
  EXPECT_EQ(request("GET", "/" + code + ".qr").status, 410);
}

TEST_F(QrService, TheMarkOfAScanStaysHere) {
  start();
  const Answer made =
      request("POST", "/v1/links", R"({"url":"https://example.com/?a=1","alias":"scan","forward_query":true})");
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(request("GET", "/scan?qr").field("Location"), "https://example.com/?a=1");
  EXPECT_EQ(request("GET", "/scan?qr&b=2").field("Location"), "https://example.com/?a=1&b=2");
  EXPECT_EQ(request("GET", "/scan?qr=3").field("Location"), "https://example.com/?a=1&qr=3");
}

}  // namespace
}  // namespace trellis::services::links
