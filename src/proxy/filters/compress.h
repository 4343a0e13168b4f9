// compress: encodes answers by what the client accepts (zstd, br, gzip). Only what gains by it: listed media types,
// from a size on, not encoded already, without no-transform, not ranges. A strong ETag becomes weak, because the bytes
// differ by encoding; Vary says so to caches. HEAD gets the fields GET would get. Small bodies are encoded at once, all
// others while they are sent (proxy/compressed_body.h). One instance a route and core; immutable.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/fields.h"
#include "proxy/accept_encoding.h"
#include "proxy/filter.h"

namespace trellis::proxy {

struct CompressLevels {
  int zstd = 3;
  int br = 4;
  int gzip = 5;
  static config::Fields<CompressLevels> fields();
};

struct CompressConfig {
  std::vector<Encoding> encodings = {Encoding::zstd, Encoding::br, Encoding::gzip};
  uint64_t min_size = 1024;
  std::vector<std::string> types;  // none: the built-in list
  CompressLevels levels;
  static config::Fields<CompressConfig> fields();
  void check(config::Checker& at) const;
};

class CompressFilter final : public Filter {
 public:
  static constexpr uint64_t kAtOnce = 64 << 10;

  explicit CompressFilter(const CompressConfig& config);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override;

 private:
  // Why an answer is left as it is; "": it may be encoded.
  std::string_view reason_to_leave(const http::Response& response, bool head) const;
  // Of them what its kind says, whatever its status and size.
  std::string_view reason_to_leave(const http::Fields& fields) const;
  bool takes_type(std::string_view content_type) const;
  int level_of(Encoding encoding) const noexcept;

  std::vector<Encoding> encodings_;
  uint64_t min_size_;
  std::vector<std::string> types_;  // lower case: "text/html", "text/*"
  CompressLevels levels_;
};

}  // namespace trellis::proxy
