// Answers from the files below a directory: validators and conditional requests, ranges, index files, files that lie
// compressed beside the plain one, long caching of names that hold a content hash. A hot small file is answered from
// memory without suspending; a large one goes out as a FileSlice. docs/files.md says it for users. One instance a core:
// it owns an OpenFiles.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/fields.h"
#include "http/handler.h"
#include "proxy/files/open_files.h"
#include "proxy/path_pattern.h"

namespace trellis::proxy {

struct FilesConfig {
  std::string root;
  std::vector<std::string> index = {"index.html"};
  std::vector<Encoding> precompressed;
  std::vector<std::string> immutable;  // path patterns
  bool hashed_names_immutable = true;
  std::string cache_control;  // "": no-cache for HTML, none for the rest
  std::string fallback;       // "": 404
  static config::Fields<FilesConfig> fields();
  void check(config::Checker& at) const;
};

class FilesTarget final : public http::Handler {
 public:
  // Fails when the root is no directory. `options.precompressed` is taken from the config.
  static Result<std::unique_ptr<FilesTarget>> make(const FilesConfig& config, OpenFiles::Options options = {});

  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override;
  const OpenFiles& files() const noexcept { return *files_; }

 private:
  FilesTarget() = default;
  http::Response answer(const OpenPath& path, const http::Request& request, http::RequestContext& context);
  void describe(OpenPath& path) const;

  std::vector<std::string> index_;
  std::vector<PathPattern> immutable_;
  bool hashed_names_immutable_ = true;
  std::string cache_control_;
  std::string fallback_;
  std::unique_ptr<OpenFiles> files_;
};

// Does the name hold a token of 8 or more hex digits with both a letter and a digit among them: app.3f2a9c1d.js? A date
// (report-20240131.pdf) or a word (facade.js) is none.
bool has_content_hash(std::string_view file_name) noexcept;

}  // namespace trellis::proxy
