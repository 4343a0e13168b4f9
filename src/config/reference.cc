#include "config/reference.h"

#include <map>
#include <set>
#include <vector>

namespace trellis::config {
namespace {

using Shape = TypeInfo::Shape;

// ---- Markdown ------------------------------------------------------------------------------------------------------

std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string code(std::string_view text) { return text.empty() ? std::string() : "`" + cell(text) + "`"; }

class Markdown {
 public:
  std::string make(const TableInfo& root, std::string_view title) {
    out_ = "# " + std::string(title) + "\n";
    plan(root, "", "");
    for (const Section& each : order_) section(each);
    return std::move(out_);
  }

 private:
  struct Below {
    const TypeInfo* type;
    std::string path;
    std::string doc;
  };

  // The type in words; tables are named by the section that shows them.
  std::string type_text(const TypeInfo& type, const std::string& path) const {
    switch (type.shape) {
      case Shape::scalar:
      case Shape::any: return type.name;
      case Shape::list: return "list of " + type_text(*type.item, path + "[]");
      case Shape::map: return "map of " + type_text(*type.item, path + ".NAME");
      case Shape::table: {
        const auto seen = sections_.find(&type.table());
        const std::string where = "see `" + (seen == sections_.end() ? path : seen->second) + "`";
        return (type.text.empty() ? "map" : type.text + ", or map") + " (" + where + ")";
      }
      case Shape::variant: return "map with " + keys(type, " or ");
      case Shape::one_key: return "one key: " + keys(type, ", ");
      case Shape::keyed: return "map of " + keys(type, ", ");
    }
    return {};
  }
  static std::string keys(const TypeInfo& type, std::string_view between) {
    std::string out;
    for (const TypeInfo::Alternative& each : type.alternatives) {
      if (!out.empty()) out += between;
      out += "`" + each.key + "`";
    }
    return out;
  }
  static std::string range_text(const TypeInfo& type) {
    const TypeInfo* innermost = &type;
    while (innermost->item) innermost = innermost->item.get();
    return innermost->shape == Shape::scalar ? innermost->range : std::string();
  }

  // The tables below a type, each with the path it is written at.
  static void collect(const TypeInfo& type, const std::string& path, const std::string& doc,
                      std::vector<Below>& below) {
    switch (type.shape) {
      case Shape::scalar:
      case Shape::any: return;
      case Shape::list: return collect(*type.item, path + "[]", doc, below);
      case Shape::map: return collect(*type.item, path + ".NAME", doc, below);
      case Shape::table: below.push_back({&type, path, doc}); return;
      case Shape::variant:
        for (const TypeInfo::Alternative& each : type.alternatives) {
          collect(each.type, path + " with " + each.key, doc, below);
        }
        return;
      case Shape::one_key:
      case Shape::keyed:
        for (const TypeInfo::Alternative& each : type.alternatives) {
          collect(each.type, path + "." + each.key, each.doc, below);
        }
        return;
    }
  }

  struct Section {
    const TableInfo* table;
    std::string path;
    std::string doc;
  };

  // Which struct is shown where: at the first place that uses it, its own parts right behind it.
  void plan(const TableInfo& table, const std::string& path, const std::string& doc) {
    if (!sections_.emplace(&table, path.empty() ? "top level" : path).second) return;
    order_.push_back({&table, path, doc});
    std::vector<Below> below;
    for (const FieldInfo& field : table.fields) {
      collect(field.type, path.empty() ? field.name : path + "." + field.name, field.doc, below);
    }
    for (const Below& each : below) plan(each.type->table(), each.path, each.doc);
  }

  void section(const Section& here) {
    const auto& [table_pointer, path, doc] = here;
    const TableInfo& table = *table_pointer;
    out_ += "\n## " + (path.empty() ? std::string("Top level") : "`" + path + "`") + "\n\n";
    if (!doc.empty()) out_ += doc + "\n\n";
    if (table.fields.empty()) {
      out_ += "No options.\n";
      return;
    }
    out_ += "| option | type | default | range | what it does |\n|---|---|---|---|---|\n";
    for (const FieldInfo& field : table.fields) {
      const std::string inside = path.empty() ? field.name : path + "." + field.name;
      const std::string fallback = field.required ? "required" : code(field.default_text);
      std::string range = cell(range_text(field.type));
      if (!field.unit.empty()) range += (range.empty() ? "" : " ") + cell(field.unit);
      out_ += "| `" + field.name + "` | " + cell(type_text(field.type, inside)) + " | " + fallback + " | " + range +
              " | " + cell(field.doc) + (field.secret ? " (secret)" : "") + " |\n";
    }
  }

  std::string out_;
  std::map<const TableInfo*, std::string> sections_;
  std::vector<Section> order_;
};

// ---- JSON schema ---------------------------------------------------------------------------------------------------

std::string json_string(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

class Schema {
 public:
  std::string make(const TableInfo& root, std::string_view title) {
    const std::string first = reference(root);
    std::string defs;
    // Writing a table may find further ones.
    for (size_t i = 0; i < tables_.size(); ++i) {
      defs += ",\n    " + json_string(names_.at(tables_[i])) + ": " + object(*tables_[i]);
    }
    return "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n  \"title\": " + json_string(title) +
           ",\n  \"$ref\": " + first +
           ",\n  \"$defs\": {\n    \"variable\": {\"type\": \"string\", \"pattern\": \"\\\\$\\\\{\"}" + defs +
           "\n  }\n}\n";
  }

 private:
  std::string reference(const TableInfo& table) {
    if (!names_.contains(&table)) {
      std::string base;
      for (const char c : table.name) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.';
        base += plain ? c : '_';
      }
      std::string name = base;
      for (int n = 2; taken_.contains(name); ++n) name = base + "_" + std::to_string(n);
      taken_.insert(name);
      names_.emplace(&table, std::move(name));
      tables_.push_back(&table);
    }
    return json_string("#/$defs/" + names_.at(&table));
  }

  std::string object(const TableInfo& table) {
    std::string properties;
    std::string required;
    for (const FieldInfo& field : table.fields) {
      if (!properties.empty()) properties += ",";
      properties += "\n        " + json_string(field.name) + ": " + property(field);
      if (field.required) required += (required.empty() ? "" : ", ") + json_string(field.name);
    }
    return "{\n      \"type\": [\"object\", \"null\"],\n      \"additionalProperties\": false,\n      \"properties\": "
           "{" +
           properties + "\n      }" + (required.empty() ? "" : ",\n      \"required\": [" + required + "]") + "\n    }";
  }

  std::string property(const FieldInfo& field) {
    std::string text = field.doc;
    const TypeInfo& type = field.type;
    if (!type.range.empty() && type.shape == Shape::scalar) text += " (" + type.range + ")";
    std::string out = "{\"description\": " + json_string(text);
    if (field.secret) out += ", \"writeOnly\": true";
    const bool literal = type.json.starts_with("\"type\": \"integer\"") ||
                         type.json.starts_with("\"type\": \"number\"") ||
                         type.json.starts_with("\"type\": \"boolean\"");
    // A computed default is text for people.
    const bool number = literal && !field.default_text.empty() &&
                        (field.default_text == "true" || field.default_text == "false" ||
                         field.default_text.find_first_not_of("0123456789.-+e") == std::string::npos);
    if (number) out += ", \"default\": " + field.default_text;
    if (!literal && type.shape == Shape::scalar && !field.default_text.empty()) {
      out += ", \"default\": " + json_string(field.default_text);
    }
    const std::string rest = members(type);
    return out + (rest.empty() ? "" : ", " + rest) + "}";
  }

  std::string wrapped(const TypeInfo& type) { return "{" + members(type) + "}"; }

  // The members of a schema object for the type. Any value may be a ${NAME} instead.
  std::string members(const TypeInfo& type) {
    switch (type.shape) {
      case Shape::scalar: return "\"anyOf\": [{" + type.json + "}, {\"$ref\": \"#/$defs/variable\"}]";
      case Shape::any: return {};
      case Shape::list: return "\"type\": [\"array\", \"null\"], \"items\": " + wrapped(*type.item);
      case Shape::map: return "\"type\": [\"object\", \"null\"], \"additionalProperties\": " + wrapped(*type.item);
      case Shape::table: {
        const std::string reference_text = reference(type.table());
        if (type.text.empty()) return "\"$ref\": " + reference_text;
        return "\"anyOf\": [{\"type\": \"string\"}, {\"$ref\": " + reference_text + "}]";
      }
      case Shape::variant: {
        std::string list;
        for (const TypeInfo::Alternative& each : type.alternatives) {
          list += (list.empty() ? "" : ", ") +
                  ("{\"required\": [" + json_string(each.key) + "], " + members(each.type) + "}");
        }
        return "\"oneOf\": [" + list + "]";
      }
      case Shape::one_key:
        return "\"anyOf\": [{\"enum\": [" + names(type) + "]}, {\"minProperties\": 1, \"maxProperties\": 1, " +
               alternatives(type) + "}]";
      case Shape::keyed: return alternatives(type);
    }
    return {};
  }
  static std::string names(const TypeInfo& type) {
    std::string out;
    for (const TypeInfo::Alternative& each : type.alternatives)
      out += (out.empty() ? "" : ", ") + json_string(each.key);
    return out;
  }
  std::string alternatives(const TypeInfo& type) {
    std::string properties;
    for (const TypeInfo::Alternative& each : type.alternatives) {
      const std::string rest = members(each.type);
      properties += (properties.empty() ? "" : ", ") + json_string(each.key) +
                    ": {\"description\": " + json_string(each.doc) + (rest.empty() ? "" : ", " + rest) + "}";
    }
    return "\"type\": [\"object\", \"null\"], \"additionalProperties\": false, \"properties\": {" + properties + "}";
  }

  std::map<const TableInfo*, std::string> names_;
  std::set<std::string> taken_;
  std::vector<const TableInfo*> tables_;
};

}  // namespace

std::string reference_markdown(const TableInfo& root, std::string_view title) { return Markdown().make(root, title); }

std::string json_schema(const TableInfo& root, std::string_view title) { return Schema().make(root, title); }

}  // namespace trellis::config
