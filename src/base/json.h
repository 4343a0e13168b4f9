// A JSON writer that appends to a string: commas are placed by itself, strings are escaped for every byte (control
// characters as
// \u00XX, invalid UTF-8 as U+FFFD), numbers are written in their shortest form. It checks no nesting: the caller's
// calls are the structure. Reading is nlohmann's task, in .cc files. Pure; any core.
//
//   JsonWriter json(out);
//   json.begin_object().member("name", "edge").key("hosts").begin_array().value(1).value(2).end_array().end_object();
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace trellis {
inline namespace base {

// Writes the escaped form of `text` without quotes to `out`, which holds at least kJsonGrowth * text.size() bytes;
// gives its end.
inline constexpr size_t kJsonGrowth = 6;
char* json_escape(char* out, std::string_view text) noexcept;

// Appends `text` as a JSON string, with quotes.
void append_json(std::string& out, std::string_view text);

class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) noexcept : out_(out) {}

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);

  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(const std::string& text) { return value(std::string_view(text)); }
  JsonWriter& value(bool flag) { return raw(flag ? "true" : "false"); }
  JsonWriter& value(double number);  // NaN and infinities, which JSON does not know, become null
  template <std::integral Int>
    requires(!std::same_as<Int, bool>)
  JsonWriter& value(Int number) {
    if constexpr (std::is_signed_v<Int>) return signed_value(number);
    return unsigned_value(static_cast<uint64_t>(number));
  }
  JsonWriter& null() { return raw("null"); }
  // Text that is JSON already.
  JsonWriter& raw(std::string_view json);

  template <class T>
  JsonWriter& member(std::string_view name, const T& what) {
    return key(name).value(what);
  }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  JsonWriter& signed_value(int64_t number);
  JsonWriter& unsigned_value(uint64_t number);
  void separate() {
    if (comma_) out_.push_back(',');
    comma_ = true;
  }

  std::string& out_;
  bool comma_ = false;  // a value stands before the next one at this depth
};

}  // namespace base
}  // namespace trellis
