#include "http/routes.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/json.h"
#include "http/problem.h"

namespace trellis::http {

namespace {

constexpr size_t kMaxSegments = 8;

Task<Result<Response>> ready(Response response) { co_return std::move(response); }

// Segments of a path without its first '/'; more than kMaxSegments: 0.
size_t split(std::string_view path, std::array<std::string_view, kMaxSegments>& out) noexcept {
  if (path.empty() || path.front() != '/') return 0;
  path.remove_prefix(1);
  size_t count = 0;
  while (count < kMaxSegments) {
    const size_t slash = path.find('/');
    out[count++] = path.substr(0, slash);
    if (slash == std::string_view::npos) return count;
    path.remove_prefix(slash + 1);
  }
  return 0;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

}  // namespace

std::string_view to_string(Scope scope) noexcept {
  switch (scope) {
    case Scope::unset: return "unset";
    case Scope::open: return "open";
    case Scope::read: return "read";
    case Scope::write: return "write";
    case Scope::admin: return "admin";
  }
  return "unset";
}

Routes::Path& Routes::path_of(std::string_view pattern) {
  for (Path& path : paths_) {
    if (path.pattern == pattern) return path;
  }
  Path path;
  path.pattern = pattern;
  std::array<std::string_view, kMaxSegments> parts;
  const size_t count = split(pattern, parts);
  TRELLIS_ASSERT(count > 0);
  size_t parameters = 0;
  for (size_t i = 0; i < count; ++i) {
    const std::string_view part = parts[i];
    const size_t end = part.starts_with('{') ? part.find('}') : std::string_view::npos;
    const bool parameter = end != std::string_view::npos && end > 1;
    if (parameter) {
      path.segments.push_back({std::string(part.substr(1, end - 1)), std::string(part.substr(end + 1)), true});
    } else {
      path.segments.push_back({std::string(part), "", false});
    }
    parameters += parameter ? 1 : 0;
  }
  TRELLIS_ASSERT(parameters <= PathParameters::kMax);
  // The fewest segments first; of as many, literal ones before those with an end, and these before the others.
  const auto rank = [](const Segment& each) { return !each.parameter ? 0 : each.end.empty() ? 2 : 1; };
  const auto less = [rank](const Path& a, const Path& b) {
    if (a.segments.size() != b.segments.size()) return a.segments.size() < b.segments.size();
    return std::lexicographical_compare(a.segments.begin(), a.segments.end(), b.segments.begin(), b.segments.end(),
                                        [rank](const Segment& x, const Segment& y) { return rank(x) < rank(y); });
  };
  return *paths_.insert(std::upper_bound(paths_.begin(), paths_.end(), path, less), std::move(path));
}

void Routes::add(Method method, std::string_view pattern, RouteDoc doc, RouteFunction function) {
  Entry entry;
  entry.method = method;
  entry.documented = {method};
  entry.doc = std::move(doc);
  entry.function = std::move(function);
  path_of(pattern).entries.push_back(std::move(entry));
}

void Routes::add_any(std::string_view pattern, std::initializer_list<Method> documented, RouteDoc doc,
                     RouteFunction function) {
  Entry entry;
  entry.any = true;
  entry.documented = documented;
  entry.doc = std::move(doc);
  entry.function = std::move(function);
  path_of(pattern).entries.push_back(std::move(entry));
}

void Routes::schema(std::string name, std::string json) { schemas_.emplace_back(std::move(name), std::move(json)); }

std::string Routes::allow_of(const Path& path) {
  std::string allow;
  const auto add = [&allow](std::string_view method) {
    if (!allow.empty()) allow += ", ";
    allow += method;
  };
  for (const Entry& entry : path.entries) {
    add(to_string(entry.method));
    if (entry.method == Method::get) add("HEAD");
  }
  add("OPTIONS");
  return allow;
}

Task<Result<Response>> Routes::handle(Request& request, RequestContext& context) {
  std::array<std::string_view, kMaxSegments> parts;
  const size_t count = split(request.path, parts);
  for (const Path& path : paths_) {
    if (path.segments.size() < count) continue;
    if (path.segments.size() > count) break;
    PathParameters parameters;
    size_t parameter = 0;
    bool matches = true;
    for (size_t i = 0; i < count && matches; ++i) {
      const Segment& segment = path.segments[i];
      if (segment.parameter) {
        matches = parts[i].size() > segment.end.size() && parts[i].ends_with(segment.end);
        if (matches) parameters.values_[parameter++] = parts[i].substr(0, parts[i].size() - segment.end.size());
      } else {
        matches = segment.text == parts[i];
      }
    }
    if (!matches) continue;
    for (const Entry& entry : path.entries) {
      const bool head = request.method == Method::head && entry.method == Method::get;
      if (!entry.any && entry.method != request.method && !head) continue;
      if (guard_ && entry.doc.scope != Scope::open) {
        const Scope scope = entry.doc.scope == Scope::unset ? Scope::admin : entry.doc.scope;
        if (std::optional<Response> refused = guard_(request, context, scope, entry.doc))
          return ready(*std::move(refused));
      }
      return entry.function(request, context, parameters);
    }
    const std::string_view allow = context.arena.copy(allow_of(path));
    if (request.method == Method::options) {
      Response response(context.arena, 204);
      response.fields.add(FieldId::allow, allow);
      return ready(std::move(response));
    }
    context.outcome = "method_not_allowed";
    Response response = problem(context.arena, 405, "method_not_allowed", "This resource has no such method.", false,
                                context.request_id);
    response.fields.add(FieldId::allow, allow);
    return ready(std::move(response));
  }
  for (const auto& [prefix, handler] : others_) {
    if (request.path.starts_with(prefix)) return handler->handle(request, context);
  }
  context.outcome = "not_found";
  return ready(problem(context.arena, 404, "not_found", "There is nothing here.", false, context.request_id));
}

// --- OpenAPI ---

namespace {

constexpr std::string_view kSchemes =
    R"({"ApiKey":{"type":"apiKey","in":"header","name":"X-Api-Key","description":"Where the node requires keys."},)"
    R"("Bearer":{"type":"http","scheme":"bearer","description":"The same key."}})";

// What the guard may answer instead of the route.
std::vector<AnswerDoc> with_refusals(std::vector<AnswerDoc> answers) {
  const auto add = [&answers](int status, std::string description) {
    const bool there =
        std::any_of(answers.begin(), answers.end(), [&](const auto& each) { return each.status == status; });
    if (!there) answers.push_back({status, std::move(description), "Problem"});
  };
  add(401, "There is no key, or none that is known and valid.");
  add(403, "The key does not allow this.");
  return answers;
}

}  // namespace

std::vector<std::string> Routes::gaps() const {
  std::vector<std::string> out;
  const auto known = [this](const std::string& name) {
    return std::any_of(schemas_.begin(), schemas_.end(), [&](const auto& each) { return each.first == name; });
  };
  for (const Path& path : paths_) {
    for (const Entry& entry : path.entries) {
      const std::string where = std::string(entry.any ? "any" : to_string(entry.method)) + " " + path.pattern + ": ";
      if (entry.doc.id.empty()) out.push_back(where + "no id");
      if (guard_ && entry.doc.scope == Scope::unset) out.push_back(where + "no scope: open, read, write or admin");
      if (entry.doc.summary.empty()) out.push_back(where + "no summary");
      if (entry.doc.description.empty()) out.push_back(where + "no description");
      if (entry.documented.empty()) out.push_back(where + "no documented method");
      if (entry.doc.answers.empty()) out.push_back(where + "no answers");
      if (!entry.doc.body.empty() && !known(entry.doc.body)) out.push_back(where + "no schema " + entry.doc.body);
      for (const AnswerDoc& answer : entry.doc.answers) {
        if (answer.description.empty()) out.push_back(where + "an answer without a description");
        if (!answer.schema.empty() && !known(answer.schema)) out.push_back(where + "no schema " + answer.schema);
        if (answer.status >= 400 && answer.schema.empty()) out.push_back(where + "a failure without a schema");
      }
      for (const ParameterDoc& parameter : entry.doc.parameters) {
        if (parameter.description.empty()) out.push_back(where + "no description of " + parameter.name);
      }
      for (const Segment& segment : path.segments) {
        const auto& list = entry.doc.parameters;
        const bool described = std::any_of(list.begin(), list.end(), [&](const ParameterDoc& each) {
          return each.in == "path" && each.name == segment.text;
        });
        if (segment.parameter && !described) out.push_back(where + "no description of " + segment.text);
      }
    }
  }
  return out;
}

std::string Routes::openapi(std::string_view title, std::string_view version, std::string_view description) const {
  std::string out;
  JsonWriter json(out);
  json.begin_object().member("openapi", "3.1.0");
  json.key("info")
      .begin_object()
      .member("title", title)
      .member("version", version)
      .member("description", description)
      .end_object();
  json.key("paths").begin_object();
  const auto content = [&json](std::string_view schema, bool failure) {
    json.key("content").begin_object().key(failure ? "application/problem+json" : "application/json").begin_object();
    json.key("schema").begin_object().member("$ref", "#/components/schemas/" + std::string(schema)).end_object();
    json.end_object().end_object();
  };
  for (const Path& path : paths_) {
    json.key(path.pattern).begin_object();
    for (const Entry& entry : path.entries) {
      for (const Method method : entry.documented) {
        json.key(lower(to_string(method))).begin_object();
        const bool first = method == entry.documented.front();
        json.member("operationId", first ? entry.doc.id : entry.doc.id + "_" + lower(to_string(method)));
        json.member("summary", entry.doc.summary).member("description", entry.doc.description);
        if (!entry.doc.parameters.empty()) {
          json.key("parameters").begin_array();
          for (const ParameterDoc& parameter : entry.doc.parameters) {
            json.begin_object().member("name", parameter.name).member("in", parameter.in);
            json.member("required", parameter.in == "path").member("description", parameter.description);
            json.key("schema").raw(parameter.schema).end_object();
          }
          json.end_array();
        }
        if (!entry.doc.body.empty()) {
          json.key("requestBody").begin_object().member("required", true);
          content(entry.doc.body, false);
          json.end_object();
        }
        const bool guarded = guard_ && entry.doc.scope != Scope::open;
        if (guarded) {
          json.key("security").begin_array();
          for (const char* scheme : {"ApiKey", "Bearer"}) {
            json.begin_object().key(scheme).begin_array().value(to_string(entry.doc.scope)).end_array().end_object();
          }
          json.end_array();
        }
        json.key("responses").begin_object();
        for (const AnswerDoc& answer : guarded ? with_refusals(entry.doc.answers) : entry.doc.answers) {
          json.key(std::to_string(answer.status)).begin_object().member("description", answer.description);
          if (!answer.schema.empty()) content(answer.schema, answer.status >= 400);
          json.end_object();
        }
        json.end_object().end_object();
      }
    }
    json.end_object();
  }
  json.end_object();
  json.key("components").begin_object().key("schemas").begin_object();
  for (const auto& [name, schema] : schemas_) json.key(name).raw(schema);
  json.end_object();
  if (guard_) json.key("securitySchemes").raw(kSchemes);
  json.end_object().end_object();
  return out;
}

Response field_problem(RequestContext& context, int status, std::string_view code, std::string_view field,
                       std::string_view detail) {
  context.outcome = context.arena.copy(code);
  context.failed_side = Side::client;
  Response response = problem(context.arena, status, code, detail, false, context.request_id);
  // One member more in the object that problem() wrote.
  std::string body(response.body.bytes().view());
  while (!body.empty() && body.back() != '}') body.pop_back();
  if (!body.empty()) body.pop_back();
  body += ",\"field\":";
  append_json(body, field);
  body += '}';
  const std::string_view kept = context.arena.copy(body);
  response.body = Body::of_static(kept);
  return response;
}

}  // namespace trellis::http
