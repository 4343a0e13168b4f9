// A copy of a store while its node works: one at a time, made in the blocking pool, with its progress to be asked for.
// Copies lie in the folder `backups` beside the store and nowhere else, under a plain name, for whoever reaches the
// control port must not choose where the node writes. Lives on core 0; owned by OpenStore.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "runtime/sync.h"
#include "runtime/task.h"

namespace trellis::store {
class SqliteStore;
}

namespace trellis::app {

class StoreBackup {
 public:
  StoreBackup(store::SqliteStore& store, const std::string& store_path);
  ~StoreBackup();  // stops the copy under way
  StoreBackup(const StoreBackup&) = delete;
  StoreBackup& operator=(const StoreBackup&) = delete;

  // Waits for nothing. invalid_argument: the name; failed_precondition: one is under way.
  Result<void> begin(const std::string& name, bool overwrite);

  enum class Phase : uint8_t { none, running, done, failed };
  struct State {
    Phase phase = Phase::none;
    std::string file;         // with its folder, as the node sees it
    uint64_t done_bytes = 0;  // copied; the check of the copy follows
    uint64_t total_bytes = 0;
    std::string error;  // failed
    std::string error_code;
  };
  State state() const;  // of the latest one

 private:
  struct Copy;
  Task<> run(std::shared_ptr<Copy> copy, bool overwrite);

  store::SqliteStore& store_;
  std::string folder_;
  std::shared_ptr<Copy> latest_;
  TaskGroup group_;
};

}  // namespace trellis::app
