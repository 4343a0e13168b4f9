#include "load/process_use.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

namespace trellis::load {
namespace {

struct Row {
  pid_t parent = 0;
  uint64_t user_ticks = 0;
  uint64_t system_ticks = 0;
  uint64_t resident_pages = 0;
};

// /proc/PID/stat: the name may hold anything, so the fields are counted from its closing bracket. False as well when
// the process ends meanwhile: the kernel refuses to read what it has opened.
bool read_row(pid_t pid, Row& row) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::ostringstream whole;
  whole << file.rdbuf();  // without throwing, as iterators of a buffer would
  std::string text = whole.str();
  size_t bracket = text.rfind(')');
  if (bracket == std::string::npos) return false;
  std::istringstream fields(text.substr(bracket + 1));
  std::vector<std::string> words{std::istream_iterator<std::string>(fields), {}};
  constexpr size_t kParent = 1, kUser = 11, kSystem = 12, kResident = 21;
  if (words.size() <= kResident) return false;
  row.parent = std::stoi(words[kParent]);
  row.user_ticks = std::stoull(words[kUser]);
  row.system_ticks = std::stoull(words[kSystem]);
  row.resident_pages = std::stoull(words[kResident]);
  return true;
}

}  // namespace

Result<ProcessUse> process_use(std::span<const pid_t> pids) {
  std::unordered_map<pid_t, Row> rows;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    std::string name = entry.path().filename();
    pid_t pid = 0;
    auto [rest, bad] = std::from_chars(name.data(), name.data() + name.size(), pid);
    Row row;
    if (bad == std::errc() && rest == name.data() + name.size() && read_row(pid, row)) rows[pid] = row;
  }

  std::vector<pid_t> wanted(pids.begin(), pids.end());
  for (pid_t pid : wanted) {
    if (!rows.contains(pid)) return fail(Code::not_found, fmt::format("no process {}", pid));
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    for (const auto& [pid, row] : rows) {
      if (row.parent == wanted[i] && std::ranges::find(wanted, pid) == wanted.end()) wanted.push_back(pid);
    }
  }

  ProcessUse use;
  double tick_micros = 1e6 / static_cast<double>(sysconf(_SC_CLK_TCK));
  auto page_kib = static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / 1024;
  for (pid_t pid : wanted) {
    const Row& row = rows[pid];
    use.user_micros += static_cast<double>(row.user_ticks) * tick_micros;
    use.system_micros += static_cast<double>(row.system_ticks) * tick_micros;
    use.resident_kib += row.resident_pages * page_kib;
  }
  return use;
}

}  // namespace trellis::load
