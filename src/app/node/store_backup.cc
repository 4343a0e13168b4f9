#include "app/node/store_backup.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <utility>

#include "base/log.h"
#include "http/problem.h"
#include "queue/jobs_rows.h"
#include "runtime/blocking_pool.h"
#include "store/sqlite.h"

namespace trellis::app {

// Shared with the thread of the pool, which outlives a waiter.
struct StoreBackup::Copy {
  std::string file;
  Phase phase = Phase::running;  // this and the texts: core 0 only
  std::string error;
  std::string error_code;
  std::atomic<uint64_t> done{0};
  std::atomic<uint64_t> total{0};
  std::atomic<bool> stop{false};
};

StoreBackup::StoreBackup(store::SqliteStore& store, const std::string& store_path)
    : store_(store), folder_(std::filesystem::path(store_path).parent_path() / "backups") {}

StoreBackup::~StoreBackup() {
  if (latest_) latest_->stop = true;
}

Result<void> StoreBackup::begin(const std::string& name, bool overwrite) {
  if (!queue::is_job_name(name) || name.front() == '.') {
    return fail(Error(Code::invalid_argument,
                      "a copy's name is 1 to 64 of A-Z a-z 0-9 - _ . without a dot in front: it is made in " + folder_)
                    .from(Side::client));
  }
  if (latest_ && latest_->phase == Phase::running) {
    return fail(
        Error(Code::failed_precondition, "a copy to " + latest_->file + " is under way already").from(Side::client));
  }
  latest_ = std::make_shared<Copy>();
  latest_->file = std::filesystem::path(folder_) / name;
  group_.spawn(run(latest_, overwrite));
  return {};
}

Task<> StoreBackup::run(std::shared_ptr<Copy> copy, bool overwrite) {
  auto making = blocking([folder = folder_]() -> Result<void> {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) return fail(Code::failed_precondition, "cannot make the folder " + folder + ": " + error.message());
    return {};
  });
  const Result<void> made = co_await making;
  Result<uint64_t> copied = 0;
  if (!made) {
    copied = fail(made.error().clone());
  } else {
    store::CopyOptions how;
    how.overwrite = overwrite;
    how.progress = [copy](uint64_t done, uint64_t total) {
      copy->done.store(done, std::memory_order_relaxed);
      copy->total.store(total, std::memory_order_relaxed);
      return !copy->stop.load(std::memory_order_relaxed);
    };
    auto copying = store_.backup(copy->file, std::move(how));
    copied = co_await copying;
  }
  if (copied) {
    copy->done = copy->total = *copied;
    copy->phase = Phase::done;
    log_info("the store was copied", {{"store", store_.name()}, {"file", copy->file}, {"bytes", *copied}});
  } else {
    copy->error = copied.error().to_string();
    copy->error_code = http::code_for(copied.error());
    copy->phase = Phase::failed;
    log_warn("the store could not be copied", {{"store", store_.name()}, {"file", copy->file}, {"error", copy->error}});
  }
}

StoreBackup::State StoreBackup::state() const {
  if (!latest_) return {};
  return {latest_->phase,        latest_->file,  latest_->done.load(),
          latest_->total.load(), latest_->error, latest_->error_code};
}

}  // namespace trellis::app
