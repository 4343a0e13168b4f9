// What lines of a HAProxy proxy change in all its requests and answers: header fields, compression. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/import/draft.h"
#include "app/import/haproxy/syntax.h"

namespace trellis::app {

// One after the other, so that of a field the last change stands.
struct HaproxyFields {
  std::vector<std::string> removed;
  FieldLines set;
  FieldLines added;

  void remove(const std::string& name);
  void change(const std::string& name, const std::string& value);
  void add(const HaproxyFields& later);
  bool operator==(const HaproxyFields&) const = default;
};

struct HaproxyEdits {
  HaproxyFields request;
  HaproxyFields answer;
  bool compresses = false;         // by gzip
  std::vector<std::string> types;  // of what is compressed; none: those that shrink
  std::string strip_prefix;
  std::string add_prefix;
  bool operator==(const HaproxyEdits&) const = default;
};

// A text with `%[src]` and its like in it, as a text with variables of Trellis; nothing when one is unknown.
std::optional<std::string> haproxy_template(std::string_view text);

// False: the line is something else, or has a condition or a variable that cannot be said.
bool read_haproxy_edit(const HaproxyLine& line, HaproxyEdits& edits);

// `http-request set-path %[path,regsub(^/api/,/)]`, `replace-path ^/api/(.*) /\1` of a backend: once, and without a
// condition. (That of a frontend changes what its rules compare, too.) False: the line is something else.
bool read_haproxy_path(const HaproxyLine& line, HaproxyEdits& edits);

// Of the proxy that a request comes to first, and of the backend behind it, where answers come from.
void add_haproxy_edits(const HaproxyEdits& front, const HaproxyEdits& back, RouteDraft& route);

}  // namespace trellis::app
