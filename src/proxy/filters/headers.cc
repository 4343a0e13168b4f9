#include "proxy/filters/headers.h"

#include <algorithm>

#include "proxy/field_rules.h"

namespace trellis::proxy {

config::Fields<FieldEdits> FieldEdits::fields() {
  return {{"remove", "fields that are taken out, before anything else", &FieldEdits::remove},
          {"rename", "fields that get another name; what had that name is gone", &FieldEdits::rename},
          {"set", "fields that get exactly this value", &FieldEdits::set},
          {"default", "fields that get this value where they are absent", &FieldEdits::fallback},
          {"add", "lines that are added to those that are there", &FieldEdits::add},
          {"append", "elements put behind a list such as Vary, in the same line", &FieldEdits::append}};
}

void FieldEdits::check(config::Checker& at) const {
  const auto check_lines = [&](const char* key, const auto& lines) {
    for (const auto& [name, value] : lines) {
      const std::string path = config::path_step(key, name);
      if (const char* reason = field_refusal(name)) at.problem(path, reason);
      const Result<TextTemplate> parsed = TextTemplate::parse(value);
      if (!parsed) at.problem(path, parsed.error().what());
    }
  };
  check_lines("set", set);
  check_lines("default", fallback);
  check_lines("add", add);
  check_lines("append", append);
  for (const auto& [name, value] : append) {
    if (http::field_id(name) == http::FieldId::set_cookie)
      at.problem(config::path_step("append", name), "is no list", "add, which makes a line of its own");
  }
  for (const auto& [from, to] : rename) {
    const std::string path = config::path_step("rename", from);
    if (const char* reason = field_refusal(from)) at.problem(path, reason);
    if (const char* reason = field_refusal(to)) at.problem(path, "`" + to + "` " + reason);
    if (http::iequal(from, to)) at.problem(path, "is the same name");
  }
  for (size_t i = 0; i < remove.size(); ++i) {
    if (const char* reason = field_refusal(remove[i])) at.problem("remove[" + std::to_string(i) + "]", reason);
  }
}

config::Fields<HeadersConfig> HeadersConfig::fields() {
  return {{"request", "changes to the request", &HeadersConfig::request},
          {"response", "changes to every answer", &HeadersConfig::response},
          {"by_status", "changes to answers of a status (404) or a class of them (5xx), after `response`",
           &HeadersConfig::by_status}};
}

namespace {

// 404 is 404 to 404, 5xx is 500 to 599.
std::optional<std::pair<int, int>> statuses(std::string_view text) noexcept {
  if (text.size() != 3 || text[0] < '1' || text[0] > '5') return std::nullopt;
  const int hundreds = (text[0] - '0') * 100;
  if (text.substr(1) == "xx") return std::pair(hundreds, hundreds + 99);
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (!is_digit(text[1]) || !is_digit(text[2])) return std::nullopt;
  const int status = hundreds + (text[1] - '0') * 10 + (text[2] - '0');
  return std::pair(status, status);
}

}  // namespace

void HeadersConfig::check(config::Checker& at) const {
  for (const auto& [status, edits] : by_status) {
    if (!statuses(status))
      at.problem(config::path_step("by_status", status), "is no status", "404, or 5xx for a class");
  }
}

HeadersFilter::Edits::Edits(const FieldEdits& config) : remove(config.remove) {
  const auto lines = [](const auto& from, std::vector<Line>& to) {
    for (const auto& [name, value] : from) {
      Result<TextTemplate> parsed = TextTemplate::parse(value);
      TRELLIS_ASSERT(parsed.has_value());
      to.push_back({name, http::field_id(name), std::move(*parsed)});
    }
  };
  lines(config.set, set);
  lines(config.fallback, fallback);
  lines(config.add, add);
  lines(config.append, append);
  for (const auto& [from, to] : config.rename) rename.push_back({from, to, http::field_id(to)});
}

bool HeadersFilter::Edits::empty() const noexcept {
  return remove.empty() && rename.empty() && set.empty() && fallback.empty() && add.empty() && append.empty();
}

void HeadersFilter::Edits::apply(http::Fields& fields, const http::Request& request,
                                 const http::RequestContext& context) const {
  for (const std::string& name : remove) fields.remove(name);
  for (const Renamed& each : rename) {
    if (!fields.find(each.from)) continue;
    fields.remove(each.to);
    for (http::Field& field : fields) {
      if (http::iequal(field.name, each.from)) field = {each.to, field.value, each.to_id};
    }
  }
  for (const Line& line : set) {
    const std::string_view value = line.value.write(request, context);
    fields.set(line.name, value);
  }
  for (const Line& line : fallback) {
    if (!fields.find(line.name)) fields.add({line.name, line.value.write(request, context), line.id});
  }
  for (const Line& line : add) fields.add(http::Field{line.name, line.value.write(request, context), line.id});
  for (const Line& line : append) {
    const std::string_view value = line.value.write(request, context);
    http::Field* last = nullptr;
    for (http::Field& field : fields) {
      if (http::iequal(field.name, line.name)) last = &field;
    }
    if (last == nullptr) {
      fields.add({line.name, value, line.id});
    } else if (!value.empty()) {
      last->value = last->value.empty() ? value : context.arena.concat({last->value, ", ", value});
    }
  }
}

namespace {

// What is edited in the head must not come back behind the body, where applications may look for it.
class WithoutTrailers final : public http::BodyReader {
 public:
  explicit WithoutTrailers(std::unique_ptr<http::BodyReader> body) noexcept : body_(std::move(body)) {}
  Task<Result<Chunk>> read(Deadline deadline) override { return body_->read(deadline); }
  std::optional<uint64_t> length() const noexcept override { return body_->length(); }
  bool can_rewind() const noexcept override { return body_->can_rewind(); }
  bool rewind() noexcept override { return body_->rewind(); }

 private:
  std::unique_ptr<http::BodyReader> body_;
};

}  // namespace

HeadersFilter::HeadersFilter(const HeadersConfig& config) : request_(config.request), response_(config.response) {
  for (const auto& [status, edits] : config.by_status) {
    const auto [first, last] = *statuses(status);
    by_status_.push_back({first, last, Edits(edits)});
  }
}

Task<Result<http::Response>> HeadersFilter::with_answer(http::Request& request, http::RequestContext& context,
                                                        Next next) {
  CO_TRY(http::Response response, co_await next(request, context));
  response_.apply(response.fields, request, context);
  for (const StatusEdits& each : by_status_) {
    if (response.status >= each.first && response.status <= each.last)
      each.edits.apply(response.fields, request, context);
  }
  co_return response;
}

void HeadersFilter::Edits::take_off_alike(http::Fields& fields) const {
  const auto is_alike = [](std::string_view a, std::string_view b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char c, char d) {
             const auto plain = [](char letter) {
               return letter == '_' ? '-' : letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter | 0x20) : letter;
             };
             return plain(c) == plain(d);
           });
  };
  const auto take_off = [&](std::string_view name) {
    fields.remove_if([&](const http::Field& field) {
      return field.id == http::FieldId::unknown && field.name.find('_') != std::string_view::npos &&
             is_alike(field.name, name) && !http::iequal(field.name, name);
    });
  };
  for (const std::string& name : remove) take_off(name);
  for (const Renamed& each : rename) {
    take_off(each.from);
    take_off(each.to);
  }
  for (const std::vector<Line>* lines : {&set, &fallback, &add, &append}) {
    for (const Line& line : *lines) take_off(line.name);
  }
}

Task<Result<http::Response>> HeadersFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  const auto has_underscore = [](const http::Field& field) {
    return field.id == http::FieldId::unknown && field.name.find('_') != std::string_view::npos;
  };
  if (std::any_of(request.fields.begin(), request.fields.end(), has_underscore)) [[unlikely]]
    request_.take_off_alike(request.fields);
  request_.apply(request.fields, request, context);
  if (!request_.empty() && request.body) request.body = std::make_unique<WithoutTrailers>(std::move(request.body));
  if (response_.empty() && by_status_.empty()) return next(request, context);
  return with_answer(request, context, next);
}

}  // namespace trellis::proxy
