// The changes of hosts that were made at run time (`trellis ctl hosts`), kept in FOLDER/hosts.json: written whole,
// beside the old file, synced and put in its place, before the change takes effect and is answered. Changes for an
// upstream that the configuration no longer has stay in the file. A process of one file at a time: an upgrade holds the
// changes of the old one back before the new one reads. Opened by the thread that starts the node; then on core 0,
// where it is destroyed. Owned by the node.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "runtime/sync.h"
#include "runtime/task.h"
#include "upstream/host_changes.h"

namespace trellis::app {

class HostState {
 public:
  // No file: nothing was changed. A file that cannot be read is refused, with its name and what to do about it.
  static Result<std::unique_ptr<HostState>> open(const std::string& folder);

  upstream::HostChanges of(const std::string& upstream) const;

  using Edit = std::function<Result<>(upstream::HostChanges& changes)>;
  using Apply = std::function<void(const upstream::HostChanges& changes)>;
  // One after the other: `edit` changes what is kept for the upstream, or refuses; then it is written, then applied. It
  // goes on when the one who asked is gone. Errors: those of `edit`, what the disk says, resource_exhausted;
  // unavailable while it is held.
  Task<Result<>> change(std::string upstream, Edit edit, Apply apply);

  // Changes are refused from now on, and those that came before are written by `deadline`, or it fails. Held either
  // way.
  Task<Result<>> hold(Deadline deadline);
  // The new process did not come to be: what it may have written meanwhile is read, then changes are made again.
  Task<> resume();
  bool held() const noexcept { return held_; }

 private:
  struct Job;
  HostState(std::string folder, upstream::HostChangesByUpstream changes);
  Task<> work();
  Task<Result<>> do_one(Job& job);

  std::string folder_;
  upstream::HostChangesByUpstream changes_;
  std::deque<std::shared_ptr<Job>> jobs_;
  bool working_ = false;
  bool held_ = false;
  Event written_;  // all that were asked for; of hold()
  TaskGroup group_;
};

}  // namespace trellis::app
