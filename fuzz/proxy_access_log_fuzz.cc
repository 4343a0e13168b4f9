// Foreign text in a line of the access log: always one line, JSON where it should be, and no value of "token" in it.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/arena.h"
#include "base/file_writer.h"
#include "http/handler.h"
#include "http/message.h"
#include "proxy/access_log.h"

using namespace trellis;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  alignas(64) static char place[64];
  static const proxy::AccessLog json({.max_path = 300, .max_value = 100}, "node", nullptr);
  static const proxy::AccessLog combined({.format = proxy::AccessLogConfig::Format::combined}, "node", nullptr);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Arena arena;
  http::Request request(arena);
  http::RequestContext context{.arena = arena, .loop = reinterpret_cast<runtime::Loop&>(place), .started = Time{}};
  const std::string secret = std::string(text.substr(0, 150)) + "&token=S3CR3T!&";
  request.method_text = text;
  request.path = text;
  request.query = secret;
  request.fields.add(http::FieldId::user_agent, text.substr(size / 2));
  request.fields.add(http::FieldId::referer, text);
  const proxy::AccessRecord record{.request = request, .context = context};
  const std::string line = json.line(record);
  if (line.find('\n') != line.size() - 1 || !nlohmann::json::accept(line)) std::abort();
  const std::string plain = combined.line(record);
  if (plain.find('\n') != plain.size() - 1) std::abort();
  if (text.find("S3CR3T!") == std::string_view::npos &&
      (line.find("S3CR3T!") != std::string::npos || plain.find("S3CR3T!") != std::string::npos)) {
    std::abort();
  }
  return 0;
}
