#include "proxy/fixed_target.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "proxy/field_rules.h"

namespace trellis::proxy {

config::Fields<FixedConfig> FixedConfig::fields() {
  return {{"status", "status of the answer", &FixedConfig::status, config::range(200, 599)},
          {"body", "text of the answer", &FixedConfig::body},
          {"file", "a file that holds the body, at most 4 MiB; read once at start", &FixedConfig::file},
          {"content_type", "media type of the body", &FixedConfig::content_type},
          {"headers", "further fields", &FixedConfig::headers}};
}

void FixedConfig::check(config::Checker& at) const {
  at.at_most_one({"body", "file"});
  if (!is_field_value(content_type)) at.problem("content_type", "control characters are not allowed");
  if ((status == 204 || status == 304) && (!body.empty() || file))
    at.problem("status", "an answer with this status has no body");
  for (const auto& [name, value] : headers) {
    const std::string path = config::path_step("headers", name);
    if (const char* reason = field_refusal(name)) {
      at.problem(path, reason);
    } else if (!is_field_value(value)) {
      at.problem(path, "control characters are not allowed");
    }
  }
}

namespace {

Result<std::string> read_file(const std::string& path) {
  http::FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.fd() < 0) return fail(errno_error(path, errno));
  struct stat info{};
  if (::fstat(file.fd(), &info) != 0) return fail(errno_error(path, errno));
  if (!S_ISREG(info.st_mode)) return fail(Code::invalid_argument, path + ": no regular file");
  if (static_cast<uint64_t>(info.st_size) > FixedTarget::kMaxFile)
    return fail(Code::invalid_argument, path + ": larger than 4 MiB");
  std::string text(static_cast<size_t>(info.st_size), '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t n = ::pread(file.fd(), text.data() + have, text.size() - have, static_cast<off_t>(have));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno_error(path, errno));
    if (n == 0) return fail(Code::aborted, path + ": changed while it was read");
    have += static_cast<size_t>(n);
  }
  return text;
}

}  // namespace

Result<std::unique_ptr<FixedTarget>> FixedTarget::make(const FixedConfig& config) {
  std::unique_ptr<FixedTarget> target(new FixedTarget);
  target->status_ = config.status;
  target->bodiless_ = config.status == 204 || config.status == 304;
  std::string body = config.body;
  if (config.file) {
    TRY(body, read_file(*config.file));
  }
  target->length_ = std::to_string(body.size());
  if (!body.empty()) target->lines_.push_back({"Content-Type", config.content_type, http::FieldId::content_type});
  target->body_ = Chunk::from_string(std::move(body));
  for (const auto& [name, value] : config.headers) {
    const http::FieldId id = http::field_id(name);
    // A Content-Type among the headers is the more explicit one.
    if (id == http::FieldId::content_type && !target->lines_.empty() && target->lines_[0].id == id) {
      target->lines_[0].value = value;
    } else {
      target->lines_.push_back({name, value, id});
    }
  }
  return target;
}

Task<Result<http::Response>> FixedTarget::handle(http::Request& request, http::RequestContext& context) {
  http::Response response(context.arena, status_);
  for (const Line& line : lines_) response.fields.add({line.name, line.value, line.id});
  if (request.method == http::Method::head) {
    if (!bodiless_) response.fields.add(http::FieldId::content_length, length_);
  } else {
    response.body = http::Body(body_);
  }
  co_return response;
}

}  // namespace trellis::proxy
