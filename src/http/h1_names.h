// The id of a field name, as http/fields.h gives it, fast: a name is compared eight bytes at a time against the few
// that share its hash. For the head parser only, which meets a dozen names a request. Pure, any core.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "http/fields.h"

namespace trellis::http::names {

struct KnownName {
  char lower[32] = {};
  uint8_t size = 0;
};

constexpr uint32_t slot_of(char first, char middle, char last, size_t size) noexcept {
  const auto folded = [](char c) { return static_cast<uint32_t>(static_cast<uint8_t>(c | 0x20)); };
  return (static_cast<uint32_t>(size) * 37U + folded(first) * 101U + folded(middle) * 29U + folded(last) * 7U) & 1023U;
}
constexpr uint32_t slot_of(std::string_view name) noexcept {
  return slot_of(name.front(), name[name.size() / 2], name.back(), name.size());
}

inline constexpr std::string_view kNames[] = {"",
#define X(id, name) name,
                                              TRELLIS_HTTP_FIELDS(X)
#undef X
};
inline constexpr size_t kCount = std::size(kNames);

struct Table {
  std::array<uint8_t, 1024> ids{};  // open addressing; 0: empty
  std::array<KnownName, kCount> names{};
};
constexpr Table make_table() {
  Table table;
  for (size_t i = 1; i < kCount; ++i) {
    KnownName& known = table.names[i];
    known.size = static_cast<uint8_t>(kNames[i].size());
    for (size_t j = 0; j < kNames[i].size(); ++j) known.lower[j] = static_cast<char>(kNames[i][j] | 0x20);
    uint32_t slot = slot_of(kNames[i]);
    while (table.ids[slot] != 0) slot = (slot + 1) & 1023U;
    table.ids[slot] = static_cast<uint8_t>(i);
  }
  return table;
}
inline constexpr Table kTable = make_table();

// The names here are letters and '-'. With bit 0x20 set, only a letter's other case becomes that letter, but CR becomes
// '-': whoever calls has seen that the name holds no byte below 0x21.
constexpr bool only_letters_and_dashes() {
  for (size_t i = 1; i < kCount; ++i) {
    if (kNames[i].size() > sizeof(KnownName::lower)) return false;
    for (const char c : kNames[i]) {
      if (c != '-' && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z')) return false;
    }
  }
  return true;
}
static_assert(only_letters_and_dashes());

template <class Word>
bool same_word(const char* name, const char* lower, Word fold) noexcept {
  Word a;
  Word b;
  std::memcpy(&a, name, sizeof(a));
  std::memcpy(&b, lower, sizeof(b));
  return (a | fold) == b;
}

inline bool same_name(const char* name, const char* lower, size_t size) noexcept {
  constexpr uint64_t kFold8 = 0x2020202020202020U;
  constexpr uint32_t kFold4 = 0x20202020U;
  if (size >= 8) {
    for (size_t i = 0; i + 8 < size; i += 8) {
      if (!same_word(name + i, lower + i, kFold8)) return false;
    }
    return same_word(name + size - 8, lower + size - 8, kFold8);
  }
  if (size >= 4) return same_word(name, lower, kFold4) && same_word(name + size - 4, lower + size - 4, kFold4);
  for (size_t i = 0; i < size; ++i) {
    if ((name[i] | 0x20) != lower[i]) return false;
  }
  return true;
}

// `name` is not empty and holds no byte below 0x21. Equal to field_id(name).
inline FieldId find(std::string_view name) noexcept {
  for (uint32_t slot = slot_of(name); kTable.ids[slot] != 0; slot = (slot + 1) & 1023U) {
    const KnownName& known = kTable.names[kTable.ids[slot]];
    if (known.size == name.size() && same_name(name.data(), known.lower, name.size())) {
      return static_cast<FieldId>(kTable.ids[slot]);
    }
  }
  return FieldId::unknown;
}

}  // namespace trellis::http::names
