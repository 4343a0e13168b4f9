// What a configuration may hold, as data: made from the same field tables that read it, so that the generated
// reference, the JSON schema and the masking of secrets cannot drift from the code. Immutable once made; any core.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace trellis::config {

struct TableInfo;

struct TypeInfo {
  enum class Shape : uint8_t {
    scalar,
    list,     // of item
    map,      // of item, under free keys
    table,    // the fields of a struct; where `text` is set, also one line of text
    variant,  // one of several tables, told apart by the key that is present
    one_key,  // `- jwt: {...}`: a map of one key, which names the alternative
    keyed,    // the keys of the map name the alternatives
    any,      // kept as it is for a later reader
  };
  struct Alternative;

  Shape shape = Shape::scalar;
  std::string name;   // "integer", "duration"
  std::string range;  // "1..1000000"; empty if there is none
  std::string text;   // of a table: the one-line form
  std::string json;   // of a scalar: its members in a JSON schema
  std::shared_ptr<const TypeInfo> item;
  const TableInfo& (*table)() = nullptr;  // a function, because tables may hold themselves
  std::vector<Alternative> alternatives;
};

struct TypeInfo::Alternative {
  std::string key;
  std::string doc;
  TypeInfo type;
};

struct FieldInfo {
  std::string name;
  std::string doc;
  std::string default_text;  // empty: none
  std::string unit;
  bool required = false;
  bool secret = false;
  TypeInfo type;
};

struct TableInfo {
  std::string name;  // "upstream.HealthConfig"
  std::vector<FieldInfo> fields;
};

// "list of integer 1..10", for people.
std::string describe(const TypeInfo& type);

}  // namespace trellis::config
