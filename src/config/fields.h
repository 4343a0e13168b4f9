// Typed configuration: a plain struct and one table of its fields. The table reads, checks and names the defaults, and
// the reference, the JSON schema and the masking of secrets come from it too. All faults are reported at once, each at
// its place.
//
//   struct LimitConfig {
//     uint32_t rate = 100;
//     uint32_t burst = 200;
//     Duration wait = std::chrono::milliseconds(500);
//     std::optional<config::HostPort> counter;
//     std::vector<std::string> users;
//     std::string key;
//     static config::Fields<LimitConfig> fields();
//     void check(config::Checker& at) const;  // may be left out
//   };
//   config::Fields<LimitConfig> LimitConfig::fields() {
//     return {{"rate", "requests a second and user", &LimitConfig::rate, config::range(1, 1'000'000)},
//             {"burst", "tokens the bucket holds", &LimitConfig::burst, config::range(1, 1'000'000)},
//             {"wait", "how long a request may wait", &LimitConfig::wait, config::range(0s, 1min)},
//             {"counter", "shared counter; none counts here", &LimitConfig::counter},
//             {"users", "only these users", &LimitConfig::users},
//             {"key", "signs the cookie", &LimitConfig::key, config::kRequired, config::kSecret}};
//   }
//   void LimitConfig::check(config::Checker& at) const {
//     if (burst < rate) at.problem("burst", "must be at least rate");
//   }
//   config::Problems problems;
//   std::optional<LimitConfig> limit = config::read<LimitConfig>(config::load("edge.yaml", options, problems),
//   problems);
//
// A member's type says how it is read: bool, integers, double, std::string, Duration, HostPort, DurationRange, Rate,
// Node (kept as it is), a struct with fields(), and std::optional, std::vector, std::map<std::string or integer, ...>
// and std::vector<std::pair<std::string, ...>> (file order) of these. What stands after the member narrows it: range,
// size, percent, one_of, words, variant_by, one_key, keyed, parsed, custom; it applies to the innermost type, so
// range(1, 9) fits a std::vector<int>. A struct with `static Result<T> from_text(std::string_view)` may be written as
// one line of text. Used at start and on a reload, on the thread that loads; tables are made once, on first use, from
// any thread.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "config/load.h"
#include "config/node.h"
#include "config/problems.h"
#include "config/type_info.h"
#include "config/types.h"

namespace trellis::config {

// One line of a table: name, text for people, member, and what narrows it.
template <class T>
class Field {
 public:
  template <class M, class C, class... Options>
    requires std::is_base_of_v<C, T>
  Field(std::string_view name, std::string_view doc, M C::* member, Options... options) {
    info_.name = name;
    info_.doc = doc;
    (apply(options), ...);
    Type<M> type = pick<M>(options...);
    info_.type = std::move(type.info);
    read_ = [member, read = std::move(type.read)](const Node& node, T& out, const Reading& in) {
      return read(node, out.*member, in);
    };
    show_ = [member, show = std::move(type.show)](const T& value) { return show(value.*member); };
  }

  const std::string& name() const { return info_.name; }
  bool required() const { return info_.required; }
  bool secret() const { return info_.secret; }
  bool read(const Node& node, T& out, const Reading& in) const { return read_(node, out, in); }
  // With the text of the default, taken from a struct as it is made.
  FieldInfo info(const T& defaults) const {
    FieldInfo out = info_;
    if (!default_set_ && !out.required && !out.secret) out.default_text = show_(defaults);
    return out;
  }

 private:
  template <class O>
  void apply(const O& option) {
    if constexpr (std::is_same_v<O, Flag>) {
      (option == Flag::required ? info_.required : info_.secret) = true;
    } else if constexpr (std::is_same_v<O, Unit>) {
      info_.unit = option.text;
    } else if constexpr (std::is_same_v<O, DefaultText>) {
      info_.default_text = option.text;
      default_set_ = true;
    }
  }
  template <class O>
  static constexpr bool kIsSpec =
      !std::is_same_v<O, Flag> && !std::is_same_v<O, Unit> && !std::is_same_v<O, DefaultText>;

  template <class M>
  static Type<M> pick() {
    return type_for<M>();
  }
  template <class M, class First, class... Rest>
  static Type<M> pick(const First& first, const Rest&... rest) {
    if constexpr (kIsSpec<First>) {
      static_assert(!(kIsSpec<Rest> || ...), "a member is narrowed once");
      return type_for<M>(first);
    } else {
      return pick<M>(rest...);
    }
  }

  FieldInfo info_;
  bool default_set_ = false;
  std::function<bool(const Node&, T&, const Reading&)> read_;
  std::function<std::string(const T&)> show_;
};

// Given to a struct's check(): faults that concern several fields, reported at one of them. A check runs when the
// struct's own fields could be read, and does not repeat a fault at a place that has one.
class Checker {
 public:
  Checker(Node node, Reading reading) : node_(std::move(node)), reading_(reading) {}

  // `child` is a path below this struct: "burst", "hosts[2].address"; "" is the struct. A child that is not there is
  // reported at the struct.
  void problem(std::string_view child, std::string reason, std::string hint = {});
  bool given(std::string_view child) const { return static_cast<bool>(node_.descend(child)); }
  const Node& node() const { return node_; }

  void at_most_one(std::initializer_list<std::string_view> children);
  void exactly_one(std::initializer_list<std::string_view> children);
  // `no upstream "apii"; did you mean "api"?`, unless `name` is among the known ones.
  void must_be_known(std::string_view child, std::string_view what, std::string_view name,
                     std::span<const std::string_view> known);

 private:
  Node node_;
  Reading reading_;
};

template <class T>
const TableInfo& table_info() {
  static const TableInfo info = [] {
    TableInfo out;
    out.name = detail::readable_name(typeid(T));
    const T defaults{};
    for (const Field<T>& field : fields_of<T>()) out.fields.push_back(field.info(defaults));
    return out;
  }();
  return info;
}

// Reads a struct from a map (or, where it has from_text, from one line). True when the node has the right shape: faults
// further below are reported, and do not keep a parent from checking what it has.
template <HasFields T>
bool read_table(const Node& node, T& out, const Reading& in) {
  if constexpr (FromText<T>) {
    if (node.is_scalar()) {
      Result<T> value = T::from_text(node.text());
      if (!value) return in.mismatch(node, detail::text_name<T>(), value.error().what());
      out = std::move(*value);
      return true;
    }
  }
  if (!detail::expect_map(node, in)) return false;
  bool ok = detail::report_unknown_keys(node, table_info<T>(), in);
  for (const Field<T>& field : fields_of<T>()) {
    const Node child = node.find(field.name());
    if (!child) {
      if (field.required()) ok = detail::report_missing(node, field.name(), in);
      continue;
    }
    const Reading inside = in.hidden(field.secret());
    if (field.required() && !detail::report_empty(child, inside)) {
      ok = false;
    } else if (!field.read(child, out, inside)) {
      ok = false;
    }
  }
  if constexpr (requires(T& value, Checker& at) { value.check(at); }) {
    if (ok) {
      Checker at(node, in);
      out.check(at);
    }
  }
  return true;
}

// One alternative for one_key() and keyed(). C is a struct with fields(), or any type a member may have.
template <class C>
KindOf kind(std::string_view name, std::string_view doc) {
  Type<C> type = type_for<C>();
  return {std::string(name), std::string(doc), std::move(type.info),
          [read = std::move(type.read)](const Node& node, std::any& out, const Reading& in) {
            C value{};
            if (!read(node, value, in)) return false;
            out = std::move(value);
            return true;
          }};
}

// The whole struct, or nothing when there was any fault at all, in the reading or before it.
template <HasFields T>
std::optional<T> read(const Node& node, Problems& problems) {
  T out{};
  const bool ok = read_table(node, out, Reading(problems));
  if (!ok || !problems.empty()) return std::nullopt;
  return out;
}

}  // namespace trellis::config
