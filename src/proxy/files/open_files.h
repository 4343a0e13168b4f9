// The files below one root directory, kept open: what a path led to, its validators, and the content of small files. So
// a hot small file costs no system call and no suspension. What is kept is looked at again at most once a second, in
// the blocking pool; meanwhile others get what is known. Bounded in entries, bytes and descriptors; the longest unused
// goes first. One instance a core and files target, not thread-safe; what it hands out is shared and stays valid.
//
// No path leaves the root: it is resolved by the kernel below the root's descriptor (openat2, RESOLVE_BENEATH, no magic
// links); relative symbolic links work as long as they stay inside. Where openat2 is missing no symbolic link is
// followed at all. Only regular files are opened for reading: a FIFO or a device is looked at, never opened.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/chunk.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/time.h"
#include "http/message.h"
#include "proxy/accept_encoding.h"

namespace trellis::proxy {

// One version of one file. Immutable.
struct OpenFile {
  struct Identity {
    uint64_t device = 0, inode = 0, size = 0;
    int64_t modified_s = 0, modified_ns = 0, changed_s = 0, changed_ns = 0;
    bool operator==(const Identity&) const = default;
  };
  Identity identity;
  uint64_t size = 0;
  std::shared_ptr<http::FileHandle> handle;  // null when the content is in memory
  Chunk content;                             // the whole file when handle is null
  std::string etag;                          // strong: size, time of change in ns, inode
  std::string last_modified;
};

// What a path leads to.
struct OpenPath {
  bool directory = false;          // asked for without its '/'
  std::string name;                // of the file below the root: "docs/index.html"
  std::string_view content_type;   // static
  std::string_view cache_control;  // static or the owner's
  std::array<std::shared_ptr<const OpenFile>, 4>
      files;                        // by Encoding; identity is always there unless it is a directory
  std::vector<Encoding> encodings;  // those that are there beside identity, in the order of preference
};

class OpenFiles {
 public:
  struct Options {
    size_t max_paths = 4096;
    size_t max_handles = 256;
    uint64_t max_bytes = uint64_t{32} << 20;
    size_t max_content = 64 << 10;  // larger files are sent from their descriptor
    Duration fresh = std::chrono::seconds(1);
    std::vector<Encoding> precompressed;  // looked for beside the file as .br, .zst, .gz
    bool openat2 = true;                  // false: behave as a kernel without it
  };
  // Fills content_type and cache_control by name.
  using Describe = std::function<void(OpenPath&)>;

  OpenFiles(std::string root, Options options, Describe describe);
  ~OpenFiles();

  // Known and looked at within the last second (or being looked at now); null otherwise. Valid until the next call.
  const OpenPath* find(std::string_view key, Time now) noexcept;
  // Looks at the disk: the first of `candidates` (paths below the root, decoded and checked) that exists. not_found,
  // permission_denied, or an error of ours. `key` names the result for find().
  Task<Result<std::shared_ptr<const OpenPath>>> open(std::string key, std::vector<std::string> candidates);

  size_t paths() const noexcept { return by_key_.size(); }
  size_t handles() const noexcept { return handles_; }
  uint64_t bytes() const noexcept { return bytes_; }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const OpenPath> path;
    Time checked;
    std::shared_ptr<bool> checking;  // true while someone looks at the disk
  };
  using List = std::list<Entry>;

  void insert(std::string key, std::shared_ptr<const OpenPath> path, Time now);
  void erase(List::iterator at);
  void count(const OpenPath& path, bool add) noexcept;

  std::string root_;
  Options options_;
  Describe describe_;
  List used_;  // most recently used first
  std::unordered_map<std::string_view, List::iterator, StringHash, std::equal_to<>> by_key_;  // keys lie in used_
  size_t handles_ = 0;
  uint64_t bytes_ = 0;
};

// "a/b%20c" of a request path, decoded and checked, is what candidates hold: false when a segment is empty, hidden, "."
// or "..", or holds '/' or NUL once decoded. `hidden` files begin with '.', but .well-known at the top is none.
enum class PathFault : uint8_t { none, not_found, bad };
PathFault decode_file_path(std::string_view request_path, std::string& out);

}  // namespace trellis::proxy
