#include "services/links/access/block_set.h"

#include <algorithm>
#include <utility>

#include "base/encoding.h"
#include "base/hash.h"
#include "services/links/domains/host_name.h"
#include "services/links/url.h"

namespace trellis::services::links {

namespace {

constexpr size_t kMaxSegments = 16;  // of an entry's path
constexpr size_t kLeastTable = 64;

std::string decoded(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  for (size_t at = 0; at < path.size(); ++at) {
    const int high = path[at] == '%' && at + 2 < path.size() ? hex_digit(path[at + 1]) : -1;
    const int low = high >= 0 ? hex_digit(path[at + 2]) : -1;
    if (low >= 0) {
      out.push_back(static_cast<char>(high * 16 + low));
      at += 2;
    } else {
      out.push_back(path[at]);
    }
  }
  return out;
}

// Without dot segments and empty ones, backslashes as slashes; "" for "/". Decoded once: as a whole before it is split,
// as some servers do, for whom an encoded slash is one; or segment by segment, as browsers read dots.
enum class Reading : uint8_t { decoded_whole, decoded_by_segment };
std::string normal_path(std::string_view path, Reading reading) {
  const std::string plain = reading == Reading::decoded_whole ? decoded(path) : std::string(path);
  std::vector<std::string> segments;
  for (std::string_view rest = plain; !rest.empty();) {
    const size_t slash = std::min(rest.find_first_of("/\\"), rest.size());
    std::string segment(rest.substr(0, slash));
    if (reading == Reading::decoded_by_segment) segment = decoded(segment);
    rest.remove_prefix(std::min(slash + 1, rest.size()));
    if (segment.empty() || segment == ".") continue;
    if (segment != "..") {
      segments.push_back(std::move(segment));
    } else if (!segments.empty()) {
      segments.pop_back();
    }
  }
  std::string out;
  for (const std::string& segment : segments) {
    out += '/';
    out += segment;
  }
  return out;
}

// So that it reads back to the same path.
std::string encoded(std::string_view path) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  out.reserve(path.size());
  for (const char c : path) {
    const auto byte = static_cast<uint8_t>(c);
    const bool plain = byte > 0x20 && byte < 0x7f && std::string_view("%?#\\").find(c) == std::string_view::npos;
    if (plain) {
      out.push_back(c);
      continue;
    }
    out.push_back('%');
    out.push_back(kHex[byte >> 4]);
    out.push_back(kHex[byte & 15]);
  }
  return out;
}

std::string_view path_of(std::string_view url) noexcept {
  url.remove_prefix(std::min(url.find("//") + 2, url.size()));
  url = url.substr(0, url.find_first_of("?#"));
  return url.substr(std::min(url.find('/'), url.size()));
}

// Of a range of addresses, such as /24; as a path it would block next to nothing.
bool is_length(std::string_view path) noexcept {
  return path.size() >= 2 && path.size() <= 4 &&
         std::all_of(path.begin() + 1, path.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string_view without_first_label(std::string_view host) noexcept {
  const size_t dot = host.find('.');
  return dot == std::string_view::npos ? std::string_view() : host.substr(dot + 1);
}

}  // namespace

// --- Entries ---

std::string BlockEntry::text() const { return (exact ? "=" : "") + host + encoded(path); }

std::expected<BlockEntry, std::string> read_block_entry(std::string_view text) {
  const auto wrong = [](const char* why) { return std::unexpected(std::string(why)); };
  if (text.size() > kMaxBlockEntry) return wrong("An entry has 512 bytes at most.");
  BlockEntry entry;
  entry.exact = text.starts_with('=');
  if (entry.exact) text.remove_prefix(1);
  if (text.find("://") != std::string_view::npos) return wrong("An entry has no scheme: begin it with the host.");
  if (text.starts_with("*.") || text.starts_with('.'))
    return wrong("A host stands for its subdomains, too: leave out what is before it.");
  if (text.find_first_of("?#") != std::string_view::npos) return wrong("An entry has no query and no fragment.");
  const std::string_view host = text.substr(0, text.find('/'));
  // What may be a host in a URL may be one here.
  const Result<UrlHost> checked = check_url("http://" + std::string(text));
  if (!checked) return wrong("This is no host, or host and path.");
  const size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && (host.front() != '[' || colon > host.find(']')))
    return wrong("An entry holds for all ports: leave it out.");
  entry.host = normal_host(checked->host);
  entry.path = normal_path(text.substr(host.size()), Reading::decoded_whole);
  if (is_address(entry.host) && is_length(entry.path))
    return wrong("Ranges of addresses cannot be blocked, only single ones.");
  // A letter that looks like a slash, a dot or a star becomes one.
  const Result<UrlHost> again = check_url("http://" + entry.host);
  const bool plain = !entry.host.starts_with('.') && entry.host.find("..") == std::string::npos &&
                     entry.host.find_first_of("=*") == std::string::npos;
  if (!plain || !again || again->host != entry.host) return wrong("This is no host, or host and path.");
  if (std::any_of(entry.host.begin(), entry.host.end(), [](char c) { return static_cast<uint8_t>(c) >= 0x80; }))
    return wrong("This name cannot be compared with those in URLs: write its letters beyond ASCII as xn--….");
  if (static_cast<size_t>(std::count(entry.path.begin(), entry.path.end(), '/')) > kMaxSegments)
    return wrong("The path of an entry has 16 segments at most.");
  if (entry.text().size() > kMaxBlockEntry) return wrong("An entry has 512 bytes at most.");
  return entry;
}

// --- The set ---

uint64_t BlockSet::hash_of(Kind kind, std::string_view host, std::string_view path) const noexcept {
  uint64_t hash = hash64(host, seed_ + static_cast<uint64_t>(kind));
  if (!path.empty()) hash = hash64(path, hash);
  return std::max<uint64_t>(hash, 1);
}

bool BlockSet::has(uint64_t hash) const noexcept {
  if (table_.empty()) return false;
  const size_t mask = table_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    if (table_[at] == hash) return true;
    if (table_[at] == 0) return false;
  }
}

void BlockSet::put(uint64_t hash) {
  if (has(hash)) return;
  if ((used_ + 1) * 4 > table_.size() * 3) {
    const std::vector<uint64_t> before =
        std::exchange(table_, std::vector<uint64_t>(std::max(kLeastTable, table_.size() * 2)));
    used_ = 0;
    for (const uint64_t each : before)
      if (each != 0) put(each);
  }
  const size_t mask = table_.size() - 1;
  size_t at = hash & mask;
  while (table_[at] != 0) at = (at + 1) & mask;
  table_[at] = hash;
  ++used_;
}

void BlockSet::add(const BlockEntry& entry) {
  ++entries_;
  put(hash_of(entry.exact ? Kind::exact : Kind::subdomains, entry.host, entry.path));
  if (!entry.path.empty()) put(hash_of(Kind::has_paths, entry.host, {}));
}

std::optional<std::string> BlockSet::find(std::string_view url) const {
  if (entries_ == 0) return std::nullopt;
  const Result<UrlHost> checked = check_url(url);
  if (!checked) return std::nullopt;
  const std::string host = normal_host(checked->host);
  // A name that cannot be compared is not let through.
  if (std::any_of(host.begin(), host.end(), [](char c) { return static_cast<uint8_t>(c) >= 0x80; })) return host;
  std::optional<std::string> path;  // when it is needed
  std::string other_path;
  const bool address = is_address(host);
  for (std::string_view name = host; !name.empty(); name = address ? std::string_view() : without_first_label(name)) {
    const bool whole = name.size() == host.size();
    if (has(Kind::subdomains, name)) return std::string(name);
    if (whole && has(Kind::exact, name)) return "=" + std::string(name);
    if (!has(Kind::has_paths, name)) continue;
    if (!path) {
      path = normal_path(path_of(url), Reading::decoded_whole);
      other_path = normal_path(path_of(url), Reading::decoded_by_segment);
    }
    if (auto found = find_path(name, *path, whole)) return found;
    if (other_path == *path) continue;
    if (auto found = find_path(name, other_path, whole)) return found;
  }
  return std::nullopt;
}

std::optional<std::string> BlockSet::find_path(std::string_view host, std::string_view path, bool whole) const {
  size_t end = 0;
  for (size_t segments = 0; segments < kMaxSegments && end < path.size(); ++segments) {
    end = std::min(path.find('/', end + 1), path.size());
    const std::string_view prefix = path.substr(0, end);
    if (has(Kind::subdomains, host, prefix)) return BlockEntry{std::string(host), std::string(prefix), false}.text();
    if (whole && has(Kind::exact, host, prefix)) return BlockEntry{std::string(host), std::string(prefix), true}.text();
  }
  return std::nullopt;
}

// --- Files ---

std::expected<BlockSet, BlockFault> read_block_file(std::string_view text, uint64_t seed) {
  constexpr std::string_view kBlanks = " \t\r";
  const auto wrong = [](size_t line, std::string why) { return std::unexpected(BlockFault{line, std::move(why)}); };
  if (text.size() > kMaxBlockFile) return wrong(0, "The file is larger than 64 MiB.");
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  BlockSet set(seed);
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    for (size_t mark = line.find('#'); mark != std::string_view::npos; mark = line.find('#', mark + 1)) {
      if (mark > 0 && kBlanks.find(line[mark - 1]) == std::string_view::npos) continue;
      line = line.substr(0, mark);
      break;
    }
    line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
    line = line.substr(0, line.find_last_not_of(kBlanks) + 1);
    if (line.empty()) continue;
    if (set.size() == kMaxBlockEntries) return wrong(number, "A file has 1,000,000 entries at most.");
    const auto entry = read_block_entry(line);
    if (!entry) return wrong(number, entry.error());
    set.add(*entry);
  }
  return set;
}

}  // namespace trellis::services::links
