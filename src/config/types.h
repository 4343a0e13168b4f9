// How the type of a member becomes a reader with its description: what may stand behind a member in a field table
// (range, size, percent, one_of, ...), and the rules for bool, numbers, text, lists, maps and structs. config/fields.h
// is the page to read first; this one is its lower half. Readers run on the thread that loads; each reports its fault
// and goes on, so that all are seen at once.
#pragma once

#include <any>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "config/node.h"
#include "config/problems.h"
#include "config/type_info.h"
#include "config/values.h"

namespace trellis::config {

// Given to every reader: where faults go, and whether the value may be shown.
class Reading {
 public:
  explicit Reading(Problems& problems) : problems_(&problems) {}

  // Both report at the node and return false; silent where the node is broken already. The reason must not quote the
  // value.
  bool fail(const Node& at, std::string reason, std::string hint = {}) const;
  // `expected integer 1..9, got "x"`: the value is left out when it is secret.
  bool mismatch(const Node& at, std::string_view expected, std::string_view why = {}, std::string hint = {}) const;

  Problems& problems() const { return *problems_; }
  bool secret() const { return secret_; }
  Reading hidden(bool secret) const;  // the same, for a field that is secret

 private:
  Problems* problems_;
  bool secret_ = false;
};

// How one type is read (false after a report), how a default is written, and what the reference says.
template <class M>
struct Type {
  std::function<bool(const Node&, M&, const Reading&)> read;
  std::function<std::string(const M&)> show;
  TypeInfo info;
};

template <class T>
class Field;
template <class T>
using Fields = std::vector<Field<T>>;

template <class T>
concept HasFields = requires {
  { T::fields() } -> std::same_as<Fields<T>>;
};
template <class T>
concept FromText = requires(std::string_view text) {
  { T::from_text(text) } -> std::same_as<Result<T>>;
};

// One alternative of one_key() or keyed(): `jwt: {...}`. Made by kind<JwtConfig>("jwt", "checks a signed token").
struct KindOf {
  std::string name;
  std::string doc;
  TypeInfo info;
  std::function<bool(const Node&, std::any&, const Reading&)> read;
};
using Kinds = std::function<std::vector<KindOf>()>;

// A member read by one_key() or keyed(): which alternative it is, its settings already read, and where it stands.
struct Entry {
  std::string name;
  Node node;
  std::any value;

  template <class C>
  const C* as() const {  // null if it is another alternative
    return std::any_cast<C>(&value);
  }
};

namespace detail {

bool read_bool(const Node& node, bool& out, const Reading& in);
bool read_integer(const Node& node, int64_t low, uint64_t high, __int128& out, const Reading& in);
bool read_integer_key(const Node& node, int64_t low, uint64_t high, __int128& out, const Reading& in);
bool read_number(const Node& node, double low, double high, double& out, const Reading& in);
bool read_string(const Node& node, std::string& out, const Reading& in);
bool read_duration(const Node& node, Duration low, Duration high, Duration& out, const Reading& in);
bool read_size(const Node& node, uint64_t low, uint64_t high, uint64_t& out, const Reading& in);
bool read_percent(const Node& node, double low, double high, double& out, const Reading& in);
bool read_word(const Node& node, std::span<const std::string> words, size_t& out, const Reading& in);
bool is_absent(const Node& node);  // null: `key:` with nothing behind it

std::string readable_name(const std::type_info& type);  // "upstream.HealthConfig"

TypeInfo bool_info();
TypeInfo integer_info(int64_t low, uint64_t high);
TypeInfo number_info(double low, double high);
TypeInfo string_info();
TypeInfo duration_info(Duration low, Duration high);
TypeInfo size_info(uint64_t low, uint64_t high);
TypeInfo percent_info(double low, double high);
TypeInfo words_info(std::span<const std::string> words);
TypeInfo text_info(std::string_view name);
TypeInfo any_info();
TypeInfo list_info(TypeInfo item);
TypeInfo map_info(TypeInfo item);

bool expect_list(const Node& node, const Reading& in);  // null is an empty list
bool expect_map(const Node& node, const Reading& in);   // null is an empty map
// Which of the keys the map holds; reports none and more than one.
bool choose_key(const Node& node, std::span<const std::string> keys, size_t& out, const Reading& in);
bool read_one_key(const Node& node, const std::vector<KindOf>& kinds, Entry& out, const Reading& in);
bool read_keyed(const Node& node, const std::vector<KindOf>& kinds, std::vector<Entry>& out, const Reading& in);
TypeInfo kinds_info(TypeInfo::Shape shape, const std::vector<KindOf>& kinds);
bool report_unknown_keys(const Node& node, const TableInfo& table, const Reading& in);
bool report_missing(const Node& node, std::string_view name, const Reading& in);
bool report_empty(const Node& node, const Reading& in);

template <class T>
inline constexpr bool kIsOptional = false;
template <class U>
inline constexpr bool kIsOptional<std::optional<U>> = true;
template <class T>
inline constexpr bool kIsList = false;
template <class U>
inline constexpr bool kIsList<std::vector<U>> = true;
template <class T>
inline constexpr bool kIsPairs = false;
template <class U>
inline constexpr bool kIsPairs<std::vector<std::pair<std::string, U>>> = true;
template <class T>
inline constexpr bool kIsMap = false;
template <class K, class V, class L>
inline constexpr bool kIsMap<std::map<K, V, L>> = true;
template <class T>
inline constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;

template <class M>
Type<M> integer_type(int64_t low, uint64_t high) {
  return {[low, high](const Node& node, M& out, const Reading& in) {
            __int128 value = 0;
            if (!read_integer(node, low, high, value, in)) return false;
            out = static_cast<M>(value);
            return true;
          },
          [](const M& value) { return std::to_string(value); }, integer_info(low, high)};
}
template <class M>
constexpr int64_t lowest() {
  return static_cast<int64_t>(std::numeric_limits<M>::min());
}
template <class M>
constexpr uint64_t highest() {
  return static_cast<uint64_t>(std::numeric_limits<M>::max());
}

inline Type<double> number_type(double low, double high) {
  return {
      [low, high](const Node& node, double& out, const Reading& in) { return read_number(node, low, high, out, in); },
      [](const double& value) { return format_number(value); }, number_info(low, high)};
}

}  // namespace detail

// ---- What may stand after a member --------------------------------------------------------------------------------

enum class Flag : uint8_t { required, secret };
inline constexpr Flag kRequired = Flag::required;  // must be given; text, lists and maps not empty
inline constexpr Flag kSecret = Flag::secret;      // never shown

struct Unit {
  std::string text;
};
inline Unit unit(std::string_view text) { return {std::string(text)}; }  // for the reference: "connections"

struct DefaultText {
  std::string text;
};
// For a default that is computed: default_is("one a core"). "" shows none.
inline DefaultText default_is(std::string_view text) { return {std::string(text)}; }

struct Natural {};

struct IntegerRange {
  int64_t low;
  uint64_t high;
  template <class M>
  Type<M> type() const {
    if constexpr (std::is_same_v<M, double>) {
      return detail::number_type(static_cast<double>(low), static_cast<double>(high));
    } else {
      static_assert(detail::kIsInteger<M>, "range(integer, integer) is for integers and double");
      return detail::integer_type<M>(low, high);
    }
  }
};

struct NumberRange {
  double low;
  double high;
  template <class M>
  Type<M> type() const {
    static_assert(std::is_same_v<M, double>, "range(double, double) is for double");
    return detail::number_type(low, high);
  }
};

struct TimeRange {
  Duration low;
  Duration high;
  template <class M>
  Type<M> type() const {
    static_assert(std::is_same_v<M, Duration>, "range(duration, duration) is for Duration");
    return {[low = low, high = high](const Node& node, Duration& out, const Reading& in) {
              return detail::read_duration(node, low, high, out, in);
            },
            [](const Duration& value) { return format_duration(value); }, detail::duration_info(low, high)};
  }
};

template <std::integral A, std::integral B>
IntegerRange range(A low, B high) {
  return {static_cast<int64_t>(low), static_cast<uint64_t>(high)};
}
inline NumberRange range(double low, double high) { return {low, high}; }
template <class R1, class P1, class R2, class P2>
TimeRange range(std::chrono::duration<R1, P1> low, std::chrono::duration<R2, P2> high) {
  return {std::chrono::duration_cast<Duration>(low), std::chrono::duration_cast<Duration>(high)};
}

// Bytes, in an unsigned 64 bit member: size(), size(4 * kKiB, kGiB).
struct SizeRange {
  uint64_t low;
  uint64_t high;
  template <class M>
  Type<M> type() const {
    static_assert(std::is_unsigned_v<M> && sizeof(M) == 8, "size() is for uint64_t and size_t");
    return {[low = low, high = high](const Node& node, M& out, const Reading& in) {
              uint64_t value = 0;
              if (!detail::read_size(node, low, high, value, in)) return false;
              out = value;
              return true;
            },
            [](const M& value) { return format_size(value); }, detail::size_info(low, high)};
  }
};
inline SizeRange size(uint64_t low = 0, uint64_t high = std::numeric_limits<uint64_t>::max()) { return {low, high}; }

// A share: `20%` in a double as 0.2.
struct PercentRange {
  double low;
  double high;
  template <class M>
  Type<M> type() const {
    static_assert(std::is_same_v<M, double>, "percent() is for double");
    return {[low = low, high = high](const Node& node, double& out, const Reading& in) {
              return detail::read_percent(node, low, high, out, in);
            },
            [](const double& value) { return format_percent(value); }, detail::percent_info(low, high)};
  }
};
inline PercentRange percent(double low = 0.0, double high = 1.0) { return {low, high}; }

// An enum by names: one_of<Balance>({{"round_robin", Balance::round_robin}, {"maglev", Balance::maglev}}).
template <class E>
struct Choice {
  std::vector<std::pair<std::string, E>> names;
  template <class M>
  Type<M> type() const {
    static_assert(std::is_same_v<M, E>, "one_of<E>() is for a member of type E");
    std::vector<std::string> words;
    for (const auto& [name, value] : names) words.push_back(name);
    TypeInfo info = detail::words_info(words);
    return {[names = names, words = std::move(words)](const Node& node, E& out, const Reading& in) {
              size_t index = 0;
              if (!detail::read_word(node, words, index, in)) return false;
              out = names[index].second;
              return true;
            },
            [names = names](const E& value) {
              for (const auto& [name, each] : names) {
                if (each == value) return name;
              }
              return std::string();
            },
            std::move(info)};
  }
};
template <class E>
Choice<E> one_of(std::initializer_list<std::pair<std::string_view, E>> names) {
  Choice<E> out;
  for (const auto& [name, value] : names) out.names.emplace_back(std::string(name), value);
  return out;
}

// A string that is one of these.
struct Words {
  std::vector<std::string> words;
  template <class M>
  Type<M> type() const {
    static_assert(std::is_same_v<M, std::string>, "words() is for std::string");
    return {[words = words](const Node& node, std::string& out, const Reading& in) {
              size_t index = 0;
              if (!detail::read_word(node, words, index, in)) return false;
              out = words[index];
              return true;
            },
            [](const std::string& value) { return value; }, detail::words_info(words)};
  }
};
inline Words words(std::initializer_list<std::string_view> list) { return {{list.begin(), list.end()}}; }

// Anything that is written as one scalar: parsed<Glob>("glob such as *.css", [](std::string_view text) -> Result<Glob>
// {...}). The error's text is the reason; `show` writes a default, and may be left out.
template <class V>
struct Parsed {
  std::string name;
  std::function<Result<V>(std::string_view)> parse;
  std::function<std::string(const V&)> show;
  template <class M>
  Type<M> type() const {
    static_assert(std::is_same_v<M, V>, "parsed<V>() is for a member of type V");
    return {[name = name, parse = parse](const Node& node, V& out, const Reading& in) {
              if (!node.is_scalar()) return in.mismatch(node, name);
              Result<V> value = parse(node.text());
              if (!value) return in.mismatch(node, name, value.error().what());
              out = std::move(*value);
              return true;
            },
            show ? show : [](const V&) { return std::string(); }, detail::text_info(name)};
  }
};
template <class V, class F>
Parsed<V> parsed(std::string_view name, F parse, std::function<std::string(const V&)> show = nullptr) {
  return {std::string(name), std::function<Result<V>(std::string_view)>(std::move(parse)), std::move(show)};
}

// Anything at all: custom<X>("what it is called", [](const Node& node, X& out, const Reading& in) -> bool {...}).
template <class V>
struct Custom {
  std::string name;
  std::function<bool(const Node&, V&, const Reading&)> read;
  template <class M>
  Type<M> type() const {
    static_assert(std::is_same_v<M, V>, "custom<V>() is for a member of type V");
    TypeInfo info = detail::any_info();
    info.name = name;
    return {read, [](const V&) { return std::string(); }, std::move(info)};
  }
};
template <class V, class F>
Custom<V> custom(std::string_view name, F read) {
  return {std::string(name), std::function<bool(const Node&, V&, const Reading&)>(std::move(read))};
}

// A std::variant<A, B> of structs, told apart by the key that is present: variant_by("address", "dns").
struct VariantBy {
  std::vector<std::string> keys;
  template <class M>
  Type<M> type() const;
};
template <class... Keys>
VariantBy variant_by(Keys... keys) {
  return {{std::string(keys)...}};
}

// An Entry: `- jwt: {...}` or, without settings, `- jwt`. With a std::vector<Entry> member, a list of those.
struct OneKey {
  Kinds kinds;
  template <class M>
  Type<M> type() const {
    static_assert(std::is_same_v<M, Entry>, "one_key() is for Entry");
    std::vector<KindOf> list = kinds();
    TypeInfo info = detail::kinds_info(TypeInfo::Shape::one_key, list);
    return {[list = std::move(list)](const Node& node, Entry& out, const Reading& in) {
              return detail::read_one_key(node, list, out, in);
            },
            [](const Entry&) { return std::string(); }, std::move(info)};
  }
};
inline OneKey one_key(Kinds kinds) { return {std::move(kinds)}; }

// A std::vector<Entry>: a map whose keys name the alternatives, as in `services: { links: {...}, feed: {...} }`.
struct Keyed {
  Kinds kinds;
  template <class M>
  Type<M> type() const {
    static_assert(std::is_same_v<M, std::vector<Entry>>, "keyed() is for std::vector<Entry>");
    std::vector<KindOf> list = kinds();
    TypeInfo info = detail::kinds_info(TypeInfo::Shape::keyed, list);
    return {[list = std::move(list)](const Node& node, std::vector<Entry>& out, const Reading& in) {
              return detail::read_keyed(node, list, out, in);
            },
            [](const std::vector<Entry>&) { return std::string(); }, std::move(info)};
  }
};
inline Keyed keyed(Kinds kinds) { return {std::move(kinds)}; }

// ---- From a member's type to its reader ---------------------------------------------------------------------------

template <class T>
const Fields<T>& fields_of() {
  static const Fields<T> fields = T::fields();
  return fields;
}
template <class T>
const TableInfo& table_info();
template <HasFields T>
bool read_table(const Node& node, T& out, const Reading& in);

template <class M, class Spec = Natural>
Type<M> type_for(const Spec& spec = {});

namespace detail {

template <class T>
std::string_view text_name() {
  if constexpr (requires { T::kText; }) {
    return T::kText;
  } else {
    return "text";
  }
}

template <class M>
Type<M> natural_type() {
  if constexpr (std::is_same_v<M, bool>) {
    return {read_bool, [](const bool& value) { return std::string(value ? "true" : "false"); }, bool_info()};
  } else if constexpr (kIsInteger<M>) {
    return integer_type<M>(lowest<M>(), highest<M>());
  } else if constexpr (std::is_same_v<M, double>) {
    return number_type(std::numeric_limits<double>::lowest(), std::numeric_limits<double>::max());
  } else if constexpr (std::is_same_v<M, std::string>) {
    return {read_string, [](const std::string& value) { return value; }, string_info()};
  } else if constexpr (std::is_same_v<M, Duration>) {
    return TimeRange{Duration::zero(), Duration::max()}.template type<M>();
  } else if constexpr (std::is_same_v<M, Node>) {
    return {[](const Node& node, Node& out, const Reading&) {
              out = node;
              return true;
            },
            [](const Node&) { return std::string(); }, any_info()};
  } else if constexpr (HasFields<M>) {
    TypeInfo info;
    info.shape = TypeInfo::Shape::table;
    info.name = "map";
    info.table = &table_info<M>;
    if constexpr (FromText<M>) info.text = std::string(text_name<M>());
    return {[](const Node& node, M& out, const Reading& in) { return read_table(node, out, in); },
            [](const M&) { return std::string(); }, std::move(info)};
  } else {
    static_assert(FromText<M>, "this member's type needs fields(), from_text(), or a reader after the member");
    Parsed<M> parsed{std::string(text_name<M>()), [](std::string_view text) { return M::from_text(text); }, nullptr};
    if constexpr (requires(const M& value) { value.to_text(); }) {
      parsed.show = [](const M& value) { return std::string(value.to_text()); };
    }
    return parsed.template type<M>();
  }
}

template <class U, class Spec>
Type<std::optional<U>> optional_type(const Spec& spec) {
  Type<U> inner = type_for<U>(spec);
  auto show = [show = inner.show](const std::optional<U>& value) { return value ? show(*value) : std::string(); };
  return {[read = inner.read](const Node& node, std::optional<U>& out, const Reading& in) {
            U value{};
            if (is_absent(node) && !HasFields<U>) return true;
            if (!read(node, value, in)) return false;
            out = std::move(value);
            return true;
          },
          std::move(show), std::move(inner.info)};
}

// "[a, b]", or nothing if an item has no text of its own.
template <class List, class Show>
std::string show_list(const List& list, const Show& show) {
  std::string out = "[";
  for (const auto& item : list) {
    const std::string text = show(item);
    if (text.empty()) return {};
    out += (out.size() > 1 ? ", " : "") + text;
  }
  return out + "]";
}

template <class U, class Spec>
Type<std::vector<U>> list_type(const Spec& spec) {
  Type<U> item = type_for<U>(spec);
  auto show = [show = item.show](const std::vector<U>& list) { return show_list(list, show); };
  return {[read = item.read](const Node& node, std::vector<U>& out, const Reading& in) {
            if (!expect_list(node, in)) return false;
            out.clear();
            bool ok = true;
            for (const Node& child : node.children()) {
              U value{};
              if (read(child, value, in)) {
                out.push_back(std::move(value));
              } else {
                ok = false;
              }
            }
            return ok;
          },
          std::move(show), list_info(std::move(item.info))};
}

template <class K>
bool read_key(const Node& node, K& out, const Reading& in) {
  if constexpr (kIsInteger<K>) {
    __int128 value = 0;
    if (!read_integer_key(node, lowest<K>(), highest<K>(), value, in)) return false;
    out = static_cast<K>(value);
    return true;
  } else {
    out = K(node.key());
    return true;
  }
}

template <class M, class K, class V, class Spec>
Type<M> map_type(const Spec& spec) {
  Type<V> item = type_for<V>(spec);
  return {[read = item.read](const Node& node, M& out, const Reading& in) {
            if (!expect_map(node, in)) return false;
            out.clear();
            bool ok = true;
            for (const Node& child : node.children()) {
              std::pair<K, V> entry{};
              if (read_key(child, entry.first, in) && read(child, entry.second, in)) {
                out.insert(out.end(), std::move(entry));
              } else {
                ok = false;
              }
            }
            return ok;
          },
          [](const M& map) { return std::string(map.empty() ? "{}" : ""); }, map_info(std::move(item.info))};
}

template <class V, size_t... I>
Type<V> variant_type(std::vector<std::string> keys, std::index_sequence<I...>) {
  TypeInfo info;
  info.shape = TypeInfo::Shape::variant;
  info.name = "map";
  std::vector<std::function<bool(const Node&, V&, const Reading&)>> readers;
  const auto add = [&]<size_t N>(std::integral_constant<size_t, N>) {
    using Alternative = std::variant_alternative_t<N, V>;
    Type<Alternative> type = type_for<Alternative>();
    info.alternatives.push_back({keys[N], {}, std::move(type.info)});
    readers.push_back([read = std::move(type.read)](const Node& node, V& out, const Reading& in) {
      return read(node, out.template emplace<N>(), in);
    });
  };
  (add(std::integral_constant<size_t, I>()), ...);
  return {[keys = std::move(keys), readers = std::move(readers)](const Node& node, V& out, const Reading& in) {
            size_t index = 0;
            return choose_key(node, keys, index, in) && readers[index](node, out, in);
          },
          [](const V&) { return std::string(); }, std::move(info)};
}

template <class M, class Spec>
struct Resolve {
  static Type<M> type(const Spec& spec) { return spec.template type<M>(); }
};
template <class M>
struct Resolve<M, Natural> {
  static Type<M> type(const Natural&) { return natural_type<M>(); }
};

template <class V>
struct VariantOf;
template <class... A>
struct VariantOf<std::variant<A...>> {
  static Type<std::variant<A...>> type(const std::vector<std::string>& keys) {
    TRELLIS_ASSERT(keys.size() == sizeof...(A));
    return variant_type<std::variant<A...>>(keys, std::index_sequence_for<A...>());
  }
};

// Whether a spec reads the whole member, so that a list is not taken apart.
template <class M, class Spec>
inline constexpr bool kWhole = false;
template <class M>
inline constexpr bool kWhole<M, Keyed> = std::is_same_v<M, std::vector<Entry>>;
template <class M>
inline constexpr bool kWhole<M, Parsed<M>> = true;
template <class M>
inline constexpr bool kWhole<M, Custom<M>> = true;

}  // namespace detail

template <class M>
Type<M> VariantBy::type() const {
  return detail::VariantOf<M>::type(keys);
}

template <class M, class Spec>
Type<M> type_for(const Spec& spec) {
  if constexpr (detail::kWhole<M, Spec>) {
    return detail::Resolve<M, Spec>::type(spec);
  } else if constexpr (detail::kIsOptional<M>) {
    return detail::optional_type<typename M::value_type>(spec);
  } else if constexpr (detail::kIsPairs<M>) {
    return detail::map_type<M, std::string, typename M::value_type::second_type>(spec);
  } else if constexpr (detail::kIsList<M>) {
    return detail::list_type<typename M::value_type>(spec);
  } else if constexpr (detail::kIsMap<M>) {
    return detail::map_type<M, typename M::key_type, typename M::mapped_type>(spec);
  } else {
    return detail::Resolve<M, Spec>::type(spec);
  }
}

}  // namespace trellis::config
