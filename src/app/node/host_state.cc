#include "app/node/host_state.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/log.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"

namespace trellis::app {

namespace {

constexpr size_t kMaxFile = size_t{64} << 20;
constexpr size_t kMaxWaiting = 256;
constexpr Duration kTimeout = std::chrono::seconds(30);

std::string file_in(const std::string& folder) { return (std::filesystem::path(folder) / "hosts.json").string(); }

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

Result<> cannot(const char* what, const std::string& path, int error) {
  return fail(errno_error(std::string("cannot ") + what + " " + path, error).from(Side::self));
}

// None: there is no file.
Result<std::optional<std::string>> read_whole(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0 && errno == ENOENT) return std::optional<std::string>();
  if (file.fd < 0) return fail(errno_error(path, errno));
  std::string text;
  char buffer[65536];
  while (text.size() <= kMaxFile) {
    const ssize_t got = ::read(file.fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error(path, errno));
    if (got == 0) return std::optional<std::string>(std::move(text));
    text.append(buffer, static_cast<size_t>(got));
  }
  return fail(Code::data_loss, path + ": is larger than 64 MiB");
}

Result<upstream::HostChangesByUpstream> read_changes(const std::string& folder) {
  const std::string path = file_in(folder);
  TRY(const std::optional<std::string> text, read_whole(path));
  if (!text) return upstream::HostChangesByUpstream();
  auto read = upstream::read_host_changes(*text);
  if (!read) {
    return fail(Code::data_loss, path + ": " + read.error().what() +
                                     "; mend it, or move it away to begin without the changes made at run time");
  }
  return read;
}

// In the blocking pool. The old file is whole until the new one is.
Result<> write_whole(const std::string& folder, const std::string& text) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return cannot("make the folder", folder, error.value());
  const std::string path = file_in(folder);
  const std::string beside = path + ".new";
  {
    const Descriptor file{::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640)};
    if (file.fd < 0) return cannot("write", beside, errno);
    for (size_t done = 0; done < text.size();) {
      const ssize_t written = ::write(file.fd, text.data() + done, text.size() - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return cannot("write", beside, errno);
      done += static_cast<size_t>(written);
    }
    if (::fsync(file.fd) != 0) return cannot("sync", beside, errno);
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) return cannot("replace", path, errno);
  const Descriptor in{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (in.fd < 0 || ::fsync(in.fd) != 0) return cannot("sync", folder, errno);
  return {};
}

}  // namespace

struct HostState::Job {
  std::string upstream;
  Edit edit;
  Apply apply;
  Event done;
  std::optional<Result<>> outcome;
};

HostState::HostState(std::string folder, upstream::HostChangesByUpstream changes)
    : folder_(std::move(folder)), changes_(std::move(changes)) {}

Result<std::unique_ptr<HostState>> HostState::open(const std::string& folder) {
  TRY(upstream::HostChangesByUpstream changes, read_changes(folder));
  return std::unique_ptr<HostState>(new HostState(folder, std::move(changes)));
}

upstream::HostChanges HostState::of(const std::string& upstream) const {
  const auto found = changes_.find(upstream);
  return found == changes_.end() ? upstream::HostChanges() : found->second;
}

Task<Result<>> HostState::change(std::string upstream, Edit edit, Apply apply) {
  if (held_) co_return fail(Error(Code::unavailable, "a new process is taking over").from(Side::self));
  if (jobs_.size() >= kMaxWaiting)
    co_return fail(Error(Code::resource_exhausted, "too many changes of hosts are waiting").from(Side::self));
  auto job = std::make_shared<Job>();
  job->upstream = std::move(upstream);
  job->edit = std::move(edit);
  job->apply = std::move(apply);
  jobs_.push_back(job);
  if (!std::exchange(working_, true)) group_.spawn(work());
  const bool in_time = co_await job->done.wait(after(Loop::current().now(), kTimeout));
  if (!in_time)
    co_return fail(
        Error(Code::deadline_exceeded, "the change was not written in time; it may still be").from(Side::self));
  co_return std::move(*job->outcome);
}

Task<> HostState::work() {
  while (!jobs_.empty()) {
    const std::shared_ptr<Job> job = jobs_.front();
    auto doing = do_one(*job);
    Result<> outcome = co_await doing;
    job->outcome = std::move(outcome);
    job->done.set();
    jobs_.pop_front();
  }
  working_ = false;
  written_.set();
}

Task<Result<>> HostState::hold(Deadline deadline) {
  held_ = true;
  written_.reset();
  if (!working_) co_return Result<>();
  const bool written = co_await written_.wait(deadline);
  if (!written) co_return fail(Code::deadline_exceeded, "changes of hosts could not be written in time");
  co_return Result<>();
}

Task<> HostState::resume() {
  if (!working_) {  // else it did not hold in time, so nobody else has touched the file
    auto reading = blocking([folder = folder_] { return read_changes(folder); });
    Result<upstream::HostChangesByUpstream> read = co_await reading;
    if (read) {
      changes_ = *std::move(read);
    } else {
      log_warn("the changes of hosts could not be read again; those that this process knows stay",
               {{"error", read.error().to_string()}});
    }
  }
  held_ = false;
}

Task<Result<>> HostState::do_one(Job& job) {
  upstream::HostChangesByUpstream next = changes_;
  upstream::HostChanges& changes = next[job.upstream];
  CO_TRY_VOID(job.edit(changes));
  if (changes != of(job.upstream)) {
    auto writing = blocking([folder = folder_, text = upstream::to_json(next)] { return write_whole(folder, text); });
    Result<> written = co_await writing;
    if (!written) co_return written;
    changes_ = std::move(next);
  }
  job.apply(of(job.upstream));
  co_return Result<>();
}

}  // namespace trellis::app
