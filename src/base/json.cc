#include "base/json.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <charconv>
#include <cmath>
#include <cstring>

namespace trellis {
inline namespace base {
namespace {

// Eight bytes at once: is one of them a control character, a quote, a backslash or not ASCII?
bool has_special(uint64_t word) noexcept {
  constexpr uint64_t kOnes = 0x0101010101010101;
  constexpr uint64_t kHigh = 0x8080808080808080;
  const uint64_t control = word - kOnes * 0x20;
  const uint64_t quote = (word ^ (kOnes * '"')) - kOnes;
  const uint64_t backslash = (word ^ (kOnes * '\\')) - kOnes;
  // A borrow can only report too much, never too little; the scalar loop then finds nothing special.
  return ((control | quote | backslash | word) & kHigh) != 0;
}

// Length of the well-formed UTF-8 sequence at the start of `text` (RFC 3629: no overlong forms, no surrogates), 0 when
// there is none.
size_t utf8_length(const unsigned char* text, size_t size) noexcept {
  const auto continues = [](unsigned char c) { return (c & 0xC0) == 0x80; };
  const unsigned char first = text[0];
  if (first >= 0xC2 && first <= 0xDF) return size >= 2 && continues(text[1]) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (size < 3 || !continues(text[1]) || !continues(text[2])) return 0;
    if (first == 0xE0 && text[1] < 0xA0) return 0;
    if (first == 0xED && text[1] > 0x9F) return 0;
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (size < 4 || !continues(text[1]) || !continues(text[2]) || !continues(text[3])) return 0;
    if (first == 0xF0 && text[1] < 0x90) return 0;
    if (first == 0xF4 && text[1] > 0x8F) return 0;
    return 4;
  }
  return 0;
}

char* put_escaped(char* out, unsigned char c) noexcept {
  static constexpr char kHex[] = "0123456789abcdef";
  *out++ = '\\';
  switch (c) {
    case '"':
    case '\\': *out++ = static_cast<char>(c); return out;
    case '\n': *out++ = 'n'; return out;
    case '\r': *out++ = 'r'; return out;
    case '\t': *out++ = 't'; return out;
    case '\b': *out++ = 'b'; return out;
    case '\f': *out++ = 'f'; return out;
    default: break;
  }
  std::memcpy(out, "u00", 3);
  out[3] = kHex[c >> 4];
  out[4] = kHex[c & 15];
  return out + 5;
}

// Byte by byte, with words of eight where a text becomes plain again.
char* escape_bytes(char* out, const char* at, const char* end) noexcept {
  while (at < end) {
    const auto c = static_cast<unsigned char>(*at);
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') [[likely]] {
      *out++ = *at++;
      continue;
    }
    if (c < 0x80) {
      out = put_escaped(out, c);
      ++at;
    } else if (const size_t length = utf8_length(reinterpret_cast<const unsigned char*>(at), end - at)) {
      std::memcpy(out, at, length);
      out += length;
      at += length;
    } else {
      std::memcpy(out, "\xEF\xBF\xBD", 3);  // U+FFFD
      out += 3;
      ++at;
    }
    while (end - at >= 8) {
      uint64_t word;
      std::memcpy(&word, at, 8);
      if (has_special(word)) break;
      std::memcpy(out, at, 8);
      at += 8;
      out += 8;
    }
  }
  return out;
}

}  // namespace

char* json_escape(char* out, std::string_view text) noexcept {
  const char* at = text.data();
  const char* end = at + text.size();
#if defined(__SSE2__)
  while (end - at >= 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    // Compared as signed bytes: control characters and everything beyond ASCII at once.
    const __m128i odd = _mm_or_si128(
        _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)),
        _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
    if (_mm_movemask_epi8(odd) != 0) return escape_bytes(out, at, end);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
    at += 16;
    out += 16;
  }
#endif
  // Most text is plain: words of eight, and the rest by a last word that overlaps what was copied already.
  while (end - at >= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    if (has_special(word)) return escape_bytes(out, at, end);
    std::memcpy(out, at, 8);
    at += 8;
    out += 8;
  }
  const auto rest = static_cast<size_t>(end - at);
  if (text.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, end - 8, 8);
    if (has_special(word)) return escape_bytes(out, at, end);
    std::memcpy(out + rest - 8, end - 8, 8);
    return out + rest;
  }
  if (rest >= 4) {
    uint32_t first;
    uint32_t last;
    std::memcpy(&first, at, 4);
    std::memcpy(&last, end - 4, 4);
    if (has_special(first | static_cast<uint64_t>(last) << 32)) return escape_bytes(out, at, end);
    std::memcpy(out, &first, 4);
    std::memcpy(out + rest - 4, &last, 4);
    return out + rest;
  }
  return escape_bytes(out, at, end);
}

void append_json(std::string& out, std::string_view text) {
  const size_t before = out.size();
  // WHY not resize(): it would write zeros over all that the text might need.
  out.resize_and_overwrite(before + 2 + kJsonGrowth * text.size(), [&](char* bytes, size_t) {
    char* at = bytes + before;
    *at++ = '"';
    at = json_escape(at, text);
    *at++ = '"';
    return static_cast<size_t>(at - bytes);
  });
}

JsonWriter& JsonWriter::open(char bracket) {
  separate();
  out_.push_back(bracket);
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  out_.push_back(bracket);
  comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  append_json(out_, name);
  out_.push_back(':');
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  separate();
  append_json(out_, text);
  return *this;
}

JsonWriter& JsonWriter::value(double number) {
  if (!std::isfinite(number)) return null();
  char text[32];
  const auto done = std::to_chars(text, text + sizeof(text), number);
  return raw({text, static_cast<size_t>(done.ptr - text)});
}

JsonWriter& JsonWriter::signed_value(int64_t number) {
  char text[24];
  const auto done = std::to_chars(text, text + sizeof(text), number);
  return raw({text, static_cast<size_t>(done.ptr - text)});
}

JsonWriter& JsonWriter::unsigned_value(uint64_t number) {
  char text[24];
  const auto done = std::to_chars(text, text + sizeof(text), number);
  return raw({text, static_cast<size_t>(done.ptr - text)});
}

JsonWriter& JsonWriter::raw(std::string_view json) {
  separate();
  out_.append(json);
  return *this;
}

}  // namespace base
}  // namespace trellis
