#include "app/commands/links_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "app/commands/answer_json.h"
#include "app/commands/http_call.h"
#include "base/time.h"

namespace trellis::app {

using nlohmann::json;

namespace {

constexpr double kMiB = 1024.0 * 1024.0;
constexpr size_t kMaxLine = 1 << 20;  // of an answer
constexpr int kProblemsShown = 20;

// A file, or one of the standard streams, closed when done.
class Descriptor {
 public:
  explicit Descriptor(int fd, bool owned) noexcept : fd_(fd), owned_(owned) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { (void)close(); }
  int fd() const noexcept { return fd_; }
  // False: what was written last may not be in the file.
  bool close() noexcept {
    if (fd_ < 0 || !owned_) return true;
    return ::close(std::exchange(fd_, -1)) == 0;
  }

 private:
  int fd_;
  bool owned_;
};

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(errno_error("write", errno));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

// On one line of a terminal, over and over; elsewhere nothing.
class ImportProgress {
 public:
  explicit ImportProgress(uint64_t total) : total_(total), terminal_(::isatty(STDERR_FILENO) == 1) {}
  ImportProgress(const ImportProgress&) = delete;
  ImportProgress& operator=(const ImportProgress&) = delete;
  ~ImportProgress() { clear(); }

  void show(const json& counts) {
    if (!terminal_) return;
    const double rows = number_of(counts, "rows");
    const double done = number_of(counts, "bytes");
    const double spent = std::max(number_of(counts, "seconds"), 1e-3);
    std::fprintf(stderr, "\r%.0f rows, %.1f MiB, %.0f rows/s", rows, done / kMiB, rows / spent);
    if (total_ > 0 && done > 0) {
      const double whole = static_cast<double>(total_);
      std::fprintf(stderr, ", %.0f %%, %.0f s left", 100 * done / whole, spent * std::max(whole / done - 1, 0.0));
    }
    std::fprintf(stderr, "\033[K");
    shown_ = true;
  }
  void clear() {
    if (std::exchange(shown_, false)) std::fprintf(stderr, "\r\033[K");
  }

 private:
  uint64_t total_;
  bool terminal_;
  bool shown_ = false;
};

// The lines of an import's answer, one by one.
class ImportReport {
 public:
  ImportReport(std::string name, int report, ImportProgress& progress)
      : name_(std::move(name)), report_(report), progress_(progress) {}

  Result<void> take(std::string_view piece) {
    while (!piece.empty()) {
      const size_t end = piece.find('\n');
      if (partial_.size() + std::min(end, piece.size()) > kMaxLine)
        return fail(Code::data_loss, "the answer has a line without an end");
      partial_.append(piece.substr(0, end));
      if (end == std::string_view::npos) return {};
      piece.remove_prefix(end + 1);
      TRY_VOID(take_line());
      partial_.clear();
    }
    return {};
  }
  const json& total() const noexcept { return total_; }

 private:
  Result<void> take_line() {
    // Rows that went well are many, and of no interest but to the report.
    const bool row = partial_.starts_with("{\"line\"");
    if (row && report_ >= 0) {
      TRY_VOID(write_all(report_, partial_ + "\n"));
    }
    if (row && partial_.find("\"problem\"") == std::string::npos) return {};
    const json line = json::parse(partial_, nullptr, false);
    if (row && report_ < 0 && text_of(line, "result") == "problem") show_problem(line);
    if (line.is_object() && line.contains("progress")) progress_.show(line["progress"]);
    if (line.is_object() && line.contains("total")) total_ = line["total"];
    return {};
  }

  void show_problem(const json& line) {
    if (++problems_ > kProblemsShown) return;
    progress_.clear();
    const std::string field = text_of(line, "field");
    std::fprintf(stderr, "%s:%.0f:%.0f: %s%s%s\n", name_.c_str(), number_of(line, "line"), number_of(line, "column"),
                 field.c_str(), field.empty() ? "" : ": ", text_of(line, "detail").c_str());
    if (problems_ == kProblemsShown) std::fprintf(stderr, "further problems are not shown; --report FILE has all\n");
  }

  std::string name_;
  int report_;
  ImportProgress& progress_;
  std::string partial_;
  json total_;
  int problems_ = 0;
};

int cannot(const char* what, const std::string& file) {
  return failed(std::string("cannot ") + what + " " + file + ": " + std::strerror(errno));
}

void add_key(Call& call, const LinksOptions& options) {
  if (!options.key.empty()) call.fields.emplace_back("x-api-key", options.key);
}

}  // namespace

int import_links(const LinksOptions& options) {
  const bool standard = options.file == "-";
  const Descriptor source(standard ? STDIN_FILENO : ::open(options.file.c_str(), O_RDONLY | O_CLOEXEC), !standard);
  if (source.fd() < 0) return cannot("read", options.file);
  struct stat about{};
  const bool told = ::fstat(source.fd(), &about) == 0;
  if (told && S_ISDIR(about.st_mode)) {
    errno = EISDIR;
    return cannot("read", options.file);
  }
  const bool known = told && S_ISREG(about.st_mode);
  const bool has_report = !options.report.empty();
  Descriptor report(has_report ? ::open(options.report.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1,
                    true);
  if (has_report && report.fd() < 0) return cannot("write", options.report);

  Call request{.method = "POST", .url = url_at(options.node, "/v1/imports?on_conflict=" + options.on_conflict)};
  request.url += "&format=" + (options.format.empty() ? std::string("auto") : options.format);
  if (!options.domain.empty()) request.url += "&domain=" + percent_encoded(options.domain);
  request.url += has_report ? "&report=all" : "&report=problems";
  if (options.dry_run) request.url += "&dry_run=true";
  if (options.find_existing) request.url += "&find_existing=true";
  request.content_type = "application/octet-stream";
  add_key(request, options);

  ImportProgress progress(known ? static_cast<uint64_t>(about.st_size) : 0);
  ImportReport rows(standard ? "standard input" : options.file, report.fd(), progress);
  const Streams streams{
      .source = source.fd(), .sent = {}, .take = [&rows](std::string_view piece) { return rows.take(piece); }};
  const Result<CallAnswer> answer = call_streaming(request, streams);
  progress.clear();
  if (!is_good(answer)) return 1;
  if (!report.close()) return cannot("write", options.report);
  const json& total = rows.total();
  if (!total.is_object()) return failed("the answer of the node broke off; send the file again to go on");
  if (options.json) {
    std::printf("%s\n", total.dump(2).c_str());
  } else {
    const double spent = number_of(total, "seconds");
    std::printf("%s%.0f rows in %.1f s: %.0f made, %.0f exist, %.0f skipped, %.0f failed\n",
                options.dry_run ? "dry run, nothing written: " : "", number_of(total, "rows"), spent,
                number_of(total, "made"), number_of(total, "exists"), number_of(total, "skipped"),
                number_of(total, "failed"));
  }
  if (total.contains("problem")) return failed(text_of(total["problem"], "detail"));
  return number_of(total, "failed") > 0 || total.value("complete", json()) != true ? 1 : 0;
}

int export_links(const LinksOptions& options) {
  const bool standard = options.file.empty() || options.file == "-";
  std::string format = options.format;
  if (format.empty()) {
    const bool ndjson = options.file.ends_with(".ndjson") || options.file.ends_with(".jsonl") || options.json;
    format = ndjson ? "ndjson" : "csv";
  }
  // The name is that of a whole file only.
  const std::string part = options.file + ".part";
  Descriptor out(standard ? STDOUT_FILENO : ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644),
                 !standard);
  if (out.fd() < 0) return cannot("write", part);
  Call request{.url = url_at(options.node, "/v1/exports?format=" + format)};
  if (!options.domain.empty()) request.url += "&domain=" + percent_encoded(options.domain);
  add_key(request, options);
  uint64_t lines = 0;
  const Streams streams{.source = -1, .sent = {}, .take = [&](std::string_view piece) {
                          lines += static_cast<uint64_t>(std::count(piece.begin(), piece.end(), '\n'));
                          return write_all(out.fd(), piece);
                        }};
  const Result<CallAnswer> answer = call_streaming(request, streams);
  const bool good = is_good(answer);
  if (!standard && (!good || !out.close())) {
    std::error_code ignored;
    std::filesystem::remove(part, ignored);
    return good ? cannot("write", part) : 1;
  }
  if (!good) return 1;
  if (standard) return 0;
  if (::rename(part.c_str(), options.file.c_str()) != 0) return cannot("write", options.file);
  const uint64_t links = format == "ndjson" ? lines : lines - std::min<uint64_t>(lines, 1);
  if (options.json) {
    std::printf("%s\n", json{{"file", options.file}, {"format", format}, {"links", links}}.dump(2).c_str());
  } else {
    std::printf("%llu links in %s\n", static_cast<unsigned long long>(links), options.file.c_str());
  }
  return 0;
}

}  // namespace trellis::app
