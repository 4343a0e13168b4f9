#include "runtime/disk.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace trellis {
inline namespace runtime {
namespace {

std::unexpected<Error> refused(const char* what, const std::string& path, int err) {
  return fail(errno_error(std::string(what) + " " + path, err).from(Side::self));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

// How bytes come and go: by the page cache, as the kernel likes; past it; or by it, but written back at once, so that
// bytes that nobody waits for do not pile up there.
enum class Way : uint8_t { cached, direct, pushed };

class SystemFile final : public DiskFile {
 public:
  SystemFile(std::string path, int fd, Way way) : path_(std::move(path)), fd_(fd), way_(way) {}

  Result<size_t> read(uint64_t position, std::span<char> into) override {
    if (way_ == Way::direct) return read_direct(position, into);
    return read_plain(position, into);
  }
  Result<std::optional<size_t>> read_cached(uint64_t position, std::span<char> into) override {
    if (way_ == Way::direct) return std::nullopt;
    iovec where{into.data(), into.size()};
    const ssize_t n = ::preadv2(fd_.get(), &where, 1, static_cast<off_t>(position), RWF_NOWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EOPNOTSUPP || errno == EINTR || errno == ENOSYS)) return std::nullopt;
    if (n < 0) return refused("read", path_, errno);
    // A part may be all that is in memory, or all that there is.
    if (static_cast<size_t>(n) < into.size()) return std::nullopt;
    return static_cast<size_t>(n);
  }
  Result<void> write(uint64_t position, std::string_view bytes) override {
    const auto first = static_cast<off_t>(position);
    const auto count = static_cast<off_t>(bytes.size());
    bool direct = way_ == Way::direct;
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(position));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EINVAL && direct) {
        direct = false;
        leave_direct();
        continue;
      }
      if (n <= 0) return refused("write", path_, n < 0 ? errno : ENOSPC);
      position += static_cast<uint64_t>(n);
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    if (way_ == Way::pushed) ::sync_file_range(fd_.get(), first, count, SYNC_FILE_RANGE_WRITE);
    return {};
  }
  Result<void> sync() override {
    if (::fdatasync(fd_.get()) != 0) return refused("sync", path_, errno);
    return {};
  }
  Result<void> truncate(uint64_t size) override {
    if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return refused("truncate", path_, errno);
    return {};
  }
  Result<void> reserve(uint64_t size) override {
    TRY(const uint64_t there, this->size());
    if (there >= size) return {};
    while (::fallocate(fd_.get(), 0, 0, static_cast<off_t>(size)) != 0) {
      if (errno == EINTR) continue;
      if (errno == EOPNOTSUPP || errno == ENOSYS) return truncate(size);
      return refused("reserve", path_, errno);
    }
    return {};
  }
  Result<uint64_t> size() override {
    struct stat about{};
    if (::fstat(fd_.get(), &about) != 0) return refused("stat", path_, errno);
    return static_cast<uint64_t>(about.st_size);
  }

 private:
  Result<size_t> read_plain(uint64_t position, std::span<char> into) {
    size_t done = 0;
    while (done < into.size()) {
      const ssize_t n = ::pread(fd_.get(), into.data() + done, into.size() - done, static_cast<off_t>(position + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return refused("read", path_, errno);
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }
  // By whole blocks, of which what was asked for is copied.
  Result<size_t> read_direct(uint64_t position, std::span<char> into) {
    const uint64_t first = position / kDirectBlock * kDirectBlock;
    const uint64_t size = (position + into.size() - first + kDirectBlock - 1) / kDirectBlock * kDirectBlock;
    const std::unique_ptr<char, Free> blocks(static_cast<char*>(std::aligned_alloc(kDirectBlock, size)));
    TRELLIS_ASSERT(blocks != nullptr);
    size_t done = 0;
    while (done < size) {
      const ssize_t n = ::pread(fd_.get(), blocks.get() + done, size - done, static_cast<off_t>(first + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EINVAL) {
        leave_direct();
        return read_plain(position, into);
      }
      if (n < 0) return refused("read", path_, errno);
      done += static_cast<size_t>(n);
      if (n == 0 || static_cast<size_t>(n) % kDirectBlock != 0) break;  // the end
    }
    const size_t before = position - first;
    if (done <= before) return size_t{0};
    const size_t got = std::min(into.size(), done - before);
    std::memcpy(into.data(), blocks.get() + before, got);
    return got;
  }
  // Some file systems open a file for direct access and then refuse it.
  void leave_direct() noexcept {
    way_ = Way::pushed;
    ::fcntl(fd_.get(), F_SETFL, ::fcntl(fd_.get(), F_GETFL) & ~O_DIRECT);
  }

  struct Free {
    void operator()(char* bytes) const noexcept { std::free(bytes); }
  };
  const std::string path_;
  const Descriptor fd_;
  std::atomic<Way> way_;
};

class SystemDisk final : public Disk {
 public:
  Result<std::unique_ptr<DiskFile>> open(const std::string& path, Open how) override {
    int flags = O_RDWR | O_CLOEXEC;
    if (how != Open::existing && how != Open::existing_exact) flags |= O_CREAT;
    if (how == Open::create_empty || how == Open::create_direct) flags |= O_TRUNC;
    Way way = how == Open::create_direct ? Way::direct : Way::cached;
    int fd = ::open(path.c_str(), way == Way::direct ? flags | O_DIRECT : flags, 0640);
    if (fd < 0 && errno == EINVAL && way == Way::direct) {
      way = Way::pushed;
      fd = ::open(path.c_str(), flags, 0640);
    }
    if (fd < 0) return refused("open", path, errno);
    if (how == Open::existing_exact) ::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);  // nothing is read ahead
    return std::make_unique<SystemFile>(path, fd, way);
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return refused("rename", from, errno);
    return {};
  }
  Result<void> remove(const std::string& path) override {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return refused("remove", path, errno);
    return {};
  }
  Result<void> make_folder(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) return refused("make folder", path, error.value());
    return {};
  }
  Result<void> sync_folder(const std::string& path) override {
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0 || ::fsync(fd.get()) != 0) return refused("sync folder", path, errno);
    return {};
  }
  Result<std::vector<Entry>> list(const std::string& folder) override {
    std::vector<Entry> entries;
    std::error_code error;
    std::filesystem::directory_iterator at(folder, error);
    for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
      std::error_code gone;  // a file may be removed meanwhile
      const bool is_folder = at->is_directory(gone);
      const uint64_t size = is_folder ? 0 : at->file_size(gone);
      if (!gone) entries.push_back({at->path().filename().string(), is_folder, size});
    }
    if (error) return refused("list", folder, error.value());
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
    return entries;
  }
  Result<std::shared_ptr<void>> lock(const std::string& path) override {
    auto fd = std::make_shared<Descriptor>(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
    if (fd->get() < 0) return refused("open", path, errno);
    if (::flock(fd->get(), LOCK_EX | LOCK_NB) == 0) return fd;
    if (errno == EWOULDBLOCK) {
      return fail(Error(Code::failed_precondition, path + ": another process uses it").from(Side::self));
    }
    return refused("lock", path, errno);
  }
};

}  // namespace

Disk& system_disk() noexcept {
  static SystemDisk disk;
  return disk;
}

}  // namespace runtime
}  // namespace trellis
