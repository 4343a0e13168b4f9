#include "upstream/hosts_file.h"

#include <algorithm>
#include <charconv>

#include "upstream/balancer.h"

namespace trellis::upstream {

namespace {

constexpr std::string_view kForm = "a line is HOST:PORT [weight=N] [zone=NAME] [priority=N] [backup]";
constexpr size_t kMaxShown = 80;  // of a wrong word

std::string quoted(std::string_view word) {
  std::string text = "\"";
  for (const char c : word.substr(0, kMaxShown)) text += c >= 0x20 && c < 0x7F ? c : '?';
  return text + (word.size() > kMaxShown ? "...\"" : "\"");
}

std::string_view next_word(std::string_view& line) noexcept {
  constexpr std::string_view kSpace = " \t\r";
  const size_t begin = std::min(line.find_first_not_of(kSpace), line.size());
  line.remove_prefix(begin);
  const size_t end = std::min(line.find_first_of(kSpace), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

// 0 to `most`, or the reason why it is none.
std::string read_number(std::string_view what, std::string_view text, uint32_t most, std::optional<uint32_t>& out) {
  uint32_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || stop != text.data() + text.size() || number > most)
    return std::string(what) + " must be a number from 0 to " + std::to_string(most) + ", got " + quoted(text);
  out = number;
  return {};
}

// The reason why the word is wrong, or "".
std::string read_word(std::string_view word, FileHost& host) {
  constexpr std::string_view kWeight = "weight=";
  constexpr std::string_view kZone = "zone=";
  constexpr std::string_view kPriority = "priority=";
  if (word == "backup") {
    host.backup = true;
    return {};
  }
  if (word.starts_with(kWeight)) return read_number("weight", word.substr(kWeight.size()), kMaxWeight, host.weight);
  if (word.starts_with(kPriority))
    return read_number("priority", word.substr(kPriority.size()), kMaxPriority, host.priority);
  if (word.starts_with(kZone)) {
    const std::string_view zone = word.substr(kZone.size());
    if (!is_zone(zone)) return "zone must be 1 to 64 of A-Z a-z 0-9 - _ ., got " + quoted(zone);
    host.zone = zone;
    return {};
  }
  return "unknown word " + quoted(word) + "; " + std::string(kForm);
}

// Likewise for a whole line, which is not empty.
std::string read_line(std::string_view line, FileHost& host) {
  const std::string_view first = next_word(line);
  const auto parts = net::split_host_port(first);
  if (!parts || parts->second == 0) return quoted(first) + " is no HOST:PORT; " + std::string(kForm);
  const auto address = net::make_address(parts->first == "localhost" ? "127.0.0.1" : parts->first, parts->second);
  if (!address) return quoted(first) + " is no numeric address; names are looked up by dns: in the configuration";
  host.address = *address;
  for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
    if (std::string wrong = read_word(word, host); !wrong.empty()) return wrong;
  }
  return {};
}

}  // namespace

bool is_zone(std::string_view text) noexcept {
  return !text.empty() && text.size() <= kMaxZone && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

Result<std::vector<FileHost>> read_hosts_file(std::string_view text, std::string_view path) {
  const auto wrong = [path](size_t line, const std::string& why) {
    return fail(Code::invalid_argument, std::string(path) + ":" + std::to_string(line) + ": " + why);
  };
  if (text.size() > kMaxHostsFile) return wrong(1, "the file is larger than 4 MiB");
  std::vector<FileHost> hosts;
  for (size_t number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    line = line.substr(0, line.find('#'));
    std::string_view rest = line;
    if (next_word(rest).empty()) continue;
    if (hosts.size() == kMaxHosts) return wrong(number, "more than 10,000 hosts");
    FileHost host;
    if (const std::string why = read_line(line, host); !why.empty()) return wrong(number, why);
    hosts.push_back(std::move(host));
  }
  return hosts;
}

}  // namespace trellis::upstream
