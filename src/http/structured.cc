#include "http/structured.h"

namespace trellis::http {

namespace {

using Member = DictionaryMember;
using Kind = DictionaryMember::Kind;

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr bool is_lower(char c) noexcept { return c >= 'a' && c <= 'z'; }
constexpr bool is_alpha(char c) noexcept { return is_lower(c) || (c >= 'A' && c <= 'Z'); }
constexpr bool is_printable(char c) noexcept { return c >= 0x20 && c < 0x7f; }
constexpr bool is_key_start(char c) noexcept { return is_lower(c) || c == '*'; }
constexpr bool is_key_byte(char c) noexcept {
  return is_lower(c) || is_digit(c) || c == '_' || c == '-' || c == '.' || c == '*';
}
constexpr bool is_token_start(char c) noexcept { return is_alpha(c) || c == '*'; }
constexpr bool is_token_byte(char c) noexcept {
  return is_alpha(c) || is_digit(c) || std::string_view("!#$%&'*+-.^_`|~:/").find(c) != std::string_view::npos;
}
constexpr bool is_base64_byte(char c) noexcept {
  return is_alpha(c) || is_digit(c) || c == '+' || c == '/' || c == '=';
}
constexpr bool is_hex_byte(char c) noexcept { return is_digit(c) || (c >= 'a' && c <= 'f'); }

// §4.2, one function a rule. After a false the text is in no known state.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  bool at_end() const noexcept { return rest_.empty(); }
  bool take(char c) noexcept {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void skip_spaces() noexcept {
    while (take(' ')) {
    }
  }
  void skip_optional_white_space() noexcept {
    while (take(' ') || take('\t')) {
    }
  }

  bool key(std::string_view& out) noexcept {
    if (rest_.empty() || !is_key_start(rest_.front())) return false;
    out = cut_while(is_key_byte);
    return true;
  }

  bool parameters() noexcept {
    while (take(';')) {
      skip_spaces();
      Member ignored;
      if (!key(ignored.key)) return false;
      if (take('=') && !bare_item(ignored)) return false;
    }
    return true;
  }

  bool item_or_inner_list(Member& out) noexcept {
    const std::string_view start = rest_;
    if (!take('(')) return bare_item(out) && parameters();
    while (true) {
      skip_spaces();
      if (take(')')) break;
      Member ignored;
      if (!bare_item(ignored) || !parameters()) return false;
      if (rest_.empty() || (rest_.front() != ' ' && rest_.front() != ')')) return false;
    }
    out.kind = Kind::inner_list;
    out.text = start.substr(0, start.size() - rest_.size());
    return parameters();
  }

 private:
  template <class Predicate>
  std::string_view cut_while(Predicate fits) noexcept {
    size_t size = 0;
    while (size < rest_.size() && fits(rest_[size])) ++size;
    const std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }

  bool bare_item(Member& out) noexcept {
    if (rest_.empty()) return false;
    const std::string_view start = rest_;
    const char first = rest_.front();
    bool read = false;
    if (first == '"') {
      return string(out);
    } else if (first == '-' || is_digit(first)) {
      read = number(out);
    } else if (first == '?') {
      read = boolean(out);
    } else if (first == ':') {
      read = byte_sequence(out);
    } else if (first == '@') {
      rest_.remove_prefix(1);
      read = number(out) && out.kind == Kind::integer;
      out.kind = Kind::date;
    } else if (first == '%') {
      read = display_string(out);
    } else if (is_token_start(first)) {
      out.kind = Kind::token;
      cut_while(is_token_byte);
      read = true;
    }
    out.text = start.substr(0, start.size() - rest_.size());
    return read;
  }

  // At most 15 digits; a decimal at most 12 before the point and 1 to 3 behind it (§4.2.4).
  bool number(Member& out) noexcept {
    const bool negative = take('-');
    const std::string_view whole = cut_while(is_digit);
    if (whole.empty() || whole.size() > 15) return false;
    out.kind = Kind::integer;
    out.integer = 0;
    for (const char c : whole) out.integer = out.integer * 10 + (c - '0');
    if (negative) out.integer = -out.integer;
    if (!take('.')) return true;
    out.kind = Kind::decimal;
    const std::string_view fraction = cut_while(is_digit);
    return whole.size() <= 12 && !fraction.empty() && fraction.size() <= 3;
  }

  bool boolean(Member& out) noexcept {
    rest_.remove_prefix(1);
    out.kind = Kind::boolean;
    out.integer = !rest_.empty() && rest_.front() == '1' ? 1 : 0;
    return take('1') || take('0');
  }

  bool string(Member& out) noexcept {
    out.kind = Kind::string;
    for (size_t i = 1; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == '"') {
        out.text = rest_.substr(1, i - 1);
        rest_.remove_prefix(i + 1);
        return true;
      }
      if (!is_printable(c)) return false;
      if (c == '\\' && (++i == rest_.size() || (rest_[i] != '"' && rest_[i] != '\\'))) return false;
    }
    return false;
  }

  bool byte_sequence(Member& out) noexcept {
    rest_.remove_prefix(1);
    out.kind = Kind::bytes;
    cut_while(is_base64_byte);
    return take(':');
  }

  bool display_string(Member& out) noexcept {
    rest_.remove_prefix(1);
    out.kind = Kind::display_string;
    if (!take('"')) return false;
    while (!rest_.empty()) {
      if (take('"')) return true;
      if (take('%')) {
        if (rest_.size() < 2 || !is_hex_byte(rest_[0]) || !is_hex_byte(rest_[1])) return false;
        rest_.remove_prefix(2);
      } else if (is_printable(rest_.front())) {
        rest_.remove_prefix(1);
      } else {
        return false;
      }
    }
    return false;
  }

  std::string_view rest_;
};

}  // namespace

std::optional<std::vector<DictionaryMember>> parse_dictionary(std::string_view text) {
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  std::vector<DictionaryMember> members;
  Reader reader(text);
  reader.skip_spaces();
  if (reader.at_end()) return members;
  while (true) {
    Member member;
    if (!reader.key(member.key)) return std::nullopt;
    if (reader.take('=')) {
      if (!reader.item_or_inner_list(member)) return std::nullopt;
    } else {
      member.integer = 1;  // a key alone is true
      if (!reader.parameters()) return std::nullopt;
    }
    bool known = false;
    for (Member& each : members) {
      if (each.key != member.key) continue;
      each = member;
      known = true;
    }
    if (!known) {
      if (members.size() == kMaxDictionaryMembers) return std::nullopt;
      members.push_back(member);
    }
    reader.skip_optional_white_space();
    if (reader.at_end()) return members;
    if (!reader.take(',')) return std::nullopt;
    reader.skip_optional_white_space();
    if (reader.at_end()) return std::nullopt;
  }
}

bool is_structured_token(std::string_view text) noexcept {
  if (text.empty() || !is_token_start(text.front())) return false;
  for (const char c : text) {
    if (!is_token_byte(c)) return false;
  }
  return true;
}

std::string_view structured_text(std::string_view text, Arena& arena) {
  return is_structured_token(text) ? text : structured_string(text, arena);
}

std::string_view structured_string(std::string_view text, Arena& arena) {
  char* const to = arena.alloc(2 * text.size() + 2);
  char* at = to;
  *at++ = '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') *at++ = '\\';
    *at++ = is_printable(c) ? c : '?';
  }
  *at++ = '"';
  return {to, static_cast<size_t>(at - to)};
}

}  // namespace trellis::http
