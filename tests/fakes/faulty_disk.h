// A disk in memory for tests. Like a real one it keeps apart what the kernel holds and what is on the platter: writes,
// truncations and names are lost, in part and in any order, when the power goes before they were synced, and a sync
// that failed has dropped what it was to write. It fills up, fails on command, and dies in the middle of an operation.
// Any thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "runtime/disk.h"

namespace trellis {

class FaultyDisk final : public Disk {
 public:
  explicit FaultyDisk(uint64_t seed = 1) : rng_(seed) {}

  std::atomic<uint64_t> capacity = UINT64_MAX;        // bytes of all files
  std::atomic<bool> sync_fails = false;               // EIO, and what was not synced never will be
  std::atomic<bool> write_fails = false;              // EIO
  std::atomic<bool> read_fails = false;               // EIO
  std::atomic<bool> open_fails = false;               // EIO
  std::atomic<bool> locked = false;                   // by another process
  std::atomic<bool> all_cached = false;               // reads need not wait
  std::atomic<uint64_t> calls_to_death = UINT64_MAX;  // then every call fails

  uint64_t syncs() const { return syncs_; }

  // Between the two a sync of a file does not end.
  void hold_syncs() { syncs_held_ = true; }
  void let_syncs_go() {
    syncs_held_ = false;
    syncs_held_.notify_all();
  }

  // Between the two a read of a file does not end.
  void hold_reads() { reads_held_ = true; }
  void let_reads_go() {
    reads_held_ = false;
    reads_held_.notify_all();
  }

  // What was not synced is lost, but for a random part. The disk works again.
  void lose_power() {
    const std::lock_guard lock(mutex_);
    for (const auto& change : pending_names_) {
      if (rng_.below(2) == 0) change.apply(durable_names_);
    }
    pending_names_.clear();
    for (const auto& inode : inodes_) {
      std::vector<Change> pieces;
      for (const Change& change : inode->pending) split(change, pieces);
      for (size_t i = pieces.size(); i > 1; --i) std::swap(pieces[i - 1], pieces[rng_.below(i)]);
      const uint64_t keep = rng_.below(4);  // of three parts
      for (const Change& piece : pieces) {
        if (rng_.below(3) < keep) piece.apply(inode->durable);
      }
      inode->pending.clear();
      inode->cached = inode->durable;
    }
    names_ = durable_names_;
    capacity = UINT64_MAX;
    sync_fails = false;
    write_fails = false;
    read_fails = false;
    open_fails = false;
    calls_to_death = UINT64_MAX;
  }

  // For damage by hand: what the platter has.
  std::string* contents(const std::string& path) {
    const auto at = names_.find(path);
    return at == names_.end() ? nullptr : &at->second->cached;
  }
  std::vector<std::string> paths() const {
    std::vector<std::string> paths;
    for (const auto& [path, inode] : names_) paths.push_back(path);
    return paths;
  }

  Result<std::unique_ptr<DiskFile>> open(const std::string& path, Open how) override {
    const std::lock_guard lock(mutex_);
    if (dead() || open_fails) return io_error();
    auto at = names_.find(path);
    if (at == names_.end()) {
      if (how == Open::existing || how == Open::existing_exact) return fail(Code::not_found, "no " + path);
      auto inode = std::make_shared<Inode>();
      inodes_.push_back(inode);
      change_name({path, inode, ""});
      at = names_.find(path);
    }
    if (how == Open::create_empty || how == Open::create_direct) change(*at->second, {0, "", true});
    return std::make_unique<File>(*this, at->second, how == Open::create_direct);
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    const std::lock_guard lock(mutex_);
    if (dead()) return io_error();
    change_name({to, names_.at(from), from});
    return {};
  }
  Result<void> remove(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (dead()) return io_error();
    if (names_.contains(path)) change_name({"", nullptr, path});
    return {};
  }
  Result<void> make_folder(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (dead()) return io_error();
    folders_[path] = true;
    return {};
  }
  Result<void> sync_folder(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (dead() || sync_fails) return io_error();
    std::erase_if(pending_names_, [&](const NameChange& change) {
      const std::string& name = change.set.empty() ? change.erase : change.set;
      if (folder_of(name) != path) return false;
      change.apply(durable_names_);
      return true;
    });
    return {};
  }
  Result<std::vector<Entry>> list(const std::string& folder) override {
    const std::lock_guard lock(mutex_);
    if (dead()) return io_error();
    std::vector<Entry> entries;
    for (const auto& [path, inode] : names_) {
      if (folder_of(path) == folder) entries.push_back({path.substr(folder.size() + 1), false, inode->cached.size()});
    }
    for (const auto& [path, unused] : folders_) {
      if (folder_of(path) == folder) entries.push_back({path.substr(folder.size() + 1), true, 0});
    }
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
    return entries;
  }
  Result<std::shared_ptr<void>> lock(const std::string&) override {
    if (locked) return fail(Code::failed_precondition, "another process uses it");
    return std::make_shared<int>(0);
  }

 private:
  struct Change {
    uint64_t position = 0;
    std::string bytes;
    bool truncates = false;  // to `position`
    void apply(std::string& file) const {
      if (truncates) {
        file.resize(position);
        return;
      }
      if (file.size() < position + bytes.size()) file.resize(position + bytes.size());
      std::memcpy(file.data() + position, bytes.data(), bytes.size());
    }
  };
  struct Inode {
    std::string cached;
    std::string durable;
    std::vector<Change> pending;
    uint64_t in_pages = 0;  // what was read by the page cache lies before
  };
  using InodeRef = std::shared_ptr<Inode>;
  struct NameChange {
    std::string set;  // "": nothing
    InodeRef inode;
    std::string erase;  // "": nothing
    void apply(std::map<std::string, InodeRef>& names) const {
      if (!erase.empty()) names.erase(erase);
      if (!set.empty()) names[set] = inode;
    }
  };
  class File final : public DiskFile {
   public:
    File(FaultyDisk& disk, InodeRef inode, bool direct) : disk_(disk), inode_(std::move(inode)), direct_(direct) {}
    Result<size_t> read(uint64_t position, std::span<char> into) override {
      disk_.reads_held_.wait(true);
      const std::lock_guard lock(disk_.mutex_);
      if (disk_.dead() || disk_.read_fails) return io_error();
      if (!direct_) {
        const uint64_t end = (position + into.size() + kWrittenForGood - 1) / kWrittenForGood * kWrittenForGood;
        inode_->in_pages = std::max(inode_->in_pages, end);
      }
      const std::string& bytes = inode_->cached;
      if (position >= bytes.size()) return size_t{0};
      return bytes.copy(into.data(), into.size(), position);
    }
    Result<std::optional<size_t>> read_cached(uint64_t position, std::span<char> into) override {
      if (!disk_.all_cached || direct_) return std::nullopt;
      TRY(const size_t got, read(position, into));
      if (got < into.size()) return std::nullopt;
      return got;
    }
    Result<void> write(uint64_t position, std::string_view bytes) override {
      if (direct_) {
        const auto address = reinterpret_cast<uintptr_t>(bytes.data());
        TRELLIS_ASSERT(position % kDirectBlock == 0 && bytes.size() % kDirectBlock == 0 && address % kDirectBlock == 0);
      }
      const std::lock_guard lock(disk_.mutex_);
      TRELLIS_ASSERT(!direct_ || position >= inode_->in_pages);  // the page cache would be in the way
      if (disk_.dead()) return io_error();
      if (disk_.write_fails || !disk_.has_room(*inode_, position + bytes.size())) {
        disk_.change(*inode_, {position, std::string(bytes.substr(0, disk_.rng_.below(bytes.size()))), false});
        return disk_.write_fails ? io_error() : fail(Code::resource_exhausted, "no space left on device");
      }
      disk_.change(*inode_, {position, std::string(bytes), false});
      return {};
    }
    Result<void> sync() override {
      disk_.syncs_held_.wait(true);
      const std::lock_guard lock(disk_.mutex_);
      if (disk_.dead()) return io_error();
      ++disk_.syncs_;
      if (disk_.sync_fails) {
        inode_->pending.clear();
        return io_error();
      }
      for (const Change& change : inode_->pending) change.apply(inode_->durable);
      inode_->pending.clear();
      return {};
    }
    Result<void> truncate(uint64_t size) override {
      const std::lock_guard lock(disk_.mutex_);
      if (disk_.dead()) return io_error();
      disk_.change(*inode_, {size, "", true});
      return {};
    }
    Result<void> reserve(uint64_t size) override {
      const std::lock_guard lock(disk_.mutex_);
      if (disk_.dead()) return io_error();
      if (size <= inode_->cached.size()) return {};
      if (!disk_.has_room(*inode_, size)) return fail(Code::resource_exhausted, "no space left on device");
      disk_.change(*inode_, {size, "", true});
      return {};
    }
    Result<uint64_t> size() override {
      const std::lock_guard lock(disk_.mutex_);
      if (disk_.dead()) return io_error();
      return inode_->cached.size();
    }

   private:
    FaultyDisk& disk_;
    const InodeRef inode_;
    const bool direct_;
  };

  static std::unexpected<Error> io_error() { return fail(Code::data_loss, "input/output error"); }
  static std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }
  bool dead() {
    if (calls_to_death == 0) return true;
    if (calls_to_death != UINT64_MAX) --calls_to_death;
    return false;
  }
  bool has_room(const Inode& inode, uint64_t size) const {
    uint64_t used = 0;
    for (const auto& [path, each] : names_) used += each->cached.size();
    return used + size - std::min<uint64_t>(size, inode.cached.size()) <= capacity;
  }
  void change(Inode& inode, Change change) {
    change.apply(inode.cached);
    inode.pending.push_back(std::move(change));
  }
  void change_name(NameChange change) {
    change.apply(names_);
    pending_names_.push_back(std::move(change));
  }
  // A write reaches the platter sector by sector.
  static void split(const Change& change, std::vector<Change>& pieces) {
    if (change.truncates) {
      pieces.push_back(change);
      return;
    }
    for (size_t at = 0; at < change.bytes.size();) {
      const size_t sector = 512 - (change.position + at) % 512;
      const std::string piece = change.bytes.substr(at, sector);
      pieces.push_back({change.position + at, piece, false});
      at += piece.size();
    }
  }

  std::mutex mutex_;
  Rng rng_;
  uint64_t syncs_ = 0;
  std::atomic<bool> syncs_held_ = false;
  std::atomic<bool> reads_held_ = false;
  std::vector<InodeRef> inodes_;
  std::map<std::string, InodeRef> names_;
  std::map<std::string, InodeRef> durable_names_;
  std::vector<NameChange> pending_names_;
  std::map<std::string, bool> folders_;
};

}  // namespace trellis
