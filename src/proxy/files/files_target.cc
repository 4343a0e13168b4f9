#include "proxy/files/files_target.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "http/multipart.h"
#include "http/preconditions.h"
#include "http/ranges.h"
#include "proxy/field_rules.h"
#include "proxy/files/file_body.h"
#include "proxy/files/mime.h"
#include "proxy/refusal.h"
#include "runtime/loop.h"

namespace trellis::proxy {

namespace {

using http::FieldId;
using http::Method;

constexpr std::string_view kMethods = "GET, HEAD, OPTIONS";
constexpr std::string_view kForEver = "public, max-age=31536000, immutable";

std::string_view decimal(uint64_t value, Arena& arena) {
  char text[20];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return arena.copy({text, static_cast<size_t>(end - text)});
}

http::Response not_found(http::RequestContext& context) { return refuse(context, 404, "not_found"); }

// To the directory's own form. Relative ("./docs/?a=b"), so that it is right behind a rewritten prefix and can never
// name another host.
http::Response to_directory(const http::Request& request, http::RequestContext& context) {
  const std::string_view name = request.path.substr(request.path.rfind('/') + 1);
  http::Response response(context.arena, 308);
  const std::string_view location = request.query.empty() ? context.arena.concat({"./", name, "/"})
                                                          : context.arena.concat({"./", name, "/?", request.query});
  response.fields.add(FieldId::location, location);
  return response;
}

http::Body slice_of(const OpenFile& file, http::ByteRange range) {
  if (file.handle) return http::FileSlice{file.handle, range.first, range.size()};
  return file.content.slice(range.first, range.size());
}

}  // namespace

config::Fields<FilesConfig> FilesConfig::fields() {
  return {
      {"root", "the directory that is served", &FilesConfig::root, config::kRequired},
      {"index", "files tried for a directory, in this order", &FilesConfig::index},
      {"precompressed", "encodings looked for beside a file as .br, .zst and .gz, best first",
       &FilesConfig::precompressed,
       config::one_of<Encoding>(
           {{"br", Encoding::br}, {"zstd", Encoding::zstd}, {"zst", Encoding::zstd}, {"gzip", Encoding::gzip}})},
      {"immutable", "path patterns of files that never change, such as /assets/**", &FilesConfig::immutable},
      {"hashed_names_immutable", "files whose name holds a content hash never change",
       &FilesConfig::hashed_names_immutable},
      {"cache_control", "Cache-Control of all other files", &FilesConfig::cache_control,
       config::default_is("no-cache for HTML, none for the rest")},
      {"fallback", "the file that stands in for what is not there, such as index.html of an application in the browser",
       &FilesConfig::fallback, config::default_is("none: 404")}};
}

void FilesConfig::check(config::Checker& at) const {
  for (size_t i = 0; i < index.size(); ++i) {
    if (index[i].empty() || index[i].front() == '.' || index[i].find('/') != std::string::npos)
      at.problem("index[" + std::to_string(i) + "]", "is no plain file name");
  }
  for (size_t i = 0; i < precompressed.size(); ++i) {
    if (std::find(precompressed.begin(), precompressed.begin() + static_cast<ptrdiff_t>(i), precompressed[i]) !=
        precompressed.begin() + static_cast<ptrdiff_t>(i))
      at.problem("precompressed[" + std::to_string(i) + "]", "is written twice");
  }
  for (size_t i = 0; i < immutable.size(); ++i) {
    const Result<PathPattern> pattern = PathPattern::parse(immutable[i]);
    if (!pattern) at.problem("immutable[" + std::to_string(i) + "]", pattern.error().what());
  }
  std::string file;
  if (!fallback.empty() &&
      (fallback.front() == '/' || fallback.back() == '/' || decode_file_path("/" + fallback, file) != PathFault::none))
    at.problem("fallback", "is no file below the root", "index.html, or app/index.html");
  if (!is_field_value(cache_control)) at.problem("cache_control", "control characters are not allowed");
}

bool has_content_hash(std::string_view file_name) noexcept {
  size_t length = 0;
  bool digit = false;
  bool letter = false;
  bool all_hex = true;
  const auto is_hash = [&] { return all_hex && length >= 8 && digit && letter; };
  for (const char c : file_name) {
    if (c == '.' || c == '-' || c == '_') {
      if (is_hash()) return true;
      length = 0;
      digit = letter = false;
      all_hex = true;
      continue;
    }
    ++length;
    if (c >= '0' && c <= '9') {
      digit = true;
    } else if (const char low = static_cast<char>(c | 0x20); low >= 'a' && low <= 'f') {
      letter = true;
    } else {
      all_hex = false;
    }
  }
  return is_hash();
}

Result<std::unique_ptr<FilesTarget>> FilesTarget::make(const FilesConfig& config, OpenFiles::Options options) {
  const http::FileHandle root(::open(config.root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root.fd() < 0) return fail(errno_error("files: root '" + config.root + "'", errno));
  std::unique_ptr<FilesTarget> target(new FilesTarget);
  target->index_ = config.index;
  for (const std::string& text : config.immutable) {
    TRY(PathPattern pattern, PathPattern::parse(text));
    target->immutable_.push_back(std::move(pattern));
  }
  target->hashed_names_immutable_ = config.hashed_names_immutable;
  target->cache_control_ = config.cache_control;
  target->fallback_ = config.fallback;
  options.precompressed = config.precompressed;
  target->files_ = std::make_unique<OpenFiles>(config.root, std::move(options),
                                               [self = target.get()](OpenPath& path) { self->describe(path); });
  return target;
}

void FilesTarget::describe(OpenPath& path) const {
  const std::string_view name = std::string_view(path.name).substr(path.name.rfind('/') + 1);
  path.content_type = mime_type(name);
  const bool html = path.content_type.starts_with("text/html");
  const std::string full = "/" + path.name;
  const bool listed =
      std::any_of(immutable_.begin(), immutable_.end(), [&](const PathPattern& each) { return each.matches(full); });
  if (listed || (hashed_names_immutable_ && !html && has_content_hash(name))) {
    path.cache_control = kForEver;
  } else if (!cache_control_.empty()) {
    path.cache_control = cache_control_;
  } else if (html) {
    path.cache_control = "no-cache";
  }
}

Task<Result<http::Response>> FilesTarget::handle(http::Request& request, http::RequestContext& context) {
  if (request.method != Method::get && request.method != Method::head) {
    if (request.method == Method::options) {
      http::Response response(context.arena, 204);
      response.fields.add(FieldId::allow, kMethods);
      co_return response;
    }
    http::Response response = refuse(context, 405, "method_not_allowed");
    response.fields.set(FieldId::allow, kMethods);
    co_return response;
  }
  // What is known under a path was checked when it was opened.
  if (const OpenPath* known = files_->find(request.path, context.loop.now()))
    co_return answer(*known, request, context);

  std::string file;
  switch (decode_file_path(request.path, file)) {
    case PathFault::none: break;
    case PathFault::not_found: co_return not_found(context);
    case PathFault::bad: co_return refuse(context, 400, "bad_path");
  }
  std::vector<std::string> candidates;
  if (file.empty() || file.back() == '/') {
    for (const std::string& index : index_) candidates.push_back(file + index);
  } else {
    candidates.push_back(std::move(file));
  }
  if (!fallback_.empty()) candidates.push_back(fallback_);
  Result<std::shared_ptr<const OpenPath>> opened =
      co_await files_->open(std::string(request.path), std::move(candidates));
  if (opened) co_return answer(**opened, request, context);
  if (opened.error().code() == Code::not_found) co_return not_found(context);
  if (opened.error().code() == Code::permission_denied) co_return refuse(context, 403, "forbidden");
  co_return fail(std::move(opened).error());
}

http::Response FilesTarget::answer(const OpenPath& path, const http::Request& request, http::RequestContext& context) {
  if (path.directory) {
    // A directory named like an index file is no page.
    if (request.path.ends_with('/')) return not_found(context);
    return to_directory(request, context);
  }
  Arena& arena = context.arena;
  const Encoding encoding = path.encodings.empty()
                                ? Encoding::identity
                                : choose_encoding(request.fields.joined(FieldId::accept_encoding), path.encodings);
  const OpenFile& file = *path.files[static_cast<size_t>(encoding)];
  const int64_t now = unix_seconds(context.loop.wall());
  // The file may be forgotten before the answer is written, so its texts are copied.
  const std::string_view etag = arena.copy(file.etag);
  const http::Validators validators{etag, file.identity.modified_s};

  http::Response response(arena, 200);
  http::Fields& fields = response.fields;
  fields.add(FieldId::etag, etag);
  fields.add(FieldId::last_modified, arena.copy(file.last_modified));
  if (!path.cache_control.empty()) fields.add(FieldId::cache_control, path.cache_control);
  if (!path.encodings.empty()) fields.add(FieldId::vary, "Accept-Encoding");
  switch (http::evaluate(request, validators, now)) {
    case http::Verdict::proceed: break;
    case http::Verdict::not_modified: response.status = 304; return response;
    case http::Verdict::failed: return refuse(context, 412, "precondition_failed");
  }
  fields.add(FieldId::content_type, path.content_type);
  fields.add(FieldId::x_content_type_options, "nosniff");
  fields.add(FieldId::accept_ranges, "bytes");
  if (encoding != Encoding::identity) fields.add(FieldId::content_encoding, to_string(encoding));

  if (request.method == Method::head) {
    fields.add(FieldId::content_length, decimal(file.size, arena));
    return response;
  }
  if (const auto range = request.fields.find(FieldId::range);
      range && request.fields.count(FieldId::range) == 1 && http::if_range_allows(request, validators, now)) {
    http::RangePlan plan = http::plan_ranges(*range, file.size);
    const std::string_view size = decimal(file.size, arena);
    if (plan.kind == http::RangePlan::Kind::unsatisfiable) {
      http::Response refusal = refuse(context, 416, "range_not_satisfiable");
      refusal.fields.set(FieldId::content_range, arena.concat({"bytes */", size}));
      return refusal;
    }
    if (plan.kind == http::RangePlan::Kind::partial) {
      response.status = 206;
      if (plan.ranges.size() == 1) {
        const http::ByteRange only = plan.ranges[0];
        fields.add(FieldId::content_range,
                   arena.concat({"bytes ", decimal(only.first, arena), "-", decimal(only.last, arena), "/", size}));
        response.body = slice_of(file, only);
        return response;
      }
      std::string boundary = http::multipart_boundary(context.loop.rng());
      fields.set(FieldId::content_type, arena.concat({"multipart/byteranges; boundary=", boundary}));
      response.body = http::Body(std::make_unique<MultipartBody>(http::FileSlice{file.handle, 0, file.size},
                                                                 file.content, std::move(plan.ranges),
                                                                 path.content_type, std::move(boundary), file.size));
      return response;
    }
  }
  if (file.size > 0) response.body = slice_of(file, {0, file.size - 1});
  return response;
}

}  // namespace trellis::proxy
