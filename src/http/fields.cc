#include "http/fields.h"

#include <array>
#include <cstring>

namespace trellis::http {

namespace {

constexpr std::string_view kNames[] = {"",
#define X(id, name) name,
                                       TRELLIS_HTTP_FIELDS(X)
#undef X
};
constexpr size_t kFieldCount = sizeof(kNames) / sizeof(kNames[0]);

constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

// Length, first, middle and last character tell the known names apart well enough for one probe in a small table.
constexpr uint32_t slot_of(std::string_view name) noexcept {
  const auto first = static_cast<uint8_t>(lower(name.front()));
  const auto middle = static_cast<uint8_t>(lower(name[name.size() / 2]));
  const auto last = static_cast<uint8_t>(lower(name.back()));
  return (static_cast<uint32_t>(name.size()) * 37U + first * 101U + middle * 29U + last * 7U) & 1023U;
}

struct FieldTable {
  std::array<uint8_t, 1024> ids{};  // open addressing; 0 = empty
};
constexpr FieldTable make_table() {
  FieldTable table;
  for (size_t i = 1; i < kFieldCount; ++i) {
    uint32_t slot = slot_of(kNames[i]);
    while (table.ids[slot] != 0) slot = (slot + 1) & 1023U;
    table.ids[slot] = static_cast<uint8_t>(i);
  }
  return table;
}
constexpr FieldTable kTable = make_table();

}  // namespace

bool iequal(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

FieldId field_id(std::string_view name) noexcept {
  if (name.empty()) return FieldId::unknown;
  for (uint32_t slot = slot_of(name); kTable.ids[slot] != 0; slot = (slot + 1) & 1023U) {
    if (iequal(kNames[kTable.ids[slot]], name)) return static_cast<FieldId>(kTable.ids[slot]);
  }
  return FieldId::unknown;
}

std::string_view field_name(FieldId id) noexcept { return kNames[static_cast<size_t>(id)]; }

std::optional<std::string_view> next_element(std::string_view& list) noexcept {
  while (true) {
    while (!list.empty() && (list.front() == ' ' || list.front() == '\t' || list.front() == ',')) list.remove_prefix(1);
    if (list.empty()) return std::nullopt;
    bool quoted = false;
    size_t i = 0;
    for (; i < list.size(); ++i) {
      const char c = list[i];
      if (quoted) {
        if (c == '\\')
          ++i;
        else if (c == '"')
          quoted = false;
      } else if (c == '"') {
        quoted = true;
      } else if (c == ',') {
        break;
      }
    }
    if (i > list.size()) i = list.size();
    std::string_view element = list.substr(0, i);
    list.remove_prefix(i);
    while (!element.empty() && (element.back() == ' ' || element.back() == '\t')) element.remove_suffix(1);
    if (!element.empty()) return element;
  }
}

bool list_has(std::string_view value, std::string_view token) noexcept {
  while (auto element = next_element(value)) {
    if (iequal(*element, token)) return true;
  }
  return false;
}

std::optional<std::string_view> Fields::find(FieldId id) const noexcept {
  for (const Field& field : *this) {
    if (field.id == id) return field.value;
  }
  return std::nullopt;
}

std::optional<std::string_view> Fields::find(std::string_view name) const noexcept {
  if (const FieldId id = field_id(name); id != FieldId::unknown) return find(id);
  for (const Field& field : *this) {
    if (field.id == FieldId::unknown && iequal(field.name, name)) return field.value;
  }
  return std::nullopt;
}

size_t Fields::count(FieldId id) const noexcept {
  size_t n = 0;
  for (const Field& field : *this) n += field.id == id;
  return n;
}

std::string_view Fields::joined(FieldId id) const {
  size_t total = 0;
  size_t n = 0;
  std::string_view only;
  for (const Field& field : *this) {
    if (field.id != id) continue;
    total += field.value.size() + 2;
    only = field.value;
    ++n;
  }
  if (n <= 1) return only;
  char* const to = arena_->alloc(total);
  char* at = to;
  for (const Field& field : *this) {
    if (field.id != id) continue;
    if (at != to) {
      *at++ = ',';
      *at++ = ' ';
    }
    if (field.value.empty()) continue;  // its data() may be null
    std::memcpy(at, field.value.data(), field.value.size());
    at += field.value.size();
  }
  return {to, static_cast<size_t>(at - to)};
}

void Fields::set(FieldId id, std::string_view value) {
  bool placed = false;
  remove_if([&](const Field& field) {
    if (field.id != id) return false;
    if (placed) return true;
    placed = true;
    const_cast<Field&>(field).value = value;
    return false;
  });
  if (!placed) add(id, value);
}

void Fields::set(std::string_view name, std::string_view value) {
  if (const FieldId id = field_id(name); id != FieldId::unknown) return set(id, value);
  remove(name);
  add(name, value);
}

size_t Fields::remove(FieldId id) noexcept {
  const size_t before = size_;
  remove_if([id](const Field& field) { return field.id == id; });
  return before - size_;
}

size_t Fields::remove(std::string_view name) noexcept {
  if (const FieldId id = field_id(name); id != FieldId::unknown) return remove(id);
  const size_t before = size_;
  remove_if([name](const Field& field) { return field.id == FieldId::unknown && iequal(field.name, name); });
  return before - size_;
}

void Fields::grow() {
  const uint32_t capacity = capacity_ == 0 ? 16 : capacity_ * 2;
  Field* items = arena_->alloc_array<Field>(capacity);
  if (size_ > 0) std::memcpy(static_cast<void*>(items), items_, size_ * sizeof(Field));
  items_ = items;
  capacity_ = capacity;
}

}  // namespace trellis::http
