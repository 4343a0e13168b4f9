#include "store/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace trellis::store {

namespace {

// Who holds it, as the holder wrote it down; "" while it has not.
std::string holder(int fd) {
  char digits[24];
  const ssize_t size = ::pread(fd, digits, sizeof digits, 0);
  std::string text;
  for (ssize_t i = 0; i < size && digits[i] >= '0' && digits[i] <= '9'; ++i) text += digits[i];
  return text;
}

}  // namespace

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> FileLock::take(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return fail(errno_error("open " + path, errno).from(Side::self));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int err = errno;
    const std::string process = holder(fd);
    ::close(fd);
    if (err != EWOULDBLOCK) return fail(errno_error("lock " + path, err).from(Side::self));
    std::string text = path + ": another process uses this store";
    if (!process.empty()) text += " (process " + process + ")";
    return fail(Error(Code::failed_precondition, std::move(text)).from(Side::self));
  }
  // Only a help for whoever is refused: a full disk must not keep the store from being read.
  const std::string process = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, process.data(), process.size(), 0) < 0) errno = 0;
  fd_ = fd;
  return {};
}

std::string behind_links(const std::string& path) {
  constexpr int kMostLinks = 40;  // as the kernel follows
  std::filesystem::path at = path;
  for (int i = 0; i < kMostLinks; ++i) {
    std::error_code none;
    const std::filesystem::path to = std::filesystem::read_symlink(at, none);
    if (none) return at.string();
    at = to.is_absolute() ? to : at.parent_path() / to;
  }
  return path;
}

}  // namespace trellis::store
