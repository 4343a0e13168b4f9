// A fixed answer: status, fields and a small body, all built when the configuration is read. Nothing suspends, nothing
// is copied but field views. One instance a core, because the body's bytes are counted without atomics; it outlives its
// exchanges.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/chunk.h"
#include "config/fields.h"
#include "http/handler.h"

namespace trellis::proxy {

struct FixedConfig {
  int status = 200;
  std::string body;
  std::optional<std::string> file;  // read once, when the node starts
  std::string content_type = "text/plain; charset=utf-8";
  std::vector<std::pair<std::string, std::string>> headers;
  static config::Fields<FixedConfig> fields();
  void check(config::Checker& at) const;
};

class FixedTarget final : public http::Handler {
 public:
  static constexpr size_t kMaxFile = 4 << 20;

  // Reads the file if there is one: at start or in the blocking pool. Fails when it cannot be read or is too large.
  static Result<std::unique_ptr<FixedTarget>> make(const FixedConfig& config);
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;

 private:
  FixedTarget() = default;

  struct Line {
    std::string name;
    std::string value;
    http::FieldId id;
  };
  int status_ = 200;
  bool bodiless_ = false;  // 204, 304: neither body nor type
  Chunk body_;
  std::string length_;
  std::vector<Line> lines_;
};

}  // namespace trellis::proxy
