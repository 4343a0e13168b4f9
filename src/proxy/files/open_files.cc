#include "proxy/files/open_files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <tuple>
#include <utility>

#include "http/date.h"
#include "runtime/blocking_pool.h"

namespace trellis::proxy {

namespace {

constexpr int kAttempts = 3;  // when a file changes under our hands
constexpr int kReading = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
constexpr int kLooking = O_PATH | O_CLOEXEC;

std::string_view suffix_of(Encoding encoding) noexcept {
  switch (encoding) {
    case Encoding::identity: return "";
    case Encoding::gzip: return ".gz";
    case Encoding::br: return ".br";
    case Encoding::zstd: return ".zst";
  }
  return "";
}

// WHY walking by hand: the only safe way without openat2. Every step refuses symbolic links.
int open_step_by_step(int root, const std::string& path, int flags) {
  int at = ::fcntl(root, F_DUPFD_CLOEXEC, 0);
  size_t from = 0;
  while (at >= 0) {
    const size_t slash = path.find('/', from);
    const bool last = slash == std::string::npos;
    const std::string name = path.substr(from, last ? slash : slash - from);
    const int next = ::openat(at, name.c_str(), last ? flags | O_NOFOLLOW : kLooking | O_DIRECTORY | O_NOFOLLOW);
    const int error = errno;
    ::close(at);
    errno = error;
    if (last) return next;
    at = next;
    from = slash + 1;
  }
  return -1;
}

int open_beneath(int root, const std::string& path, int flags, bool use_openat2) {
  static std::atomic<bool> missing{false};  // the kernel's answer is the same for all
  if (use_openat2 && !missing.load(std::memory_order_relaxed)) {
    struct open_how how{};
    how.flags = static_cast<uint64_t>(flags);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
      if (fd >= 0) return static_cast<int>(fd);
      if (errno != EAGAIN && errno != EINTR) break;  // EAGAIN: something was renamed on the way
    }
    if (errno != ENOSYS) return -1;
    missing.store(true, std::memory_order_relaxed);
  }
  return open_step_by_step(root, path, flags);
}

Error open_error(const std::string& path, int error) {
  switch (error) {
    case EACCES:
    case EPERM: return Error(Code::permission_denied, path).from(Side::client);
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case EXDEV:  // leads out of the root
    case ENAMETOOLONG:
    case EINVAL: return Error(Code::not_found, path).from(Side::client);
    default: return errno_error(path, error).from(Side::self);
  }
}

OpenFile::Identity identity_of(const struct stat& info) noexcept {
  return {info.st_dev,         info.st_ino,          static_cast<uint64_t>(info.st_size),
          info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_ctim.tv_sec,
          info.st_ctim.tv_nsec};
}

// What the worker hands back; the chunk is made on the core that keeps it.
struct Seen {
  bool unchanged = false;
  OpenFile::Identity identity;
  std::shared_ptr<http::FileHandle> handle;
  std::string content;
};
struct Answer {
  bool directory = false;
  std::string name;
  std::array<std::optional<Seen>, 4> files;
};
using Known = std::array<std::optional<OpenFile::Identity>, 4>;

struct Look {
  std::string root;
  std::vector<std::string> candidates;
  std::vector<Encoding> precompressed;
  size_t max_content;
  bool use_openat2;
  std::string known_name;
  Known known;
};

bool read_whole(int fd, std::string& content) {
  size_t have = 0;
  while (have < content.size()) {
    const ssize_t n = ::pread(fd, content.data() + have, content.size() - have, static_cast<off_t>(have));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    have += static_cast<size_t>(n);
  }
  return true;
}

// A regular file; an empty optional for what is none.
Result<std::optional<Seen>> see_file(const Look& look, int root, const std::string& path,
                                     const std::optional<OpenFile::Identity>& known, bool& directory) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const http::FileHandle glance(open_beneath(root, path, kLooking, look.use_openat2));
    if (glance.fd() < 0) return fail(open_error(path, errno));
    struct stat info{};
    if (::fstat(glance.fd(), &info) != 0) return fail(open_error(path, errno));
    directory = S_ISDIR(info.st_mode);
    if (!S_ISREG(info.st_mode)) return std::optional<Seen>{};
    Seen seen;
    seen.identity = identity_of(info);
    if (known && *known == seen.identity) {
      seen.unchanged = true;
      return seen;
    }
    auto file = std::make_shared<http::FileHandle>(open_beneath(root, path, kReading, look.use_openat2));
    if (file->fd() < 0) return fail(open_error(path, errno));
    if (::fstat(file->fd(), &info) != 0) return fail(open_error(path, errno));
    if (!S_ISREG(info.st_mode)) return std::optional<Seen>{};
    seen.identity = identity_of(info);
    if (seen.identity.size > look.max_content) {
      seen.handle = std::move(file);
      return seen;
    }
    seen.content.resize(seen.identity.size);
    const bool whole = read_whole(file->fd(), seen.content);
    if (whole && ::fstat(file->fd(), &info) == 0 && identity_of(info) == seen.identity) return seen;
  }
  return fail(Error(Code::unavailable, path + ": changes all the time").from(Side::self));
}

// WHY a pointer: GCC 12 takes the inside buffer of a string in a Result for a freed pointer (-Wfree-nonheap-object).
Result<std::unique_ptr<Answer>> look_up(const Look& look) {
  // By name each time: a root that is a symbolic link may be switched to another release while we run.
  const http::FileHandle root(::open(look.root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root.fd() < 0) return fail(errno_error("root of the files", errno).from(Side::self));
  Error why(Code::not_found, "no such file");
  for (const std::string& path : look.candidates) {
    const bool known = path == look.known_name;
    bool directory = false;
    Result<std::optional<Seen>> plain =
        see_file(look, root.fd(), path, known ? look.known[0] : std::nullopt, directory);
    if (!plain) {
      if (plain.error().code() != Code::not_found) return fail(std::move(plain).error());
      continue;
    }
    auto answer = std::make_unique<Answer>();
    answer->name = path;
    if (!*plain) {
      if (!directory) continue;
      answer->directory = true;
      return answer;
    }
    answer->files[0] = std::move(**plain);
    for (const Encoding encoding : look.precompressed) {
      const auto slot = static_cast<size_t>(encoding);
      bool ignored = false;
      Result<std::optional<Seen>> seen = see_file(look, root.fd(), path + std::string(suffix_of(encoding)),
                                                  known ? look.known[slot] : std::nullopt, ignored);
      if (!seen || !*seen) continue;
      // One that is older than its file was forgotten when the file was changed.
      const OpenFile::Identity& own = (*seen)->identity;
      const OpenFile::Identity& of = answer->files[0]->identity;
      if (std::tie(own.modified_s, own.modified_ns) < std::tie(of.modified_s, of.modified_ns)) continue;
      answer->files[slot] = std::move(**seen);
    }
    return answer;
  }
  return fail(std::move(why).from(Side::client));
}

std::shared_ptr<const OpenFile> make_file(Seen seen) {
  auto file = std::make_shared<OpenFile>();
  file->identity = seen.identity;
  file->size = seen.identity.size;
  file->handle = std::move(seen.handle);
  if (!file->handle) file->content = Chunk::from_string(std::move(seen.content));
  char text[64];
  const int64_t ns = seen.identity.modified_s * 1'000'000'000 + seen.identity.modified_ns;
  const int n =
      std::snprintf(text, sizeof text, "\"%llx-%llx-%llx\"", static_cast<unsigned long long>(seen.identity.size),
                    static_cast<unsigned long long>(ns), static_cast<unsigned long long>(seen.identity.inode));
  file->etag.assign(text, static_cast<size_t>(n));
  http::format_http_date(seen.identity.modified_s, text);
  file->last_modified.assign(text, http::kHttpDateSize);
  return file;
}

// Cleared however the look ends, by a cancelled request too.
class Checking {
 public:
  explicit Checking(std::shared_ptr<bool> flag) noexcept : flag_(std::move(flag)) {
    if (flag_) *flag_ = true;
  }
  Checking(const Checking&) = delete;
  Checking& operator=(const Checking&) = delete;
  ~Checking() {
    if (flag_) *flag_ = false;
  }

 private:
  std::shared_ptr<bool> flag_;
};

}  // namespace

OpenFiles::OpenFiles(std::string root, Options options, Describe describe)
    : root_(std::move(root)), options_(std::move(options)), describe_(std::move(describe)) {}
OpenFiles::~OpenFiles() = default;

const OpenPath* OpenFiles::find(std::string_view key, Time now) noexcept {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  Entry& entry = *found->second;
  if (now - entry.checked >= options_.fresh && !*entry.checking) return nullptr;
  if (found->second != used_.begin()) used_.splice(used_.begin(), used_, found->second);
  return entry.path.get();
}

Task<Result<std::shared_ptr<const OpenPath>>> OpenFiles::open(std::string key, std::vector<std::string> candidates) {
  Look look{root_, std::move(candidates), options_.precompressed, options_.max_content, options_.openat2, {}, {}};
  std::shared_ptr<const OpenPath> before;
  std::shared_ptr<bool> flag;
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    before = found->second->path;
    flag = found->second->checking;
    look.known_name = before->name;
    for (size_t i = 0; i < before->files.size(); ++i) {
      if (before->files[i]) look.known[i] = before->files[i]->identity;
    }
  }
  const Checking checking(std::move(flag));
  auto work = [look = std::move(look)] { return look_up(look); };
  Result<std::unique_ptr<Answer>> answer = co_await blocking(std::move(work));
  const Time now = Loop::current().now();
  if (!answer) {
    if (const auto known = by_key_.find(key); known != by_key_.end()) erase(known->second);
    co_return fail(std::move(answer).error());
  }
  const std::unique_ptr<Answer> found = std::move(*answer);
  auto path = std::make_shared<OpenPath>();
  path->directory = found->directory;
  path->name = std::move(found->name);
  for (size_t i = 0; i < path->files.size(); ++i) {
    if (!found->files[i]) continue;
    Seen& seen = *found->files[i];
    path->files[i] = seen.unchanged ? before->files[i] : make_file(std::move(seen));
  }
  for (const Encoding encoding : options_.precompressed) {
    if (path->files[static_cast<size_t>(encoding)]) path->encodings.push_back(encoding);
  }
  describe_(*path);
  std::shared_ptr<const OpenPath> result = std::move(path);
  insert(std::move(key), result, now);
  co_return result;
}

void OpenFiles::count(const OpenPath& path, bool add) noexcept {
  for (const auto& file : path.files) {
    if (!file) continue;
    const size_t handles = file->handle ? 1 : 0;
    handles_ = add ? handles_ + handles : handles_ - handles;
    bytes_ = add ? bytes_ + file->content.size() : bytes_ - file->content.size();
  }
}

void OpenFiles::erase(List::iterator at) {
  count(*at->path, false);
  by_key_.erase(at->key);
  used_.erase(at);
}

void OpenFiles::insert(std::string key, std::shared_ptr<const OpenPath> path, Time now) {
  if (const auto found = by_key_.find(key); found != by_key_.end()) erase(found->second);
  count(*path, true);
  used_.push_front({std::move(key), std::move(path), now, std::make_shared<bool>(false)});
  by_key_.emplace(used_.front().key, used_.begin());
  while (used_.size() > 1 &&
         (used_.size() > options_.max_paths || handles_ > options_.max_handles || bytes_ > options_.max_bytes))
    erase(std::prev(used_.end()));
}

PathFault decode_file_path(std::string_view request_path, std::string& out) {
  constexpr size_t kMaxPath = 4000;
  constexpr size_t kMaxName = 255;
  out.clear();
  if (!request_path.starts_with('/') || request_path.size() > 3 * kMaxPath) return PathFault::not_found;
  std::string_view rest = request_path.substr(1);
  bool first = true;
  while (true) {
    const size_t slash = rest.find('/');
    const std::string_view raw = rest.substr(0, slash);
    std::string name;
    for (size_t i = 0; i < raw.size(); ++i) {
      char c = raw[i];
      if (c == '%') {
        const auto digit = [&](size_t at) -> int {
          if (at >= raw.size()) return -1;
          const char d = raw[at];
          if (d >= '0' && d <= '9') return d - '0';
          const char low = static_cast<char>(d | 0x20);
          return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        };
        const int high = digit(i + 1);
        const int low = digit(i + 2);
        if (high < 0 || low < 0) return PathFault::bad;
        c = static_cast<char>(high * 16 + low);
        i += 2;
        if (c == '/') return PathFault::not_found;
      }
      if (c == '\0') return PathFault::bad;
      name.push_back(c);
    }
    const bool last = slash == std::string_view::npos;
    if (last && name.empty()) break;  // a directory: "docs/"; the root: ""
    if (name.empty() || name.size() > kMaxName) return PathFault::not_found;
    if (name.front() == '.' && !(first && name == ".well-known")) return PathFault::not_found;
    out += name;
    if (out.size() > kMaxPath) return PathFault::not_found;
    if (last) break;
    out.push_back('/');
    rest.remove_prefix(slash + 1);
    first = false;
  }
  return PathFault::none;
}

}  // namespace trellis::proxy
