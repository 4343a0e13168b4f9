#include "proxy/filters/headers.h"

#include <algorithm>

#include "proxy/field_rules.h"

namespace trellis::proxy {

config::Fields<FieldEdits> FieldEdits::fields() {
  return {{"set", "fields that get exactly this value", &FieldEdits::set},
          {"add", "fields that are added to those that are there", &FieldEdits::add},
          {"remove", "fields that are taken out, before the others are set", &FieldEdits::remove}};
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
  check_lines("add", add);
  for (size_t i = 0; i < remove.size(); ++i) {
    if (const char* reason = field_refusal(remove[i])) at.problem("remove[" + std::to_string(i) + "]", reason);
  }
}

config::Fields<HeadersConfig> HeadersConfig::fields() {
  return {{"request", "changes to the request", &HeadersConfig::request},
          {"response", "changes to the answer", &HeadersConfig::response}};
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
  lines(config.add, add);
}

void HeadersFilter::Edits::apply(http::Fields& fields, const http::Request& request,
                                 const http::RequestContext& context) const {
  for (const std::string& name : remove) fields.remove(name);
  for (const Line& line : set) {
    const std::string_view value = line.value.write(request, context);
    fields.set(line.name, value);
  }
  for (const Line& line : add) fields.add(http::Field{line.name, line.value.write(request, context), line.id});
}

HeadersFilter::HeadersFilter(const HeadersConfig& config) : request_(config.request), response_(config.response) {}

Task<Result<http::Response>> HeadersFilter::with_answer(http::Request& request, http::RequestContext& context,
                                                        Next next) {
  CO_TRY(http::Response response, co_await next(request, context));
  response_.apply(response.fields, request, context);
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
  for (const Line& line : set) take_off(line.name);
  for (const Line& line : add) take_off(line.name);
}

Task<Result<http::Response>> HeadersFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  const auto has_underscore = [](const http::Field& field) {
    return field.id == http::FieldId::unknown && field.name.find('_') != std::string_view::npos;
  };
  if (std::any_of(request.fields.begin(), request.fields.end(), has_underscore)) [[unlikely]]
    request_.take_off_alike(request.fields);
  request_.apply(request.fields, request, context);
  if (response_.empty()) return next(request, context);
  return with_answer(request, context, next);
}

}  // namespace trellis::proxy
