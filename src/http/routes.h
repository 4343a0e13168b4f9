// The table of a service's routes: method and path pattern to function, with the description of each beside it, from
// which the OpenAPI document is made, so that the two cannot drift. Answers 404, 405 with Allow, and OPTIONS by itself.
// Filled once at start, then immutable: every core calls handle() at once. Owned by the service that fills it.
//
//   Routes routes;
//   routes.add(Method::get, "/v1/links/{code}", {.id = "get_link", .summary = "Read a link", ...},
//              [this](Request& request, RequestContext& context, PathParameters path) { return read(request, context,
//              path); });
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/handler.h"
#include "http/message.h"

namespace trellis::http {

// The values of {name} in a pattern, in their order: not empty, without '/', as they stand in the path. They live as
// long as the exchange.
class PathParameters {
 public:
  static constexpr size_t kMax = 2;
  std::string_view operator[](size_t index) const noexcept { return values_[index]; }

 private:
  friend class Routes;
  std::array<std::string_view, kMax> values_;
};

struct ParameterDoc {
  std::string name;
  std::string in;  // "path", "query" or "header"
  std::string description;
  std::string schema = R"({"type":"string"})";  // JSON
};
struct AnswerDoc {
  int status = 200;
  std::string description;
  std::string schema;  // the name of a schema, "" for no body; problems are application/problem+json
};
// What a client must be allowed to do to call a route; each contains the ones before it. open: nothing.
enum class Scope : uint8_t { unset, open, read, write, admin };
std::string_view to_string(Scope scope) noexcept;

struct RouteDoc {
  std::string id;  // operationId
  Scope scope = Scope::unset;
  std::string summary;
  std::string description;
  std::vector<ParameterDoc> parameters;
  std::string body;  // the name of the request body's schema, "" for none
  std::vector<AnswerDoc> answers;
};

// Returns the task of a coroutine; must not be one with captures itself.
using RouteFunction = std::move_only_function<Task<Result<Response>>(Request&, RequestContext&, PathParameters) const>;
// Before the function of a route that is not open: a refusal, or nothing when the request, which it may have changed,
// may go on. Does not wait.
using GuardFunction =
    std::move_only_function<std::optional<Response>(Request&, RequestContext&, Scope, const RouteDoc&) const>;

class Routes final : public Handler {
 public:
  // A pattern is segments with '/' between them; a segment is literal, {name}, or {name} with an end: "{code}.qr".
  // Literal ones win, then those with an end. GET routes answer HEAD as well.
  void add(Method method, std::string_view pattern, RouteDoc doc, RouteFunction function);
  // Gets every method, documented as those named: for who decides about the method itself.
  void add_any(std::string_view pattern, std::initializer_list<Method> documented, RouteDoc doc,
               RouteFunction function);
  // Asked before every route that is not open; one that does not say its scope takes admins only.
  void guard(GuardFunction function) { guard_ = std::move(function); }
  // Hands every request beneath `prefix`, such as "/rest/", that no route takes to a handler with rules of its own,
  // guard and description included. It outlives the table.
  void beneath(std::string prefix, Handler& handler) { others_.emplace_back(std::move(prefix), &handler); }
  // A JSON schema under components/schemas.
  void schema(std::string name, std::string json);

  Task<Result<Response>> handle(Request& request, RequestContext& context) override;

  // OpenAPI 3.1. The document has no server entry: it is the one it was read from.
  std::string openapi(std::string_view title, std::string_view version, std::string_view description) const;
  // What is missing from the descriptions, a line each; empty when every route, parameter and answer has its words and
  // schema, and in a guarded table its scope.
  std::vector<std::string> gaps() const;

 private:
  struct Segment {
    std::string text;  // literal, or the name
    std::string end;   // what stands behind a parameter
    bool parameter = false;
  };
  struct Entry {
    Method method = Method::other;
    bool any = false;
    std::vector<Method> documented;
    RouteDoc doc;
    RouteFunction function;
  };
  struct Path {
    std::string pattern;
    std::vector<Segment> segments;
    std::vector<Entry> entries;
  };
  Path& path_of(std::string_view pattern);
  static std::string allow_of(const Path& path);

  std::vector<Path> paths_;  // in the order in which they are tried
  std::vector<std::pair<std::string, std::string>> schemas_;
  std::vector<std::pair<std::string, Handler*>> others_;
  GuardFunction guard_;
};

// A problem that names the member of the request that is wrong, as http/problem.h makes the others.
Response field_problem(RequestContext& context, int status, std::string_view code, std::string_view field,
                       std::string_view detail);

}  // namespace trellis::http
