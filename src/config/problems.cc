#include "config/problems.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

namespace trellis::config {
namespace {

constexpr size_t kLongestWord = 64;

// Optimal string alignment distance: a swap of neighbours counts as one edit.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::array<std::array<size_t, kLongestWord + 1>, 3> rows{};
  for (size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    auto& now = rows[i % 3];
    const auto& before = rows[(i + 2) % 3];
    const auto& earlier = rows[(i + 1) % 3];
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
      now[j] = std::min({before[j] + 1, now[j - 1] + 1, before[j - 1] + cost});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], earlier[j - 2] + 1);
    }
  }
  return rows[a.size() % 3][b.size()];
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c == '-') c = '_';
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace

std::string Mark::to_string() const {
  std::string out = file ? *file : std::string();
  if (line > 0) out += ":" + std::to_string(line) + ":" + std::to_string(column);
  return out;
}

std::string Problem::to_string() const {
  std::string out = mark.to_string();
  if (!out.empty()) out += ": ";
  if (!path.empty()) out += path + ": ";
  out += reason;
  if (!hint.empty()) out += "; " + hint;
  return out;
}

void Problems::add(Mark mark, std::string path, std::string reason, std::string hint) {
  ++total_;
  if (kept_.size() < kKept) {
    kept_.push_back(Problem{std::move(mark), std::move(path), std::move(reason), std::move(hint)});
  }
}

bool Problems::touches(std::string_view path) const {
  return std::ranges::any_of(kept_, [&](const Problem& problem) {
    const std::string_view other = problem.path;
    if (other == path) return true;
    const bool below = other.size() > path.size() && other.starts_with(path) &&
                       (path.empty() || other[path.size()] == '.' || other[path.size()] == '[');
    const bool above = !other.empty() && path.size() > other.size() && path.starts_with(other) &&
                       (path[other.size()] == '.' || path[other.size()] == '[');
    return below || above;
  });
}

std::vector<Problem> Problems::sorted() const {
  std::vector<size_t> order(kept_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, [&](size_t a, size_t b) {
    const Mark& left = kept_[a].mark;
    const Mark& right = kept_[b].mark;
    const std::string_view file_left = left.file ? std::string_view(*left.file) : std::string_view();
    const std::string_view file_right = right.file ? std::string_view(*right.file) : std::string_view();
    return std::tuple(file_left, left.line, left.column, a) < std::tuple(file_right, right.line, right.column, b);
  });
  std::vector<Problem> out;
  out.reserve(order.size());
  for (const size_t i : order) out.push_back(kept_[i]);
  return out;
}

std::string Problems::to_string() const {
  std::string out;
  const std::vector<Problem> list = sorted();
  for (size_t i = 0; i < std::min(list.size(), kShown); ++i) out += list[i].to_string() + "\n";
  if (total_ > kShown) out += "and " + std::to_string(total_ - std::min(list.size(), kShown)) + " more problems\n";
  return out;
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.empty() || word.size() > kLongestWord) return {};
  const std::string meant = lower(word);
  std::string_view best;
  size_t best_distance = meant.size() <= 3 ? 1 : 2;  // two edits of a three letter word make any other
  bool found = false;
  for (const std::string_view candidate : candidates) {
    if (candidate.size() > kLongestWord) continue;
    const size_t distance = edit_distance(meant, lower(candidate));
    if (distance < best_distance || (!found && distance == best_distance)) {
      best = candidate;
      best_distance = distance;
      found = true;
    }
  }
  if (found) return best;
  for (const std::string_view candidate : candidates) {
    const std::string known = lower(candidate);
    if (meant.size() >= 3 && known.starts_with(meant)) return candidate;
    if (known.size() >= 3 && meant.starts_with(known)) return candidate;
  }
  return {};
}

std::string suggest(std::string_view word, std::span<const std::string_view> candidates) {
  if (const std::string_view near = nearest(word, candidates); !near.empty()) {
    return "did you mean \"" + std::string(near) + "\"?";
  }
  if (candidates.empty()) return "nothing is allowed here";
  constexpr size_t kListed = 30;
  std::string out = "allowed: ";
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (i == kListed) return out + " and " + std::to_string(candidates.size() - i) + " more";
    if (i > 0) out += ", ";
    out += candidates[i];
  }
  return out;
}

}  // namespace trellis::config
