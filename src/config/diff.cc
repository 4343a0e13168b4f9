#include "config/diff.h"

#include <algorithm>

namespace trellis::config {
namespace {

// Where the walk stands in the tables: the type, or a table without a type (the root, an alternative).
struct Where {
  const TypeInfo* type = nullptr;
  const TableInfo* table = nullptr;
  bool secret = false;

  Where item() const { return Where{type != nullptr ? type->item.get() : nullptr, nullptr, secret}; }
  Where field(const TableInfo& from, std::string_view key) const {
    const auto it = std::ranges::find(from.fields, key, &FieldInfo::name);
    if (it == from.fields.end()) return Where{nullptr, nullptr, secret};
    return Where{&it->type, nullptr, secret || it->secret};
  }
  Where child(std::string_view key) const {
    using Shape = TypeInfo::Shape;
    if (table != nullptr) return field(*table, key);
    if (type == nullptr) return Where{nullptr, nullptr, secret};
    switch (type->shape) {
      case Shape::map: return item();
      case Shape::table: return field(type->table(), key);
      case Shape::one_key:
      case Shape::keyed: {
        const auto it = std::ranges::find(type->alternatives, key, &TypeInfo::Alternative::key);
        return Where{it == type->alternatives.end() ? nullptr : &it->type, nullptr, secret};
      }
      case Shape::variant: {
        // Any alternative that calls it secret hides it.
        Where out{nullptr, nullptr, secret};
        for (const TypeInfo::Alternative& each : type->alternatives) {
          if (each.type.table == nullptr) continue;
          const Where found = field(each.type.table(), key);
          if (out.type == nullptr) out.type = found.type;
          out.secret = out.secret || found.secret;
        }
        return out;
      }
      default: return Where{nullptr, nullptr, secret};
    }
  }
};

std::string shown(const Node& node, const Where& where) {
  return where.secret && node.is_scalar() ? "(secret)" : node.shown();
}

void walk(const Node& old, const Node& now, const Where& where, std::vector<Change>& out) {
  if (old.is_map() && now.is_map()) {
    for (const Node& before : old.children()) {
      const Where inside = where.child(before.key());
      const Node after = now.find(before.key());
      if (after) {
        walk(before, after, inside, out);
      } else {
        out.push_back({Change::What::removed, before.path(), shown(before, inside), {}});
      }
    }
    for (const Node& after : now.children()) {
      if (old.find(after.key())) continue;
      out.push_back({Change::What::added, after.path(), {}, shown(after, where.child(after.key()))});
    }
    return;
  }
  if (old.is_list() && now.is_list()) {
    const Where inside = where.item();
    const size_t both = std::min(old.size(), now.size());
    for (size_t i = 0; i < both; ++i) walk(old.at(i), now.at(i), inside, out);
    for (size_t i = both; i < old.size(); ++i) {
      out.push_back({Change::What::removed, old.at(i).path(), shown(old.at(i), inside), {}});
    }
    for (size_t i = both; i < now.size(); ++i) {
      out.push_back({Change::What::added, now.at(i).path(), {}, shown(now.at(i), inside)});
    }
    return;
  }
  if (old.kind() == now.kind() && old.text() == now.text()) return;
  out.push_back({Change::What::changed, now.path(), shown(old, where), shown(now, where)});
}

}  // namespace

std::string Change::to_string() const {
  switch (what) {
    case What::added: return path + ": added " + after;
    case What::removed: return path + ": removed " + before;
    case What::changed: return path + ": " + before + " -> " + after;
  }
  return path;
}

std::vector<Change> diff(const Node& old, const Node& now, const TableInfo* table) {
  std::vector<Change> out;
  walk(old, now, Where{nullptr, table, false}, out);
  return out;
}

}  // namespace trellis::config
