#include "store/backup.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <utility>

#include "store/file_lock.h"
#include "store/sqlite_connection.h"

namespace trellis::store {

namespace {

constexpr int kMaxProblems = 20;
constexpr uint64_t kPage = 4096;  // SQLite's default, which no store changes
// Written back as the copy goes on: one flush of gigabytes at its end would hold up the commits of the store beside it.
constexpr uint64_t kFlushBytes = uint64_t{8} << 20;

Error refused(Code code, std::string what) { return Error(code, std::move(what)).from(Side::self); }
Error os_error(const std::string& what) { return errno_error(what, errno).from(Side::self); }

bool exists(const std::string& path) noexcept {
  struct stat about{};
  return ::lstat(path.c_str(), &about) == 0;
}

uint64_t size_of(const std::string& path) noexcept {
  struct stat about{};
  return ::stat(path.c_str(), &about) == 0 ? static_cast<uint64_t>(about.st_size) : 0;
}

bool is_file(const std::string& path) noexcept {
  struct stat about{};
  return ::stat(path.c_str(), &about) != 0 || S_ISREG(about.st_mode);  // a missing one is told when it is opened
}

bool same_file(const std::string& one, const std::string& other) noexcept {
  struct stat a{};
  struct stat b{};
  return ::stat(one.c_str(), &a) == 0 && ::stat(other.c_str(), &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// A name is on disk only when its folder is.
Result<void> sync_folder_of(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail(os_error("open " + folder));
  const bool synced = ::fsync(fd) == 0;
  const int err = errno;
  ::close(fd);
  if (!synced) return fail(errno_error("sync " + folder, err).from(Side::self));
  return {};
}

Result<void> rename_durably(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return fail(os_error("rename " + from));
  return sync_folder_of(to);
}

// The file under its temporary name. Gone with this object unless it was kept.
class PartFile {
 public:
  explicit PartFile(std::string path) : path_(std::move(path)) {}
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  ~PartFile() {
    if (fd_ < 0) return;
    if (!kept_) ::unlink(path_.c_str());
    ::close(fd_);
  }
  // Empty, whatever an earlier copy left, and readable by its owner only: a store holds keys.
  Result<void> open() {
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return fail(os_error("open " + path_));
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      ::close(fd);
      return fail(refused(Code::failed_precondition, path_ + ": another copy is on its way here"));
    }
    fd_ = fd;
    if (::ftruncate(fd, 0) != 0) return fail(os_error("empty " + path_));
    return {};
  }
  Result<void> flush() const {
    if (::fsync(fd_) != 0) return fail(os_error("sync " + path_));
    return {};
  }
  Result<void> keep_as(const std::string& name) {
    TRY_VOID(rename_durably(path_, name));
    kept_ = true;
    return {};
  }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  bool kept_ = false;
};

Error sqlite_error(sqlite3* db, int code, const std::string& what) {
  const int kind = code & 0xff;
  const Code ours = kind == SQLITE_FULL || kind == SQLITE_NOMEM       ? Code::resource_exhausted
                    : kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB ? Code::data_loss
                                                                      : Code::unavailable;
  return refused(ours, what + ": " + (db ? sqlite3_errmsg(db) : sqlite3_errstr(code)));
}

// The copy's side. Not a SqliteConnection: it has no WAL, and no journal, since a copy that breaks off is thrown away.
class Target {
 public:
  Target() noexcept = default;
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  ~Target() { sqlite3_close_v2(db_); }
  Result<void> open(const std::string& path, const std::string& vfs, const char* pragmas) {
    const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE;
    int code = sqlite3_open_v2(path.c_str(), &db_, flags, vfs.empty() ? nullptr : vfs.c_str());
    if (code == SQLITE_OK) code = sqlite3_exec(db_, pragmas, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) return fail(sqlite_error(db_, code, path));
    return {};
  }
  sqlite3* db() const noexcept { return db_; }

 private:
  sqlite3* db_ = nullptr;
};

Result<void> copy_pages(SqliteConnection& source, const PartFile& part, const CopyOptions& options) {
  Target target;
  TRY_VOID(target.open(part.path(), options.vfs,
                       "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-2048"));
  sqlite3_backup* backup = sqlite3_backup_init(target.db(), "main", source.handle(), "main");
  if (!backup) return fail(sqlite_error(target.db(), sqlite3_errcode(target.db()), part.path()));
  uint64_t flushed = 0;
  bool stopped = false;
  int code = SQLITE_OK;
  Result<void> flush;
  while (code == SQLITE_OK && !stopped && flush) {
    code = sqlite3_backup_step(backup, options.pages_a_step);
    const auto total = static_cast<uint64_t>(sqlite3_backup_pagecount(backup)) * kPage;
    const uint64_t done = total - static_cast<uint64_t>(sqlite3_backup_remaining(backup)) * kPage;
    if (done - flushed >= kFlushBytes) {
      flush = part.flush();
      flushed = done;
    }
    if (options.progress && !options.progress(done, total)) stopped = true;
  }
  const int finished = sqlite3_backup_finish(backup);
  TRY_VOID(std::move(flush));
  if (code == SQLITE_DONE) code = finished;
  if (code != SQLITE_OK) return fail(sqlite_error(nullptr, code, "copy to " + part.path()));
  if (stopped) return fail(refused(Code::cancelled, "the copy was stopped"));
  return {};
}

Result<std::unique_ptr<SqliteConnection>> open_to_read(const std::string& path, const std::string& vfs) {
  if (!is_file(path)) return fail(refused(Code::invalid_argument, path + " is no file"));
  SqliteConnection::Options how;
  how.path = path;
  how.read_only = true;
  how.mmap_bytes = 0;  // what is on disk, and an error instead of a signal where it cannot be read
  how.vfs = vfs;
  Result<std::unique_ptr<SqliteConnection>> opened = SqliteConnection::open(how);
  if (!opened) return fail(Error(opened.error().code(), path).because(std::move(opened).error()));
  return opened;
}

// An error of SQLite that says "damaged" is a finding, like those of the check itself.
Result<std::vector<std::string>> problems_of(SqliteConnection& connection) {
  std::vector<std::string> problems;
  const auto found = [&]() -> Result<void> {
    TRY(Query rows, connection.query("PRAGMA integrity_check(" + std::to_string(kMaxProblems) + ")"));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) return {};
      if (rows.text(0) != "ok") problems.emplace_back(rows.text(0));
    }
  };
  const Result<void> read = found();
  if (!read) {
    if (read.error().code() != Code::data_loss) return fail(read.error().clone());
    problems.push_back(read.error().to_string());
  }
  return problems;
}

// SQLite takes what is missing of the last page for zeros. Beside a WAL it may be missing: it is in there.
Result<void> look_at_the_end(SqliteConnection& connection, const std::string& path,
                             std::vector<std::string>& problems) {
  TRY(Query size, connection.query("PRAGMA page_size"));
  TRY(const bool row, size.next());
  if (!row || size_of(path + "-wal") > 0) return {};
  if (size_of(path) % static_cast<uint64_t>(size.integer(0)) != 0)
    problems.emplace_back("the file ends within a page: its last bytes are missing");
  return {};
}

Result<std::vector<std::string>> all_problems_of(SqliteConnection& connection, const std::string& path) {
  TRY(std::vector<std::string> problems, problems_of(connection));
  if (problems.empty()) {
    TRY_VOID(look_at_the_end(connection, path, problems));
  }
  return problems;
}

Result<void> must_be_whole(const std::string& path, const std::string& vfs) {
  TRY(const std::unique_ptr<SqliteConnection> connection, open_to_read(path, vfs));
  TRY(const std::vector<std::string> problems, all_problems_of(*connection, path));
  if (problems.empty()) return {};
  return fail(refused(Code::data_loss, path + " is damaged: " + problems.front()));
}

Result<bool> is_store(SqliteConnection& connection) {
  TRY(Query table, connection.query("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'"));
  return table.next();
}

// The old file and its WAL belong together and are both kept. Whoever is cut off leaves no file of the name, never one
// without its WAL; and the next one finds where he was, for with no file there is nothing to set aside but its WAL. At
// no moment the old WAL lies beside the new file, into which SQLite would write it.
Result<void> set_aside(const std::string& path) {
  const std::string aside = path + ".replaced";
  if (exists(path)) {
    for (const char* suffix : {"-wal", "-shm", ""}) {
      if (::unlink((aside + suffix).c_str()) != 0 && errno != ENOENT) return fail(os_error("remove " + aside + suffix));
    }
    TRY_VOID(rename_durably(path, aside));
  }
  // Where both are set aside already, this one is of a file that somebody took away.
  if (exists(path + "-wal") && !exists(aside + "-wal")) {
    TRY_VOID(rename_durably(path + "-wal", aside + "-wal"));
  }
  for (const char* suffix : {"-wal", "-shm"}) {
    if (::unlink((path + suffix).c_str()) != 0 && errno != ENOENT) return fail(os_error("remove " + path + suffix));
  }
  return {};
}

// Where a copy may go: not to what belongs to the store itself, and in the place of nothing but a file.
Result<void> check_place(const std::string& path, const char* own) {
  if (path.empty()) return fail(refused(Code::invalid_argument, "the copy has no name"));
  if (own && same_file(own, path)) return fail(refused(Code::invalid_argument, path + " is the store itself"));
  struct stat about{};
  if (::lstat(path.c_str(), &about) == 0 && !S_ISREG(about.st_mode) && !S_ISLNK(about.st_mode))
    return fail(refused(Code::invalid_argument, path + " is no file, and is not replaced by one"));
  std::error_code error;
  const std::string place = std::filesystem::weakly_canonical(path, error).string();
  const std::string store = own ? std::filesystem::weakly_canonical(own, error).string() : std::string();
  for (const char* suffix : {"-wal", "-shm", "-journal", ".lock"}) {
    if (own && place == store + suffix)
      return fail(refused(Code::invalid_argument, path + " is a file of the store itself"));
  }
  return {};
}

}  // namespace

Result<uint64_t> copy(SqliteConnection& source, const std::string& path, const CopyOptions& options) {
  TRY_VOID(check_place(path, sqlite3_db_filename(source.handle(), "main")));
  if (!options.overwrite && exists(path)) return fail(refused(Code::already_exists, path + " exists"));
  PartFile part(path + ".part");
  TRY_VOID(part.open());
  // One state from the first page to the last: without this transaction each commit of the writer would begin the copy
  // anew, and on a busy store it would never end.
  TRY_VOID(source.script("BEGIN; SELECT count(*) FROM sqlite_schema"));
  Result<void> copied = copy_pages(source, part, options);
  const Result<void> ended = source.script("ROLLBACK");
  TRY_VOID(std::move(copied));
  if (!ended) return fail(ended.error().clone());
  {
    // The pages say "has a WAL", which a copy has not.
    Target target;
    TRY_VOID(target.open(part.path(), options.vfs, "PRAGMA journal_mode=DELETE"));
  }
  TRY_VOID(part.flush());
  TRY_VOID(must_be_whole(part.path(), options.vfs));
  TRY_VOID(part.keep_as(path));
  return size_of(path);
}

Result<uint64_t> restore(const std::string& backup, const std::string& name, const CopyOptions& options) {
  const std::string path = behind_links(name);
  FileLock lock;
  TRY_VOID(lock.take(path + ".lock"));
  if (same_file(backup, path)) return fail(refused(Code::invalid_argument, backup + " is the store itself"));
  if (!options.overwrite && exists(path)) return fail(refused(Code::already_exists, path + " exists"));
  TRY_VOID(must_be_whole(backup, options.vfs));
  TRY(const std::unique_ptr<SqliteConnection> source, open_to_read(backup, options.vfs));
  TRY(const bool store, is_store(*source));
  if (!store) return fail(refused(Code::failed_precondition, backup + " is a database, but no copy of a store"));
  const std::string restored = path + ".restored";
  CopyOptions how = options;
  how.overwrite = true;  // left over from a restore that broke off
  TRY(const uint64_t bytes, copy(*source, restored, how));
  // The node runs as the old file's owner, the command perhaps as root.
  struct stat old{};
  if (::stat(path.c_str(), &old) == 0) {
    if (::chmod(restored.c_str(), old.st_mode & 0777) != 0) return fail(os_error("change the mode of " + restored));
    if (::chown(restored.c_str(), old.st_uid, old.st_gid) != 0)
      return fail(os_error("change the owner of " + restored));
  }
  TRY_VOID(set_aside(path));
  TRY_VOID(rename_durably(restored, path));
  return bytes;
}

Result<Inspection> inspect(const std::string& path, const std::string& vfs) {
  TRY(const std::unique_ptr<SqliteConnection> connection, open_to_read(path, vfs));
  Inspection found;
  TRY(found.problems, all_problems_of(*connection, path));
  found.file_bytes = size_of(path);
  found.wal_bytes = size_of(path + "-wal");
  if (!found.problems.empty()) return found;
  {
    TRY(Query free, connection->query("SELECT f.freelist_count * s.page_size FROM pragma_freelist_count f, "
                                      "pragma_page_size s"));
    TRY(const bool row, free.next());
    if (row) found.free_bytes = static_cast<uint64_t>(free.integer(0));
  }
  TRY(const bool store, is_store(*connection));
  found.is_store = store;
  if (!store) {
    found.problems.emplace_back("it is a database, but no store: there is no schema of a service in it");
    return found;
  }
  TRY(Query rows, connection->query("SELECT space, version, name, applied_at FROM schema_migrations ORDER BY 1, 2"));
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return found;
    found.migrations.push_back(
        {std::string(rows.text(0)), rows.integer(1), std::string(rows.text(2)), rows.integer(3)});
  }
}

}  // namespace trellis::store
