// The commands beside `run`: each takes its options, prints, and gives the process's exit code (0 good, 1 failed, 2
// wrong use).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trellis::app {

struct CheckOptions {
  std::string config;
  std::vector<std::string> sets;
  bool json = false;
};
int check(const CheckOptions& options);
int print_one_box();

struct CtlOptions {
  std::string control = "127.0.0.1:9900";
  std::string argument;
  bool json = false;
};
int ctl(std::string_view verb, const CtlOptions& options);

struct ReferenceOptions {
  std::string folder;
  bool check = false;
};
int reference(const ReferenceOptions& options);

}  // namespace trellis::app
