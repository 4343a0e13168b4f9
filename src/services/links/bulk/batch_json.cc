#include "services/links/bulk/batch_json.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "config/problems.h"
#include "services/links/json_object.h"

namespace trellis::services::links {

namespace {

std::unexpected<Fault> fault(std::string field, std::string detail, std::string code = "invalid_argument") {
  return std::unexpected(Fault{std::move(field), std::move(detail), std::move(code)});
}

class BatchReader {
 public:
  explicit BatchReader(std::string_view body) : size_(body.size()), rest_(body) {}

  std::expected<Batch, Fault> read() {
    if (!take('{')) return fault("", "The body must be a JSON object.");
    if (!take('}')) {
      do {
        if (auto wrong = read_member()) return std::unexpected(*std::move(wrong));
      } while (take(','));
      if (!take('}')) return not_json();
    }
    skip_blanks();
    if (!rest_.empty()) return not_json();
    if (!seen_[0]) return fault("links", "The links are missing.");
    return std::move(batch_);
  }

 private:
  static constexpr std::array<std::string_view, 2> kMembers = {"links", "atomic"};

  std::unexpected<Fault> not_json() const {
    const std::string why = why_invalid(size_ - rest_.size() + 1, size_);
    return fault("", "The body is not valid JSON: " + why + ".", "invalid_json");
  }

  void skip_blanks() noexcept { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\r\n"), rest_.size())); }

  bool take(char c) noexcept {
    skip_blanks();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool take(std::string_view word) noexcept {
    skip_blanks();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  std::optional<Fault> read_member() {
    if (!take('"')) return not_json().error();
    const size_t end = rest_.find('"');
    if (end == std::string_view::npos) return not_json().error();
    const std::string_view name = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    if (!take(':')) return not_json().error();
    for (size_t i = 0; i < kMembers.size(); ++i) {
      if (name != kMembers[i]) continue;
      if (std::exchange(seen_[i], true)) return fault(std::string(name), "The member is there twice.").error();
      return i == 0 ? read_links() : read_atomic();
    }
    // The name is the client's: cut, so that an answer stays small.
    const std::string cut(name.substr(0, 64));
    return Fault{cut, "There is no member \"" + cut + "\"; " + config::suggest(cut, kMembers), "unknown_member"};
  }

  std::optional<Fault> read_atomic() {
    if (take("true")) {
      batch_.atomic = true;
    } else if (take("false")) {
      batch_.atomic = false;
    } else {
      return fault("atomic", "Atomic is true or false.").error();
    }
    return std::nullopt;
  }

  std::optional<Fault> read_links() {
    if (!take('[')) return fault("links", "The links must be a list.").error();
    if (take(']')) return std::nullopt;
    do {
      if (batch_.links.size() == kMaxBatch) return fault("links", "A batch has 10,000 links at most.").error();
      skip_blanks();
      const std::string_view link = object_at_front();
      if (link.empty()) {
        return fault("links", "links[" + std::to_string(batch_.links.size()) + "] is no JSON object.").error();
      }
      batch_.links.push_back(link);
      rest_.remove_prefix(link.size());
    } while (take(','));
    return take(']') ? std::nullopt : std::optional(not_json().error());
  }

  // From { to the bracket that closes it; "" when there is none. What lies between is checked by who reads it.
  std::string_view object_at_front() const noexcept {
    if (rest_.empty() || rest_.front() != '{') return {};
    size_t depth = 0;
    for (size_t at = 0; at < rest_.size(); ++at) {
      at = rest_.find_first_of("\"{}", at);
      if (at == std::string_view::npos) break;
      if (rest_[at] == '{') {
        ++depth;
      } else if (rest_[at] == '}') {
        if (--depth == 0) return rest_.substr(0, at + 1);
      } else {
        at = end_of_string(at);
      }
    }
    return {};
  }

  // The place of the quote that ends the string which begins at `at`, or the end.
  size_t end_of_string(size_t at) const noexcept {
    for (++at; at < rest_.size() && rest_[at] != '"'; ++at)
      if (rest_[at] == '\\') ++at;
    return at;
  }

  const size_t size_;
  std::string_view rest_;
  std::array<bool, 2> seen_{};
  Batch batch_;
};

}  // namespace

std::expected<Batch, Fault> read_batch(std::string_view body) { return BatchReader(body).read(); }

}  // namespace trellis::services::links
