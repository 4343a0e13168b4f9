#include "config/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <sstream>
#include <vector>

namespace trellis::config {
namespace {

// The braces of a ${NAME} while YAML looks at the text: in `{ secret: ${KEY} }` a brace would end the value. One byte
// each, so that columns stay; the text itself may not hold control characters.
constexpr char kOpen = '\x01';
constexpr char kClose = '\x02';

constexpr size_t kMaxKeyBytes = 512;
constexpr size_t kMaxReplacedBytes = 1 << 20;

bool starts_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool in_name(char c) { return starts_name(c) || (c >= '0' && c <= '9'); }

std::string hide_references(std::string_view text) {
  std::string out(text);
  for (size_t at = out.find("${"); at != std::string::npos; at = out.find("${", at + 2)) {
    size_t end = at + 2;
    if (end >= out.size() || !starts_name(out[end])) continue;
    while (end < out.size() && in_name(out[end])) ++end;
    if (out.compare(end, 2, ":-") == 0) end = out.find_first_of("{}\n", end);
    if (end >= out.size() || out[end] != '}') continue;
    out[at + 1] = kOpen;
    out[end] = kClose;
  }
  return out;
}

std::string show_references(std::string_view text) {
  std::string out(text);
  std::ranges::replace(out, kOpen, '{');
  std::ranges::replace(out, kClose, '}');
  return out;
}

// The length of the well-formed UTF-8 sequence at the start of `text`, 0 if there is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                        : (first & 0xF0) == 0xE0         ? 3
                        : first >= 0xF0 && first <= 0xF4 ? 4
                                                         : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
  if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
  return length;
}

class Source {
 public:
  Source(std::string_view text, std::shared_ptr<const std::string> name, const Mark* whole)
      : text_(text), name_(std::move(name)), whole_(whole) {
    lines_.push_back(0);
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') lines_.push_back(i + 1);
    }
  }

  Mark mark(const YAML::Mark& at) {
    if (whole_ != nullptr) return *whole_;
    if (at.is_null() || at.line < 0) return Mark{name_, 1, 1};
    return mark(static_cast<size_t>(at.line), static_cast<size_t>(std::max(at.column, 0)));
  }
  Mark mark_of_byte(size_t byte) {
    if (whole_ != nullptr) return *whole_;
    const auto next = std::ranges::upper_bound(lines_, byte);
    const auto line = static_cast<size_t>(next - lines_.begin()) - 1;
    return mark(line, byte - lines_[line]);
  }
  bool starts_with_tab(const YAML::Mark& at) const {
    if (at.is_null() || at.line < 0 || static_cast<size_t>(at.line) >= lines_.size()) return false;
    const std::string_view line = text_.substr(lines_[static_cast<size_t>(at.line)]);
    const size_t first = line.find_first_not_of(' ');
    return first != std::string_view::npos && line[first] == '\t';
  }
  // Where the dash of an empty list item stands, when yaml-cpp names the token after it.
  Mark mark_of_empty(const YAML::Mark& at) {
    if (whole_ != nullptr || at.is_null() || at.line < 0 || static_cast<size_t>(at.line) >= lines_.size())
      return mark(at);
    size_t byte =
        std::min(lines_[static_cast<size_t>(at.line)] + static_cast<size_t>(std::max(at.column, 0)), text_.size());
    while (byte > 0 && std::string_view(" \t\r\n").contains(text_[byte - 1])) --byte;
    return byte > 0 && text_[byte - 1] == '-' ? mark_of_byte(byte - 1) : mark(at);
  }

 private:
  // yaml-cpp counts bytes, people count characters. Events come in the order of the text, so the count goes on from the
  // last place of the same line instead of starting over.
  Mark mark(size_t line, size_t column) {
    if (line >= lines_.size()) return Mark{name_, static_cast<uint32_t>(line + 1), static_cast<uint32_t>(column + 1)};
    if (line != counted_line_ || column < counted_bytes_) {
      counted_line_ = line;
      counted_bytes_ = 0;
      counted_characters_ = 0;
    }
    const size_t start = lines_[line];
    for (; counted_bytes_ < column && start + counted_bytes_ < text_.size(); ++counted_bytes_) {
      if ((static_cast<unsigned char>(text_[start + counted_bytes_]) & 0xC0) != 0x80) ++counted_characters_;
    }
    return Mark{name_, static_cast<uint32_t>(line + 1), static_cast<uint32_t>(counted_characters_ + 1)};
  }

  std::string_view text_;
  std::shared_ptr<const std::string> name_;
  const Mark* whole_;
  std::vector<size_t> lines_;
  size_t counted_line_ = 0;
  size_t counted_bytes_ = 0;
  size_t counted_characters_ = 0;
};

// Ends the scan from within an event; never leaves this file.
struct Stop {
  Mark mark;
  std::string path;
  std::string reason;
};

class Builder : public YAML::EventHandler {
 public:
  Builder(Source& source, const Environment& environment, Tree& tree, Problems& problems)
      : source_(source), environment_(environment), tree_(tree), problems_(problems) {}

  uint32_t root() const { return root_; }
  // Of the innermost list or map that has not ended; null outside of all.
  const Mark* innermost() const { return open_.empty() ? nullptr : &tree_.reps[open_.back().index].mark; }

  void OnDocumentStart(const YAML::Mark& at) override {
    if (++documents_ > 1)
      throw Stop{source_.mark(at), {}, "a second document starts here; one file holds one document"};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& at, YAML::anchor_t anchor) override {
    if (wants_key()) throw Stop{source_.mark(at), path(), "a key is missing before the colon"};
    Tree::Rep rep;
    rep.mark = in_map() ? open_.back().key_mark : source_.mark_of_empty(at);
    finish(put(std::move(rep)), {}, anchor);
  }

  void OnAlias(const YAML::Mark& at, YAML::anchor_t) override {
    if (wants_key()) throw Stop{source_.mark(at), path(), "aliases are not supported; write the value out"};
    Tree::Rep rep;
    rep.mark = source_.mark(at);
    rep.broken = true;
    const Mark mark = rep.mark;
    const uint32_t index = put(std::move(rep));
    problems_.add(mark, path_of(index), "aliases are not supported; write the value out");
  }

  void OnScalar(const YAML::Mark& at, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const Mark mark = source_.mark(at);
    if (wants_key()) return take_key(mark, tag, anchor, show_references(value));
    Tree::Rep rep;
    rep.kind = Kind::scalar;
    rep.mark = mark;
    rep.quoted = tag == "!";
    rep.text = value;
    const uint32_t index = put(std::move(rep));
    finish(index, tag, anchor);
    replace_references(index);
  }

  void OnSequenceStart(const YAML::Mark& at, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    start(Kind::list, at, tag, anchor);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& at, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    start(Kind::map, at, tag, anchor);
  }
  void OnMapEnd() override { end(); }

  // Once the scan has ended well. Before, the text may be broken in a way that explains more.
  void report_odd_key() {
    if (odd_key_) problems_.add(odd_key_->mark, odd_key_->path, odd_key_->reason);
  }

 private:
  struct Open {
    uint32_t index;
    bool has_key = false;
    bool twice = false;   // the key was there before: its value is read and dropped
    bool is_key = false;  // a list or map where a key should be: read and dropped
    std::string key;
    Mark key_mark;
  };

  bool in_map() const { return !open_.empty() && tree_.reps[open_.back().index].kind == Kind::map; }
  bool wants_key() const { return in_map() && !open_.back().has_key; }
  std::string path() const { return open_.empty() ? std::string() : path_of(open_.back().index); }
  // Nodes of a value that is dropped end the path where they end.
  std::string path_of(uint32_t index) const { return tree_.path(index); }

  void take_key(const Mark& mark, const std::string& tag, YAML::anchor_t anchor, std::string key) {
    if (key.size() > kMaxKeyBytes) throw Stop{mark, path(), "a key may have 512 bytes at most"};
    Open& map = open_.back();
    map.has_key = true;
    map.key_mark = mark;
    const std::string here = path_step(path(), key);
    if (anchor != YAML::NullAnchor) refuse_anchor(mark, here);
    if (tag != "?" && tag != "!" && !tag.empty()) problems_.add(mark, here, "tags are not supported");
    const uint32_t before = tree_.find(map.index, key);
    map.twice = before != Tree::kNone;
    if (map.twice) {
      problems_.add(mark, here, "written twice; first at " + tree_.reps[before].key_mark.to_string());
    }
    map.key = std::move(key);
  }

  void check_room(const Mark& mark) const {
    if (tree_.reps.size() >= Tree::kMaxNodes)
      throw Stop{mark, path(), "too many values: a configuration may have 200000"};
  }

  uint32_t put(Tree::Rep rep) {
    check_room(rep.mark);
    if (open_.empty()) return root_ = tree_.add(std::move(rep));
    Open& parent = open_.back();
    const bool twice = parent.twice;
    if (parent.has_key) {
      rep.key = std::move(parent.key);
      rep.key_mark = parent.key_mark;
      parent.has_key = false;
      parent.twice = false;
      parent.key.clear();
    }
    const uint32_t index = tree_.add(std::move(rep));
    if (!twice) tree_.attach(parent.index, index);
    return index;
  }

  void start(Kind kind, const YAML::Mark& at, const std::string& tag, YAML::anchor_t anchor) {
    const Mark mark = source_.mark(at);
    if (open_.size() >= Tree::kMaxDepth) throw Stop{mark, {}, "nested too deeply: 64 levels are allowed"};
    Tree::Rep rep;
    rep.kind = kind;
    rep.mark = mark;
    Open next{};
    next.is_key = wants_key();
    if (next.is_key) {
      if (!odd_key_) odd_key_ = Stop{mark, path(), "a key must be a plain word, not " + std::string(to_string(kind))};
      check_room(mark);
      next.index = tree_.add(std::move(rep));
    } else {
      next.index = put(std::move(rep));
      finish(next.index, tag, anchor);
    }
    open_.push_back(std::move(next));
  }
  void end() {
    const bool was_key = open_.back().is_key;
    open_.pop_back();
    if (!was_key) return;
    open_.back().has_key = true;
    open_.back().twice = true;
  }

  void finish(uint32_t index, const std::string& tag, YAML::anchor_t anchor) {
    const Mark mark = tree_.reps[index].mark;
    if (anchor != YAML::NullAnchor) refuse_anchor(mark, path_of(index));
    if (tag != "?" && tag != "!" && !tag.empty()) problems_.add(mark, path_of(index), "tags are not supported");
  }

  void refuse_anchor(const Mark& mark, const std::string& where) {
    problems_.add(mark, where, "anchors are not supported; write the value out where it is used");
  }

  void replace_references(uint32_t index) {
    Tree::Rep& rep = tree_.reps[index];
    const std::string raw = std::move(rep.text);
    rep.text.clear();
    const auto fault = [&](std::string reason) {
      rep.broken = true;
      problems_.add(rep.mark, path_of(index), std::move(reason));
    };
    size_t at = 0;
    while (at < raw.size() && !rep.broken) {
      const std::string_view rest = std::string_view(raw).substr(at);
      if (rest.size() >= 3 && rest.starts_with("$$") && (rest[2] == '{' || rest[2] == kOpen)) {
        rep.text += "${";
        at += 3;
      } else if (rest.starts_with("${")) {
        fault("${ must be followed by a variable's name and }; write $${ for the characters themselves");
      } else if (rest.size() >= 2 && rest[0] == '$' && rest[1] == kOpen) {
        const size_t end = rest.find(kClose);
        if (end == std::string_view::npos) {
          fault("a variable reference is not closed");
          break;
        }
        const std::string_view inside = rest.substr(2, end - 2);
        const size_t colon = inside.find(":-");
        const std::string name(inside.substr(0, colon));
        std::optional<std::string> value = environment_ ? environment_(name) : std::nullopt;
        if (colon != std::string_view::npos && (!value || value->empty())) {
          value = std::string(inside.substr(colon + 2));
        }
        if (!value) {
          fault("the environment variable " + name + " is not set");
        } else {
          rep.text += *value;
          rep.from_environment = true;
          at += end + 1;
        }
      } else {
        rep.text += raw[at] == kOpen ? '{' : raw[at] == kClose ? '}' : raw[at];
        ++at;
      }
      if (rep.text.size() > kMaxReplacedBytes && rep.from_environment) fault("longer than 1 MiB with its variables");
    }
    if (rep.from_environment || rep.broken) rep.written = show_references(raw);
  }

  Source& source_;
  const Environment& environment_;
  Tree& tree_;
  Problems& problems_;
  std::vector<Open> open_;
  std::optional<Stop> odd_key_;
  uint32_t root_ = Tree::kNone;
  int documents_ = 0;
};

// What yaml-cpp says, in words for the one who wrote the file.
std::string reason_of(const YAML::Exception& e, const Source& source, const Builder& builder) {
  const std::string_view what = e.msg;
  if (what == YAML::ErrorMsg::UNKNOWN_ANCHOR) return "aliases are not supported; write the value out";
  if (what == YAML::ErrorMsg::END_OF_MAP_FLOW || what == YAML::ErrorMsg::END_OF_SEQ_FLOW) {
    std::string out = what == YAML::ErrorMsg::END_OF_MAP_FLOW ? "a { is not closed by }" : "a [ is not closed by ]";
    if (builder.innermost() != nullptr) out += "; opened at " + builder.innermost()->to_string();
    return out;
  }
  if (source.starts_with_tab(e.mark)) return "not valid YAML: a tab cannot indent; use spaces";
  return "not valid YAML: " + e.msg;
}

bool is_text(std::string_view text, Source& source, Problems& problems) {
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f) {
      problems.add(source.mark_of_byte(i), {}, "a control character; the file is not text");
      return false;
    }
    const size_t length = utf8_length(text.substr(i));
    if (length == 0) {
      problems.add(source.mark_of_byte(i), {}, "not valid UTF-8");
      return false;
    }
    i += length;
  }
  return true;
}

}  // namespace

uint32_t read_yaml(std::string_view text, const std::shared_ptr<const std::string>& name,
                   const Environment& environment, Tree& tree, Problems& problems, const Mark* whole) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  Source source(text, name, whole);
  if (!is_text(text, source, problems)) return Tree::kNone;

  Builder builder(source, environment, tree, problems);
  try {
    std::istringstream in(hide_references(text));
    YAML::Parser parser(in);
    if (!parser.HandleNextDocument(builder)) {
      Tree::Rep empty;
      empty.mark = whole != nullptr ? *whole : Mark{name, 1, 1};
      return tree.add(std::move(empty));
    }
    parser.HandleNextDocument(builder);
    builder.report_odd_key();
    return builder.root();
  } catch (const Stop& stop) {
    problems.add(stop.mark, stop.path, stop.reason);
  } catch (const YAML::Exception& e) {
    problems.add(source.mark(e.mark), {}, reason_of(e, source, builder));
  } catch (const std::exception& e) {
    problems.add(source.mark(YAML::Mark::null_mark()), {}, std::string("not valid YAML: ") + e.what());
  }
  return Tree::kNone;
}

}  // namespace trellis::config
