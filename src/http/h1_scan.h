// What the HTTP/1.1 codec's parsers share: classes of characters, and searches that look at 16 bytes at a time (SSE2,
// which every x86-64 has; byte by byte elsewhere). Pure functions for any core; nothing reads outside the range it is
// given.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace trellis::http::scan {

inline constexpr uint8_t kToken = 1;       // RFC 9110 §5.6.2
inline constexpr uint8_t kPath = 2;        // may stand in a path as it is and needs no look: not '%', '.'
inline constexpr uint8_t kQuery = 4;       // may stand in a query
inline constexpr uint8_t kUnreserved = 8;  // RFC 3986 §2.3
inline constexpr uint8_t kHost = 16;       // in a registered name
inline constexpr uint8_t kUnderscore = 32;
inline constexpr uint8_t kUpper = 64;

constexpr std::array<uint8_t, 256> make_classes() {
  std::array<uint8_t, 256> classes{};
  const auto set = [&classes](std::string_view characters, uint8_t bits) {
    for (const char c : characters) classes[static_cast<uint8_t>(c)] |= bits;
  };
  for (int c = 0x21; c <= 0x7e; ++c) classes[static_cast<size_t>(c)] |= kQuery;
  for (const char c : std::string_view("<>#")) classes[static_cast<uint8_t>(c)] &= static_cast<uint8_t>(~kQuery);
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  constexpr std::string_view kDigits = "0123456789";
  set(kLetters, kToken | kPath | kUnreserved | kHost);
  set(kLetters.substr(0, 26), kUpper);
  set(kDigits, kToken | kPath | kUnreserved | kHost);
  set("!#$%&'*+-.^_`|~", kToken);
  set("-_~", kPath);
  set("-._~", kUnreserved | kHost);
  set("!$&'()*+,;=:@/", kPath);
  set("|[]^", kPath);  // not by RFC 3986, but browsers send them as they are
  set("_", kUnderscore);
  return classes;
}
inline constexpr std::array<uint8_t, 256> kClasses = make_classes();

constexpr uint8_t classes_of(char c) noexcept { return kClasses[static_cast<uint8_t>(c)]; }
constexpr bool is_a(char c, uint8_t bits) noexcept { return (classes_of(c) & bits) != 0; }
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }
inline constexpr char kHexDigits[] = "0123456789ABCDEF";

constexpr bool is_control(char c) noexcept {  // HTAB is none here
  const auto u = static_cast<uint8_t>(c);
  return (u < 0x20 && u != '\t') || u == 0x7f;
}
constexpr bool is_visible(char c) noexcept {
  return c > 0x20 && c < 0x7f;
}  // char is signed or not: 0x80.. is out either way

#if defined(__SSE2__)
inline __m128i load(const char* p) noexcept { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

inline uint32_t control_mask(__m128i v) noexcept {
  const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
  const __m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
  const __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
  return static_cast<uint32_t>(_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, low), del)));
}
#endif

// The first control byte from `p` on (CR and LF are some, HTAB is not), or `end`. From `begin` on memory may be read:
// near the end 16 bytes are looked at that began before `p`.
inline const char* find_control(const char* begin, const char* p, const char* end) noexcept {
#if defined(__SSE2__)
  for (; end - p >= 16; p += 16) {
    if (const uint32_t mask = control_mask(load(p)); mask != 0) return p + std::countr_zero(mask);
  }
  if (end - begin >= 16) {
    const uint32_t mask = control_mask(load(end - 16)) >> (16 - (end - p));
    return mask != 0 ? p + std::countr_zero(mask) : end;
  }
#else
  (void)begin;
#endif
  while (p != end && !is_control(*p)) ++p;
  return p;
}

// The first byte outside 0x21..0x7e, or `end`.
inline const char* find_invisible(const char* p, const char* end) noexcept {
#if defined(__SSE2__)
  const __m128i first_visible = _mm_set1_epi8(0x21);
  const __m128i del = _mm_set1_epi8(0x7f);
  while (end - p >= 16) {
    const __m128i v = load(p);
    const __m128i bad =
        _mm_or_si128(_mm_cmplt_epi8(v, first_visible), _mm_cmpeq_epi8(v, del));  // signed: 0x80.. is below
    if (const auto mask = static_cast<uint32_t>(_mm_movemask_epi8(bad)); mask != 0) return p + std::countr_zero(mask);
    p += 16;
  }
#endif
  while (p != end && is_visible(*p)) ++p;
  return p;
}

// How many bytes stand before the first ':', when it is among the next 32 and no byte before it is below 0x21; else 0.
// `begin`: as above.
inline size_t find_colon(const char* begin, const char* p, const char* end) noexcept {
#if defined(__SSE2__)
  const __m128i colon = _mm_set1_epi8(':');
  const __m128i space = _mm_set1_epi8(' ');
  for (uint32_t base = 0; base < 32; base += 16, p += 16) {
    int beyond = 0;  // bytes of the 16 that lie before p
    if (end - p < 16) {
      if (end == p || end - begin < 16) return 0;
      beyond = 16 - static_cast<int>(end - p);
    }
    const __m128i v = load(p - beyond);
    const uint32_t low = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(v, space), v))) >> beyond;
    const uint32_t found = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(v, colon))) >> beyond;
    if (found != 0) {
      const auto at = static_cast<uint32_t>(std::countr_zero(found));
      return (low & ((1U << at) - 1)) == 0 ? base + at : 0;
    }
    if (low != 0 || beyond > 0) return 0;
  }
#else
  (void)begin;
  (void)p;
  (void)end;
#endif
  return 0;
}

// The end of the first CRLF CRLF. nullptr: there is none, or a stray LF stands so near to another that a slower look is
// due.
inline const char* find_empty_line(const char* p, const char* end) noexcept {
#if defined(__SSE2__)
  if (end - p < 18) return nullptr;
  const char* const begin = p;
  const __m128i lf = _mm_set1_epi8('\n');
  while (true) {
    if (end - p < 18) {
      if (end - p <= 2) return nullptr;
      p = end - 18;  // looks at some bytes twice
    }
    // LF, any byte, LF.
    const __m128i here = load(p);
    const __m128i ahead = load(p + 2);
    const __m128i both = _mm_and_si128(_mm_cmpeq_epi8(here, lf), _mm_cmpeq_epi8(ahead, lf));
    if (const auto mask = static_cast<uint32_t>(_mm_movemask_epi8(both)); mask != 0) {
      const char* const at = p + std::countr_zero(mask);
      return at > begin && at[-1] == '\r' && at[1] == '\r' ? at + 3 : nullptr;
    }
    p += 16;
  }
#endif
  (void)p;
  (void)end;
  return nullptr;
}

}  // namespace trellis::http::scan
