// `trellis store`: work on a store's file while its node is stopped. Prints, and gives the process's exit code (0 good,
// 1 failed, 2 wrong use). On the main thread.
#pragma once

#include <string>
#include <string_view>

namespace trellis::app {

struct StoreOptions {
  std::string config;  // "": the built-in one box
  std::string store;
  std::string file;
  bool force = false;
  bool running = false;
  std::string control = "127.0.0.1:9900";
  bool json = false;
};
// backup, restore or check.
int store_command(std::string_view verb, const StoreOptions& options);

}  // namespace trellis::app
