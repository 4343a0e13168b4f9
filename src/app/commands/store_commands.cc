#include "app/commands/store_commands.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <thread>

#include "app/commands/control_client.h"
#include "app/config.h"
#include "base/json.h"
#include "base/time.h"
#include "store/backup.h"
#include "store/file_lock.h"
#include "store/sqlite_connection.h"

namespace trellis::app {

namespace {

bool exists(const std::string& path) {
  struct stat about{};
  return ::stat(path.c_str(), &about) == 0;
}

// For one that is not there, or that cannot be looked at.
int missing(const std::string& path) { return failed(path + ": " + std::generic_category().message(errno)); }

constexpr double kMiB = 1024.0 * 1024.0;

std::string size_text(uint64_t bytes) {
  char text[32];
  const auto size = static_cast<double>(bytes);
  std::snprintf(text, sizeof text, size < kMiB ? "%.0f KiB" : "%.1f MiB", size / (size < kMiB ? 1024.0 : kMiB));
  return text;
}

// On stderr: over and over on one line of a terminal, elsewhere a line every ten seconds.
class Progress {
 public:
  explicit Progress(const char* what) : what_(what), terminal_(::isatty(STDERR_FILENO) == 1) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (printed_ && terminal_) std::fprintf(stderr, "\n");
  }
  void show(uint64_t done, uint64_t total) {
    const Time now = system_clock().now();
    if (now < next_ && (done < total || !printed_)) return;
    next_ = now + (terminal_ ? Duration(std::chrono::milliseconds(200)) : Duration(std::chrono::seconds(10)));
    printed_ = true;
    std::fprintf(stderr, "%s%s: %.0f of %.0f MiB%s", terminal_ ? "\r" : "", what_, static_cast<double>(done) / kMiB,
                 static_cast<double>(total) / kMiB, terminal_ ? "" : "\n");
  }

 private:
  const char* what_;
  bool terminal_;
  bool printed_ = false;
  Time next_ = system_clock().now() + std::chrono::seconds(1);  // a short copy needs none
};

// The path of the store's file; nothing after telling what is wrong.
std::optional<std::string> path_of(const StoreOptions& options) {
  const Result<LoadedConfig> config = load_config(options.config, {});
  if (!config) {
    failed(config.error().to_string());
    return std::nullopt;
  }
  const auto& stores = config->values.stores;
  if (const auto found = stores.find(options.store); found != stores.end())
    return store::behind_links(found->second.path);
  std::string known;
  for (const auto& [name, store] : stores) known += (known.empty() ? "" : ", ") + name;
  failed("no store \"" + options.store + "\" in " + config->source +
         "; there are: " + (known.empty() ? "none" : known));
  return std::nullopt;
}

// What to do about the frequent ones.
enum class Use : uint8_t { backup, restore, check };
int explain(const Error& error, const std::string& path, Use use) {
  std::string text = error.to_string();
  if (error.code() == Code::already_exists) {
    text +=
        use == Use::restore ? "; --force replaces it and keeps it as " + path + ".replaced" : "; --force replaces it";
  } else if (text.find("another process uses this store") != std::string::npos) {
    text += "; stop that node first";
    if (use == Use::backup) text += ", or let it make the copy: --running";
    if (use == Use::check) text += ", or check a copy that it makes: trellis store backup --running";
  }
  return failed(text);
}

int backup(const StoreOptions& options, const std::string& path) {
  if (!exists(path)) return errno == ENOENT ? failed(path + ": there is no such store yet") : missing(path);
  store::FileLock lock;
  if (const Result<void> taken = lock.take(path + ".lock"); !taken) return explain(taken.error(), path, Use::backup);
  store::SqliteConnection::Options how;
  how.path = path;
  how.read_only = true;
  const auto source = store::SqliteConnection::open(how);
  if (!source) return failed(path + ": " + source.error().to_string());
  Result<uint64_t> copied = 0;
  {
    Progress progress("copied");
    copied = store::copy(**source, options.file,
                         {.overwrite = options.force,
                          .progress =
                              [&](uint64_t done, uint64_t total) {
                                progress.show(done, total);
                                return true;
                              },
                          .vfs = {}});
  }
  if (!copied) return explain(copied.error(), path, Use::backup);
  std::printf("%s: copied to %s and checked, %s\n", path.c_str(), options.file.c_str(), size_text(*copied).c_str());
  return 0;
}

// Asked for once, then looked at until it has ended.
int backup_running(const StoreOptions& options) {
  ControlOptions node;
  node.control = options.control;
  auto answer = ask(node, "POST", "/v1/store/backup",
                    {{"store", options.store}, {"name", options.file}, {"force", options.force ? "true" : ""}});
  const std::string file = answer ? text_of(*answer, "file") : "";
  {
    Progress progress("copied");
    while (answer && text_of(*answer, "state") == "running" && text_of(*answer, "file") == file) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      answer = ask(node, "GET", "/v1/store/backup/state", {{"store", options.store}});
      if (answer && number_of(*answer, "total_bytes") > 0) {
        progress.show(static_cast<uint64_t>(number_of(*answer, "done_bytes")),
                      static_cast<uint64_t>(number_of(*answer, "total_bytes")));
      }
    }
  }
  if (!answer) return 1;
  if (text_of(*answer, "state") != "done" || text_of(*answer, "file") != file) {
    const std::string error = text_of(*answer, "error");
    const bool there = text_of(*answer, "error_code") == "already_exists";
    return failed((error.empty() ? "another copy was begun meanwhile" : error) +
                  (there ? "; --force replaces it" : ""));
  }
  std::printf("%s: copied to %s and checked, %s\n", options.store.c_str(), file.c_str(),
              size_text(static_cast<uint64_t>(number_of(*answer, "done_bytes"))).c_str());
  return 0;
}

int restore(const StoreOptions& options, const std::string& path) {
  if (!exists(options.file)) return missing(options.file);
  std::error_code made;
  if (const auto folder = std::filesystem::path(path).parent_path(); !folder.empty()) {
    ::umask(0027);  // as the node makes it
    std::filesystem::create_directories(folder, made);
  }
  if (made) return failed(path + ": " + made.message());
  const bool replaces = exists(path);
  Result<uint64_t> restored = 0;
  {
    Progress progress("restored");
    restored = store::restore(options.file, path,
                              {.overwrite = options.force,
                               .progress =
                                   [&](uint64_t done, uint64_t total) {
                                     progress.show(done, total);
                                     return true;
                                   },
                               .vfs = {}});
  }
  if (!restored) return explain(restored.error(), path, Use::restore);
  std::printf("%s: restored from %s and checked, %s\n", path.c_str(), options.file.c_str(),
              size_text(*restored).c_str());
  if (replaces) std::printf("what was there is kept as %s.replaced\n", path.c_str());
  return 0;
}

void print_json(const std::string& path, const store::Inspection& found) {
  std::string text;
  JsonWriter writer(text);
  writer.begin_object()
      .member("ok", found.problems.empty())
      .member("file", path)
      .member("bytes", found.file_bytes)
      .member("wal_bytes", found.wal_bytes)
      .member("free_bytes", found.free_bytes);
  writer.key("migrations").begin_array();
  for (const auto& one : found.migrations) {
    writer.begin_object()
        .member("space", one.space)
        .member("version", one.version)
        .member("name", one.name)
        .member("applied_at", one.applied_at)
        .end_object();
  }
  writer.end_array().key("problems").begin_array();
  for (const std::string& problem : found.problems) writer.value(problem);
  writer.end_array().end_object();
  std::printf("%s\n", text.c_str());
}

int check_store(const StoreOptions& options, const std::string& path) {
  if (!exists(path)) return missing(path);
  store::FileLock lock;
  if (options.file.empty()) {
    if (const Result<void> taken = lock.take(path + ".lock"); !taken) return explain(taken.error(), path, Use::check);
  }
  const Result<store::Inspection> found = store::inspect(path);
  if (!found) return failed(found.error().to_string());
  const bool whole = found->problems.empty();
  if (options.json) {
    print_json(path, *found);
    return whole ? 0 : 1;
  }
  const char* verdict = whole ? "whole" : found->is_store ? "DAMAGED" : "NO STORE";
  std::printf("%s: %s\n", path.c_str(), verdict);
  for (const std::string& problem : found->problems) std::printf("  %s\n", problem.c_str());
  std::printf("  file %s, of which free %s; WAL %s\n", size_text(found->file_bytes).c_str(),
              size_text(found->free_bytes).c_str(), size_text(found->wal_bytes).c_str());
  for (const auto& one : found->migrations) {
    std::printf("  schema of %s: version %lld, %s\n", one.space.c_str(), static_cast<long long>(one.version),
                one.name.c_str());
  }
  return whole ? 0 : 1;
}

}  // namespace

int store_command(std::string_view verb, const StoreOptions& options) {
  if (verb == "backup" && options.running) return backup_running(options);
  const std::optional<std::string> path = path_of(options);
  if (!path) return 1;
  if (verb == "backup") return backup(options, *path);
  if (verb == "restore") return restore(options, *path);
  return check_store(options, options.file.empty() ? *path : options.file);
}

}  // namespace trellis::app
